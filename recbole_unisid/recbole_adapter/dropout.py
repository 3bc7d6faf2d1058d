"""Dropout of RecBole's models on a CPU, to the bits of torch's own layer; its mask is drawn in a third of the time."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

#: Numbers worked on at a time: their random bits stay in the processor's cache.
_CHUNK = 1 << 15
#: Tensors of fewer numbers are left to torch.
_FEWEST = 1 << 12


def chunk_dropout(network: nn.Module) -> None:
    """Let the dropout layers of a network, and no others, work in chunks; no figure changes.

    torch asks its generator for each number of a mask by itself, and goes through the mask twice more. A layer is
    changed in place: it becomes a :class:`ChunkedDropout`.
    """
    for layer in network.modules():
        if type(layer) is nn.Dropout:
            layer.__class__ = ChunkedDropout


class ChunkedDropout(nn.Dropout):
    """A layer that drops the same numbers as torch's and leaves its generator in the same state."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop numbers while the layer is trained."""
        whole = input.device.type == "cpu" and input.dtype == torch.float32 and input.is_contiguous()
        if not (self.training and whole and 0 < self.p < 1 and input.numel() >= _FEWEST) or self.inplace:
            return super().forward(input)
        if torch.is_autocast_enabled("cpu") or not draws_as_torch_does():
            return super().forward(input)
        found: Tensor = _Dropout.apply(input, self.p)  # type: ignore[no-untyped-call]
        return found


def draw(kept: Tensor, share: float, bits: Tensor, generator: torch.Generator | None = None) -> None:
    """Fill a mask, [numbers] of bool, as ``bernoulli_(share)`` does: 53 random bits a number, below the share.

    `bits` is room for as many int64, which are drawn all at once.
    """
    _mark(kept, share, bits.random_(generator=generator))


def _mark(kept: Tensor, share: float, bits: Tensor) -> None:
    torch.lt(bits.bitwise_and_((1 << 53) - 1), math.ceil(share * (1 << 53)), out=kept)


def drop_at(rows: Tensor, positions: Tensor, length: int, layer: nn.Dropout) -> Tensor:
    """What a layer makes of one position a sequence, [batch, parts, width], of a [batch, parts, length, width].

    The generator is left in the state that the whole leaves it in.
    """
    if not layer.training or not layer.p:
        return rows
    batch, parts, width = rows.shape
    kept, at_once = torch.empty_like(rows, dtype=torch.bool), max(1, _CHUNK // (parts * length * width))
    bits = torch.empty((min(at_once, batch), parts, length, width), dtype=torch.int64)
    places = positions.view(-1, 1, 1, 1).expand(-1, parts, 1, width)
    for marked, place in zip(torch.split(kept, at_once), torch.split(places, at_once), strict=True):
        _mark(marked, 1 - layer.p, bits[: len(marked)].random_().gather(2, place).squeeze(2))
    return rows * kept.to(rows.dtype).mul_(torch.ones(1).div_(1 - layer.p))


@cache
def draws_as_torch_does() -> bool:
    """Whether :func:`draw` is what this build of torch does; some have a generator of their own for it."""
    ours, theirs = (torch.Generator().manual_seed(1) for _ in range(2))
    bits = torch.empty(1000, dtype=torch.int64)
    for share in (0.3, 0.5, 0.9):
        kept, wanted = torch.empty(1000, dtype=torch.bool), torch.empty(1000)
        draw(kept, share, bits, ours)
        wanted.bernoulli_(share, generator=theirs)
        if not torch.equal(kept, wanted.bool()):
            return False
    return torch.equal(ours.get_state(), theirs.get_state())


class _Dropout(torch.autograd.Function):
    """``x * (mask / (1 - rate))``, rounded as torch rounds it; the mask is kept as bytes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        inputs = x.view(-1)
        found, kept = torch.empty_like(inputs), torch.empty_like(inputs, dtype=torch.bool)
        ctx.save_for_backward(kept)
        ctx.scale = torch.ones(1).div_(1 - rate)
        bits = torch.empty(min(_CHUNK, len(inputs)), dtype=torch.int64)
        for given, marked, out in zip(*(torch.split(y, _CHUNK) for y in (inputs, kept, found)), strict=True):
            draw(marked, 1 - rate, bits[: len(marked)])
            torch.mul(given, marked.to(x.dtype).mul_(ctx.scale), out=out)
        return found.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        slopes, kept = slope.reshape(-1), ctx.saved_tensors[0]
        found = torch.empty_like(slopes)
        for given, marked, out in zip(*(torch.split(y, _CHUNK) for y in (slopes, kept, found)), strict=True):
            torch.mul(given, marked.to(slope.dtype).mul_(ctx.scale), out=out)
        return found.view(slope.shape), None
