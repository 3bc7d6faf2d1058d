"""Causal self-attention over item vectors (SASRec, Kang and McAuley 2018, as S3-Rec writes it), and a low-pass."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from recbole_unisid.errors import UserError
from recbole_unisid.models.backbones.base import Backbone, TransformerSettings


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a position sees itself and what came before."""

    def __init__(self, width: int, attention_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if attention_width % heads:
            raise UserError(f"n_heads={heads} must divide attention_dim={attention_width}.")
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.query_key_value = nn.Linear(width, 3 * attention_width)
        self.output = nn.Linear(attention_width, width)

    def forward(self, states: Tensor) -> Tensor:
        """Attend, [batch, length, width] -> the same shape; causality hides padding, on the right."""
        batch, length, _ = states.shape
        projected = self.query_key_value(states).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = projected  # each [batch, heads, length, head width]
        if self.training and self.dropout.p and states.device.type == "cpu":  # torch's cannot draw fast
            scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(2, 3)
            later = torch.ones(length, length, dtype=torch.bool).triu_(1)
            context = self.dropout(scores.masked_fill(later, -math.inf).softmax(-1)) @ value
        else:
            rate = self.dropout.p if self.training else 0.0
            context = functional.scaled_dot_product_attention(query, key, value, None, rate, is_causal=True)
        return self.output(context.transpose(1, 2).reshape(batch, length, -1))  # type: ignore[no-any-return]


class CausalLowPass(nn.Module):
    r"""Split a history into its slow part and the rest, weigh the rest, and add the input back.

    BSARec (Shin et al., AAAI 2024, eq. 6 to 8) keeps the lowest frequencies of the whole history, so that a position
    sees what comes later. Here each sees its own past: a finite impulse response of K positions, whose weights are
    shared by all channels and start as :math:`w_k \propto e^{-k / scale}`; of fewer positions they sum to one, too.

    .. math::
        l_t = \frac{\sum_{k=0}^{\min(K-1,\,t)} w_k\, x_{t-k}}{\sum_{k=0}^{\min(K-1,\,t)} w_k},
        \qquad w = \mathrm{softmax}(a), \qquad
        y_t = \mathrm{LayerNorm}\bigl(x_t + \mathrm{dropout}(l_t + \beta^2 \odot (x_t - l_t))\bigr)
    """

    def __init__(self, width: int, taps: int, scale: float, dropout: float, eps: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(-torch.arange(taps) / scale)  # a, [K], the present position's first
        self.gain = nn.Parameter(torch.randn(width))  # beta
        self.norm, self.dropout = nn.LayerNorm(width, eps=eps), nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Filter, [batch, length, width] -> the same shape, with residual and layer norm."""
        low = self.matrix(states.shape[1]) @ states
        return self.norm(states + self.dropout(low + self.gain.square() * (states - low)))  # type: ignore[no-any-return]

    def matrix(self, length: int) -> Tensor:
        """The filter as a matrix [length, length]: row t has the weights of what position t reads, of sum one."""
        positions, taps = torch.arange(length, device=self.logits.device), len(self.logits)
        lag = positions[:, None] - positions
        unread = (lag < 0) | (lag >= taps)
        return self.logits[lag.clamp(0, taps - 1)].masked_fill(unread, -math.inf).softmax(-1)


class Block(nn.Module):
    r"""Attention and a feed-forward layer, each followed by dropout, residual and layer norm (post-LN).

    A low-pass, if any, has a share beside attention, :math:`\alpha\,\mathrm{filter}(x) + (1 - \alpha)\,
    \mathrm{attention}(x)` (BSARec, eq. 9).
    """

    def __init__(self, width: int, settings: TransformerSettings) -> None:
        super().__init__()
        dropout, eps = settings.hidden_dropout, settings.eps
        heads = settings.attention_width, settings.heads, settings.attention_dropout
        self.attention, self.attention_norm = CausalAttention(width, *heads), nn.LayerNorm(width, eps=eps)
        taps, scale = settings.taps, settings.scale
        low_pass = CausalLowPass(width, taps, scale, dropout, eps) if taps else None
        layers = nn.Linear(width, settings.inner_width), nn.GELU(), nn.Linear(settings.inner_width, width)
        self.feed_forward, self.feed_forward_norm = nn.Sequential(*layers), nn.LayerNorm(width, eps=eps)
        self.dropout, self.low_pass, self.share = nn.Dropout(dropout), low_pass, settings.share

    def forward(self, states: Tensor) -> Tensor:
        """Transform, [batch, length, width] -> the same shape."""
        mixed: Tensor = self.attention_norm(states + self.dropout(self.attention(states)))
        if self.low_pass is not None:
            mixed = torch.lerp(mixed, self.low_pass(states), self.share)
        return self.feed_forward_norm(mixed + self.dropout(self.feed_forward(mixed)))  # type: ignore[no-any-return]


class CausalTransformer(Backbone):
    """Blocks of causal self-attention (``backbone: transformer``); positions, if any, count from the oldest item."""

    block: type[nn.Module] = Block
    filtered = False  # whether attention has a low-pass beside it

    def __init__(self, width: int, settings: TransformerSettings) -> None:
        super().__init__()
        self.positions = nn.Embedding(settings.max_len, width) if settings.positions else None
        self.norm, self.dropout = nn.LayerNorm(width, eps=settings.eps), nn.Dropout(settings.hidden_dropout)
        self.blocks = nn.ModuleList(self.block(width, settings) for _ in range(settings.blocks))

    @classmethod
    def from_config(cls, config: Any, width: int) -> Self:
        return cls(width, TransformerSettings.from_config(config, cls.filtered))

    def forward(self, items: Tensor) -> Tensor:
        if self.positions is not None:
            items = items + self.positions.weight[: items.shape[1]]
        states: Tensor = self.dropout(self.norm(items))
        for block in self.blocks:
            states = block(states)
        return states


class FilterTransformer(CausalTransformer):
    """Blocks of causal self-attention beside a causal low-pass (``backbone: filter``)."""

    filtered = True
