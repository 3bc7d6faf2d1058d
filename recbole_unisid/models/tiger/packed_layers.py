"""Parts of T5 over tokens without padding: attention, feed-forward layers, norms and dropout.

Their gradients are written out. What is wide is made and used up some hundred tokens at a time, while it is in the
processor's cache; dropout draws the places that it drops, not a number for each place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_unisid.products import multiply, multiply_columns

#: Tokens worked on at a time: what a layer makes of them in between stays in the processor's cache.
_CHUNK = 512


class Group(NamedTuple):
    """Rows that stand one after another, each with `asked` tokens that ask and `read` tokens that are read."""

    rows: int
    asked: int
    read: int


def chunked(counts: list[tuple[int, int]], asked: int | None = None) -> list[Group]:
    """Groups of a few hundred tokens at most, of rows that are counted by length.

    Their rows are powers of two: oneDNN prepares itself for each shape.
    """
    groups = []
    for rows, length in counts:
        most = max(1, _CHUNK // max(asked or 1, length))
        while rows:
            some = 1 << (min(rows, most).bit_length() - 1)
            groups.append(Group(some, asked or length, length))
            rows -= some
    return groups


def dropout(states: Tensor, rate: float) -> Tensor:
    """Dropout as torch has it, its places drawn by the gaps between them."""
    found: Tensor = _Dropout.apply(states, rate) if rate else states  # type: ignore[no-untyped-call]
    return found


def unit(states: Tensor, epsilon: float) -> Tensor:
    """States [tokens, width] by the root mean square of each, which `epsilon` keeps from 0."""
    found: Tensor = _Norm.apply(states, epsilon)  # type: ignore[no-untyped-call]
    return found


def feed_forward(states: Tensor, inner: Tensor, outer: Tensor, rate: float) -> Tensor:
    """``dropout(relu(states @ inner.T)) @ outer.T``, some tokens at a time."""
    states, inner, outer = map(_narrow, (states, inner, outer))
    found: Tensor = _FeedForward.apply(states, inner, outer, rate)  # type: ignore[no-untyped-call]
    return found


def attend(
    asking: Tensor,
    read: Tensor,
    products: tuple[Tensor, Tensor],
    bias: Tensor | None,
    groups: Sequence[Group],
    rate: float,
) -> Tensor:
    """What each token reads, by the softmax of products and bias, the weights dropped at a rate.

    `asking` are [asking tokens, width] and `read` [read tokens, width]; `products` are the weights that ask,
    [width, heads * width], and those that give, [heads * width, width]; `bias` [asking, heads, read] is that of the
    longest row. The result has the shape of `asking`.
    """
    parts = map(_narrow, (asking, read, *products))
    found: Tensor = _Attend.apply(*parts, bias, groups, rate)  # type: ignore[no-untyped-call]
    return found


def dropped_places(numbers: int, rate: float, device: torch.device) -> Tensor:
    """Which of some numbers are dropped, each at a rate for itself: int64, ascending.

    The gaps between them are drawn, which are distributed geometrically, instead of every number.
    """
    mean = numbers * rate
    draws = int(mean + 8 * math.sqrt(mean) + 16)  # more than are needed, but for one time in 10^15
    gaps = torch.rand(draws, device=device).neg_().add_(1).log_().div_(math.log1p(-rate))
    places = gaps.to(torch.int64).add_(1).cumsum(0).sub_(1)
    return places[: int(torch.searchsorted(places, numbers))]


def _narrow(states: Tensor) -> Tensor:
    """In the precision of products that autocast asks for."""
    kind = states.device.type
    return states.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else states


def _wide(states: Tensor) -> Tensor:
    """What is summed up or exponentiated: in float32 at least."""
    return states.float() if states.dtype.itemsize < 4 else states


def _drop(states: Tensor, places: Tensor) -> None:
    """Set places of a contiguous tensor to 0."""
    states.view(-1).scatter_(0, places, states.new_zeros(len(places)))


class _Attend(torch.autograd.Function):
    """See :func:`attend`.

    Scores of all groups stand one after another in one tensor: what is done to each number is done at once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        asking: Tensor,
        read: Tensor,
        asks: Tensor,
        gives: Tensor,
        bias: Tensor | None,
        groups: Sequence[Group],
        rate: float,
    ) -> Tensor:
        gives = gives / (1 - rate)  # instead of the weights that were kept
        query = _by_pieces(asking, asks.T)  # [asking tokens, heads * width]
        queries, keys = _asking(query, groups, read.shape[1]), _read(read, groups)
        heads = asks.shape[1] // read.shape[1]
        scores = read.new_empty(sum(group.rows * group.asked * group.read for group in groups) * heads)
        for part, key, out in zip(queries, keys, _between(scores, groups, heads), strict=True):
            torch.bmm(part, key.transpose(1, 2), out=out)
        weights = _wide(scores)
        for group, part in zip(groups, _between(weights, groups, heads), strict=True):
            if bias is not None:
                part += bias[: group.asked, :, : group.read].flatten(0, 1)
            torch.softmax(part, -1, out=part)
        kept = weights.to(read.dtype, copy=bool(rate))
        if rate:
            _drop(kept, dropped_places(kept.numel(), rate, kept.device))
        found = torch.empty_like(query)
        outs = _asking(found, groups, read.shape[1])
        for part, key, out in zip(_between(kept, groups, heads), keys, outs, strict=True):
            torch.bmm(part, key, out=out)
        ctx.save_for_backward(asking, read, asks, gives, query, weights, kept, found)
        ctx.groups, ctx.bias, ctx.rate = groups, None if bias is None else bias.shape, rate
        return _by_pieces(found, gives.T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        asking, read, asks, gives, query, weights, kept, found = ctx.saved_tensors
        groups, width, heads = ctx.groups, read.shape[1], asks.shape[1] // read.shape[1]
        to_gives = multiply_columns(found, slope) / (1 - ctx.rate)
        to_found = _by_pieces(slope, gives)
        to_scores, keys = torch.empty_like(kept), _read(read, groups)
        slopes = _asking(to_found, groups, width)
        for part, key, out in zip(slopes, keys, _between(to_scores, groups, heads), strict=True):
            torch.bmm(part, key.transpose(1, 2), out=out)
        to_scores = _wide(to_scores).mul_(kept)
        to_bias = None if ctx.bias is None else to_scores.new_zeros(ctx.bias)
        parts = _between(weights, groups, heads), _between(to_scores, groups, heads)
        for group, part, out in zip(groups, *parts, strict=True):
            out.addcmul_(part, out.sum(-1, keepdim=True), value=-1)
            if to_bias is not None:
                to_bias[: group.asked, :, : group.read] += out.sum(0).view(group.asked, -1, group.read)
        to_scores, to_read = to_scores.to(read.dtype), torch.empty_like(read)
        steps = _between(kept, groups, heads), _between(to_scores, groups, heads), slopes
        others = keys, _asking(query, groups, width), _read(to_read, groups)
        for weight, score, part, key, asked, out in zip(*steps, *others, strict=True):
            torch.bmm(weight.transpose(1, 2), part, out=out)
            out.baddbmm_(score.transpose(1, 2), asked)
            torch.bmm(score, key, out=part)  # now the query's
        to_asks = multiply_columns(asking, to_found)
        return _by_pieces(to_found, asks), to_read, to_asks, to_gives, to_bias, None, None


def _by_pieces(states: Tensor, weight: Tensor) -> Tensor:
    """``states @ weight.T``, some tokens at a time."""
    found = states.new_empty(len(states), len(weight))
    weight = weight.contiguous()
    for part, out in zip(torch.split(states, _CHUNK), torch.split(found, _CHUNK), strict=True):
        multiply(part, weight, out)
    return found


def _asking(states: Tensor, groups: Sequence[Group], width: int) -> list[Tensor]:
    """What asks, of each group: [rows, asked * heads, width]."""
    parts = torch.split(states, [group.rows * group.asked for group in groups])
    return [part.view(group.rows, -1, width) for part, group in zip(parts, groups, strict=True)]


def _read(states: Tensor, groups: Sequence[Group]) -> list[Tensor]:
    """What is read, of each group: [rows, tokens, width]."""
    parts = torch.split(states, [group.rows * group.read for group in groups])
    return [part.view(group.rows, group.read, -1) for part, group in zip(parts, groups, strict=True)]


def _between(scores: Tensor, groups: Sequence[Group], heads: int) -> list[Tensor]:
    """Scores of each group: [rows, asked * heads, tokens]."""
    parts = torch.split(scores, [group.rows * group.asked * heads * group.read for group in groups])
    return [part.view(group.rows, -1, group.read) for part, group in zip(parts, groups, strict=True)]


class _FeedForward(torch.autograd.Function):
    """See :func:`feed_forward`."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, inner: Tensor, outer: Tensor, rate: float) -> Tensor:
        outer = outer / (1 - rate)  # instead of what was kept
        hidden, found = states.new_empty(len(states), len(inner)), torch.empty_like(states)
        for part, inside, out in zip(*(torch.split(x, _CHUNK) for x in (states, hidden, found)), strict=True):
            multiply(part, inner, inside).relu_()
            if rate:
                _drop(inside, dropped_places(inside.numel(), rate, inside.device))
            multiply(inside, outer, out)
        ctx.save_for_backward(states, inner, outer, hidden)
        ctx.rate = rate
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        states, inner, outer, hidden = ctx.saved_tensors
        to_states, to_hidden = torch.empty_like(states), torch.empty_like(hidden)
        back, down = outer.T.contiguous(), inner.T.contiguous()
        parts = (torch.split(x, _CHUNK) for x in (hidden, slope, to_hidden, to_states))
        for inside, out, to_inside, to_part in zip(*parts, strict=True):
            multiply(out, back, to_inside)
            # What was dropped is 0, too.
            torch.ops.aten.threshold_backward.grad_input(to_inside, inside, 0, grad_input=to_inside)
            multiply(to_inside, down, to_part)
        to_outer = multiply_columns(slope, hidden) / (1 - ctx.rate)
        return to_states, multiply_columns(to_hidden, states), to_outer, None


class _Norm(torch.autograd.Function):
    """See :func:`unit`."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, epsilon: float) -> Tensor:
        scale = states.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()
        found = states * scale
        ctx.save_for_backward(found, scale)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        found, scale = ctx.saved_tensors
        along = (slope * found).mean(-1, keepdim=True)
        return torch.addcmul(slope, found, along, value=-1).mul_(scale), None


class _Dropout(torch.autograd.Function):
    """See :func:`dropout`."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, rate: float) -> Tensor:
        places = dropped_places(states.numel(), rate, states.device)
        ctx.save_for_backward(places)
        ctx.rate = rate
        found = states / (1 - rate)
        _drop(found, places)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        found = slope.contiguous() / (1 - ctx.rate)
        _drop(found, places)
        return found, None
