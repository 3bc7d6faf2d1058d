"""A gated linear recurrence in place of attention (LRURec, Yue et al., WSDM 2024; Griffin, De et al. 2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_unisid.models.backbones.base import TransformerSettings
from recbole_unisid.models.backbones.transformer import CausalTransformer


class GatedRecurrence(nn.Module):
    r"""Each channel remembers its past with a decay of its own, learned and the same for every history.

    A linear recurrence with real eigenvalues, one a channel (Orvieto et al., ICML 2023; LRURec has complex ones),
    gated as in Griffin (De et al. 2024, section 2.3), here as a mean: its weights sum to one at every position.

    .. math::
        v, g = \mathrm{split}(W_1 x), \qquad
        s_t = \lambda \odot s_{t-1} + v_t, \quad n_t = \lambda \odot n_{t-1} + 1, \qquad
        y_t = W_2 (s_t / n_t \odot \mathrm{SiLU}(g_t))

    The decays :math:`\lambda = e^{-1/\tau}` start with :math:`\tau` from half a position to the longest history.
    """

    def __init__(self, width: int, channels: int, longest: int) -> None:
        super().__init__()
        self.projection, self.output = nn.Linear(width, 2 * channels), nn.Linear(channels, width)
        #: Log of 1 / tau, [channels].
        self.rates = nn.Parameter(-torch.linspace(math.log(0.5), math.log(max(longest, 1)), channels))

    def forward(self, states: Tensor) -> Tensor:
        """Read, [batch, length, width] -> the same shape."""
        value, gate = self.projection(states).chunk(2, dim=-1)  # each [batch, length, channels]
        remembered = torch.einsum("cts,bsc->btc", self.weights(states.shape[1]), value)
        read: Tensor = self.output(remembered * functional.silu(gate))
        return read

    def weights(self, length: int) -> Tensor:
        """What position t keeps of position s, [channels, length, length]; rows sum to one."""
        positions = torch.arange(length, device=self.rates.device)
        lag = positions[:, None] - positions
        kept = -lag.clamp(min=0) * self.rates.exp()[:, None, None]
        return kept.masked_fill(lag < 0, -math.inf).softmax(-1)


class RecurrentBlock(nn.Module):
    """A gated recurrence and a feed-forward layer, each followed by dropout, residual and layer norm (post-LN)."""

    def __init__(self, width: int, settings: TransformerSettings) -> None:
        super().__init__()
        self.recurrence = GatedRecurrence(width, settings.attention_width, settings.max_len)
        layers = nn.Linear(width, settings.inner_width), nn.GELU(), nn.Linear(settings.inner_width, width)
        self.feed_forward, self.dropout = nn.Sequential(*layers), nn.Dropout(settings.hidden_dropout)
        norms = (nn.LayerNorm(width, eps=settings.eps) for _ in range(2))
        self.recurrence_norm, self.feed_forward_norm = norms

    def forward(self, states: Tensor) -> Tensor:
        """Transform, [batch, length, width] -> the same shape."""
        mixed: Tensor = self.recurrence_norm(states + self.dropout(self.recurrence(states)))
        transformed: Tensor = self.feed_forward_norm(mixed + self.dropout(self.feed_forward(mixed)))
        return transformed


class LinearRecurrence(CausalTransformer):
    """Blocks of gated recurrence in the transformer's frame (``backbone: recurrence``)."""

    block = RecurrentBlock
