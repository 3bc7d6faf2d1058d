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

#: Tokens worked on at a time: what a layer makes of them in between stays in the processor's cache.
_CHUNK = 512


class Group(NamedTuple):
    """Rows that stand one after another, each with `asked` tokens that ask and `read` tokens that are read."""

    rows: int
    asked: int
    read: int


def chunked(counts: list[tuple[int, int]], asked: int | None = None) -> list[Group]:
    """Groups of a few hundred tokens at most, of rows that are counted by length."""
    groups = []
    for rows, length in counts:
        most = max(1, _CHUNK // max(asked or 1, length))
        groups += [Group(min(most, rows - first), asked or length, length) for first in range(0, rows, most)]
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


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add to a gradient, whose precision may be higher than the product's."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _drop(states: Tensor, places: Tensor) -> None:
    """Set places of a contiguous tensor to 0."""
    states.view(-1).scatter_(0, places, states.new_zeros(len(places)))


class _Attend(torch.autograd.Function):
    """See :func:`attend`."""

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
        answers, saved = torch.empty_like(asking), []
        for group, part, key, out in zip(groups, *_by_group(groups, asking, read, answers), strict=True):
            query = (part @ asks).view(group.rows, -1, key.shape[2])  # [rows, asked * heads, width]
            scores = _wide(query @ key.transpose(1, 2))
            if bias is not None:
                scores += bias[: group.asked, :, : group.read].flatten(0, 1)
            weights = kept = scores.softmax(-1)
            if rate:
                kept = weights / (1 - rate)
                _drop(kept, dropped_places(kept.numel(), rate, kept.device))
            kept = kept.to(key.dtype)
            found = kept @ key
            torch.mm(found.view(len(part), -1), gives, out=out)
            saved += [query, weights, kept, found]
        ctx.save_for_backward(asking, read, asks, gives, *saved)
        ctx.groups, ctx.bias = groups, None if bias is None else bias.shape
        return answers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        asking, read, asks, gives, *saved = ctx.saved_tensors
        groups = ctx.groups
        to_asking, to_read = torch.empty_like(asking), torch.empty_like(read)
        to_asks, to_gives = _wide(torch.zeros_like(asks)), _wide(torch.zeros_like(gives))
        to_bias = None if ctx.bias is None else to_asks.new_zeros(ctx.bias)
        part, key, out, to_part = _by_group(groups, asking, read, slope.contiguous(), to_asking)
        to_key = _by_group(groups, asking, to_read)[1]
        for n, group in enumerate(groups):
            query, weights, kept, found = saved[4 * n : 4 * n + 4]
            _add_product(to_gives, found.view(len(part[n]), -1).T, out[n])
            to_found = (out[n] @ gives.T).view_as(found)
            scores = _wide(to_found @ key[n].transpose(1, 2)).mul_(kept)
            scores.addcmul_(weights, scores.sum(-1, keepdim=True), value=-1)
            if to_bias is not None:
                to_bias[: group.asked, :, : group.read] += scores.sum(0).view(group.asked, -1, group.read)
            scores = scores.to(query.dtype)
            torch.bmm(kept.transpose(1, 2), to_found, out=to_key[n])
            to_key[n].baddbmm_(scores.transpose(1, 2), query)
            to_query = torch.bmm(scores, key[n], out=to_found).view(len(part[n]), -1)
            _add_product(to_asks, part[n].T, to_query)
            torch.mm(to_query, asks.T, out=to_part[n])
        return to_asking, to_read, to_asks, to_gives, to_bias, None, None


def _by_group(groups: Sequence[Group], asking: Tensor, read: Tensor, *others: Tensor) -> list[Any]:
    """What asks, and others of that shape, [tokens, width] a group, and what is read, [rows, tokens, width]."""
    asked = [group.rows * group.asked for group in groups]
    parts = torch.split(read, [group.rows * group.read for group in groups])
    keys = [part.view(group.rows, group.read, -1) for part, group in zip(parts, groups, strict=True)]
    return [torch.split(asking, asked), keys, *(torch.split(other, asked) for other in others)]


class _FeedForward(torch.autograd.Function):
    """See :func:`feed_forward`."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, inner: Tensor, outer: Tensor, rate: float) -> Tensor:
        outer = outer / (1 - rate)  # instead of what was kept
        hidden, found = states.new_empty(len(states), len(inner)), torch.empty_like(states)
        for part, inside, out in zip(*(torch.split(x, _CHUNK) for x in (states, hidden, found)), strict=True):
            torch.mm(part, inner.T, out=inside).relu_()
            if rate:
                _drop(inside, dropped_places(inside.numel(), rate, inside.device))
            torch.mm(inside, outer.T, out=out)
        ctx.save_for_backward(states, inner, outer, hidden)
        ctx.rate = rate
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        states, inner, outer, hidden = ctx.saved_tensors
        to_states = torch.empty_like(states)
        to_inner, to_outer = _wide(torch.zeros_like(inner)), _wide(torch.zeros_like(outer))
        parts = (torch.split(x, _CHUNK) for x in (states, hidden, slope.contiguous(), to_states))
        for part, inside, out, to_part in zip(*parts, strict=True):
            to_hidden = out @ outer
            # What was dropped is 0, too.
            torch.ops.aten.threshold_backward.grad_input(to_hidden, inside, 0, grad_input=to_hidden)
            _add_product(to_inner, to_hidden.T, part)
            _add_product(to_outer, out.T, inside)
            torch.mm(to_hidden, inner, out=to_part)
        return to_states, to_inner, to_outer / (1 - ctx.rate), None


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
