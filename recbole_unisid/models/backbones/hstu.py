"""HSTU: gated attention without a softmax, with a bias by distance (Zhai et al., ICML 2024)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from recbole_unisid.errors import UserError
from recbole_unisid.models.backbones.base import sizes_from
from recbole_unisid.models.backbones.transformer import CausalTransformer


class GatedAttention(nn.Module):
    r"""One layer of a hierarchical sequential transduction unit, in place of attention and feed-forward layer.

    Zhai et al. (2024, arXiv 2402.17152, eq. 1 to 3), with one bias a distance and head:

    .. math::
        U, V, Q, K = \mathrm{split}(\mathrm{SiLU}(W_1 \mathrm{LayerNorm}(x))), \qquad
        A_{ts} = \tfrac{1}{N}\, \mathrm{SiLU}(q_t \cdot k_s + b_{t-s})\ (s \le t), \\
        y = x + \mathrm{dropout}(W_2 (\mathrm{LayerNorm}(A V) \odot U))

    Without a softmax the weights of a position do not sum to one: how much of something a history holds is kept.
    `attention_width` is the width of U, V, Q and K, all heads together; N is `max_len`, the longest history.
    """

    def __init__(
        self,
        width: int,
        attention_width: int,
        heads: int,
        max_len: int,
        hidden_dropout: float,
        attention_dropout: float,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if attention_width % heads:
            raise UserError(f"n_heads={heads} must divide attention_dim={attention_width}.")
        self.heads, self.max_len = heads, max_len
        self.norm = nn.LayerNorm(width, eps=eps)
        self.projection = nn.Linear(width, 4 * attention_width)
        #: b, [max_len, heads]: the bias of a distance, 0 the position itself.
        self.distance_bias = nn.Parameter(torch.zeros(max_len, heads))
        self.attended_norm = nn.LayerNorm(attention_width, eps=eps)
        self.output = nn.Linear(attention_width, width)
        self.hidden_dropout, self.attention_dropout = (
            nn.Dropout(hidden_dropout),
            nn.Dropout(attention_dropout),
        )

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

    def __init__(
        self,
        width: int,
        max_len: int,
        blocks: int,
        heads: int,
        attention_width: int,
        hidden_dropout: float,
        attention_dropout: float,
        eps: float = 1e-6,
        positions: bool = True,
    ) -> None:
        frame = (0, heads, attention_width, 0, hidden_dropout, attention_dropout, eps, positions)
        super().__init__(width, max_len, *frame)
        sizes = (width, attention_width, heads, max_len, hidden_dropout, attention_dropout, max(eps, 1e-6))
        self.blocks.extend(GatedAttention(*sizes) for _ in range(blocks))
        self.blocks.append(nn.LayerNorm(width, eps=eps))

    @classmethod
    def from_config(cls, config: Any, width: int) -> Self:
        """See :class:`~recbole_unisid.models.backbones.base.Backbone`."""
        longest, layers, heads, attention_width, _, dropout, of_attention, eps, positions = sizes_from(config)
        return cls(width, longest, layers, heads, attention_width, dropout, of_attention, eps, positions)
