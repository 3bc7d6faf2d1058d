"""Attention beside a causal low-pass filter: BSARec's idea, trained at every position of whole sequences."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from recbole_unisid.models.backbones.base import sizes_from
from recbole_unisid.models.backbones.transformer import Block, CausalAttention, CausalTransformer


class CausalLowPass(nn.Module):
    r"""Split a history into its slow part and the rest, weigh the rest, and add the input back.

    BSARec (Shin et al., AAAI 2024, eq. 6 to 8) keeps the lowest frequencies of a Fourier transform of the whole
    history, so that a position sees what comes later, and trains the last position alone. Here the low-pass is a
    finite impulse response of `taps` positions, with which each position sees its own past only:

    .. math::
        l_t = \frac{\sum_{k=0}^{\min(K-1,\,t)} w_k\, x_{t-k}}{\sum_{k=0}^{\min(K-1,\,t)} w_k},
        \qquad w = \mathrm{softmax}(a), \qquad
        y_t = \mathrm{LayerNorm}\bigl(x_t + \mathrm{dropout}(l_t + \beta^2 \odot (x_t - l_t))\bigr)

    The weights start as :math:`w_k \propto e^{-k / scale}` and are shared by all channels. Where fewer than K
    positions exist, the weights of those that do sum to one.

    Examples
    --------
    >>> layer = CausalLowPass(width=4, taps=3, dropout=0.0)
    >>> layer(torch.ones(2, 5, 4)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, width: int, taps: int, dropout: float, scale: float = 4.0, eps: float = 1e-12) -> None:
        super().__init__()
        #: a, [taps]: the softmax gives the weights, the present position's first.
        self.logits = nn.Parameter(-torch.arange(taps) / scale)
        #: beta, [width]; its square is the gain of what the filter takes out.
        self.gain = nn.Parameter(torch.randn(width))
        self.norm, self.dropout = nn.LayerNorm(width, eps=eps), nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Filter, [batch, length, width] -> the same shape, with residual and layer norm."""
        low = self.matrix(states.shape[1]) @ states
        filtered: Tensor = self.norm(states + self.dropout(low + self.gain.square() * (states - low)))
        return filtered

    def matrix(self, length: int) -> Tensor:
        """The filter as a matrix [length, length]: row t has the weights of what position t reads, of sum one."""
        taps = len(self.logits)
        positions = torch.arange(length, device=self.logits.device)
        lag = positions[:, None] - positions
        unread = (lag < 0) | (lag >= taps)
        return self.logits[lag.clamp(0, taps - 1)].masked_fill(unread, -math.inf).softmax(-1)


class FilterBlock(Block):
    r"""A block whose attention and low-pass stand side by side (BSARec, eq. 9).

    .. math:: y = \alpha\, \mathrm{filter}(x) + (1 - \alpha)\, \mathrm{attention}(x)
    """

    def __init__(
        self,
        attention: CausalAttention,
        inner_width: int,
        dropout: float,
        eps: float,
        taps: int = 16,
        scale: float = 4.0,
        share: float = 0.7,
    ) -> None:
        low_pass = CausalLowPass(attention.output.out_features, taps, dropout, scale, eps)
        super().__init__(attention, inner_width, dropout, eps)
        self.low_pass, self.share = low_pass, share

    def mix(self, states: Tensor) -> Tensor:
        """Mix positions, [batch, length, width] -> the same shape."""
        return torch.lerp(super().mix(states), self.low_pass(states), self.share)


class FilterTransformer(CausalTransformer):
    """Blocks of causal self-attention beside a causal low-pass (``backbone: filter``)."""

    @classmethod
    def from_config(cls, config: Any, width: int) -> Self:
        """See :class:`~recbole_unisid.models.backbones.base.Backbone`."""
        taps, scale, share = config["filter_taps"], float(config["filter_scale"]), float(config["filter_mix"])
        block = partial(FilterBlock, taps=taps, scale=scale, share=share)
        return cls(width, *sizes_from(config), block=block)
