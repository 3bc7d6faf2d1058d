"""HSTU: gated attention without a softmax, with a bias by distance (Zhai et al., ICML 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_unisid.errors import UserError
from recbole_unisid.models.backbones.base import TransformerSettings
from recbole_unisid.models.backbones.transformer import CausalTransformer


class GatedAttention(nn.Module):
    r"""One layer of a hierarchical sequential transduction unit, in place of attention and feed-forward layer.

    Zhai et al. (2024, arXiv 2402.17152, eq. 1 to 3), with one bias a distance and head:

    .. math::
        U, V, Q, K = \mathrm{split}(\mathrm{SiLU}(W_1 \mathrm{LayerNorm}(x))), \qquad
        A_{ts} = \tfrac{1}{N}\, \mathrm{SiLU}(q_t \cdot k_s + b_{t-s})\ (s \le t), \\
        y = x + \mathrm{dropout}(W_2 (\mathrm{LayerNorm}(A V) \odot U))

    Without a softmax the weights of a position do not sum to one: how much of something a history holds is kept.
    The `attention_width` of the settings is that of U, V, Q and K, all heads together; N is the longest history.
    """

    def __init__(self, width: int, settings: TransformerSettings) -> None:
        super().__init__()
        attention_width, eps = settings.attention_width, max(settings.eps, 1e-6)
        if attention_width % settings.heads:
            raise UserError(f"n_heads={settings.heads} must divide attention_dim={attention_width}.")
        self.heads, self.max_len = settings.heads, settings.max_len
        self.norm = nn.LayerNorm(width, eps=eps)
        self.projection = nn.Linear(width, 4 * attention_width)
        #: b, [max_len, heads]: the bias of a distance, 0 the position itself.
        self.distance_bias = nn.Parameter(torch.zeros(self.max_len, self.heads))
        self.attended_norm = nn.LayerNorm(attention_width, eps=eps)
        self.output = nn.Linear(attention_width, width)
        self.hidden_dropout = nn.Dropout(settings.hidden_dropout)
        self.attention_dropout = nn.Dropout(settings.attention_dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Attend, [batch, length, width] -> the same shape, with the residual, not normalised."""
        batch, length, _ = states.shape
        gate, *parts = functional.silu(self.projection(self.norm(states))).chunk(4, dim=-1)
        # Each [batch, heads, length, head width].
        value, query, key = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)
        positions = torch.arange(length, device=states.device)
        lag = positions[:, None] - positions  # [length, length]
        bias = self.distance_bias[lag.clamp(min=0)].permute(2, 0, 1)  # [heads, length, length]
        weights = functional.silu(query @ key.transpose(2, 3) + bias) / self.max_len
        weights = self.attention_dropout(weights.masked_fill(lag < 0, 0.0))
        joined = (weights @ value).transpose(1, 2).reshape(batch, length, -1)
        added: Tensor = states + self.hidden_dropout(self.output(self.attended_norm(joined) * gate))
        return added


class Hstu(CausalTransformer):
    """Layers of gated attention in the transformer's frame (``backbone: hstu``); they have no feed-forward part."""

    block = GatedAttention

    def __init__(self, width: int, settings: TransformerSettings) -> None:
        super().__init__(width, settings)
        self.blocks.append(nn.LayerNorm(width, eps=settings.eps))
