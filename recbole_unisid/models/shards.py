"""A batch in two shards, by a thread each where `WORKERS` has two: its loss and gradients, or its scores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_unisid.models.backbones.dropout import drawing_from

SHARDS = 2  #: Whatever computes them, so that no figure depends on the number of threads.
WORKERS: ThreadPoolExecutor | None = None  #: Threads that sleep while they wait (`runs/machine.py`).
_OF_THREAD = threading.local()
Given = TypeVar("Given")
Found = TypeVar("Found")


def each(function: Callable[[Given], Found], parts: Iterable[Given]) -> list[Found]:
    """What a function makes of parts, in their order, by the threads of `WORKERS`; within one of them by it alone."""
    if WORKERS is None or getattr(_OF_THREAD, "works", False):
        return [function(part) for part in parts]
    state = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def work(part: Given) -> Found:
        _OF_THREAD.works = True
        with torch.set_grad_enabled(state[0]), torch.autocast("cpu", state[2], state[1]):
            return function(part)

    return list(WORKERS.map(work, parts))


def row_halves(rows: int) -> list[slice]:
    """The rows of each shard, where nothing is known of them."""
    step = max(1, -(-rows // SHARDS))
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def halves(asked: Tensor) -> list[int]:
    """Rows of each shard, about as many targets in one as in the other; one shard where one would have no target.

    `asked`, bool [batch, length], says where there are targets.
    """
    sums = asked.sum(1).cumsum(0)  # [batch]
    first, rows = int((sums <= sums[-1] // SHARDS).sum()), len(sums)
    return [first, rows - first] if 0 < first < rows and sums[first - 1] > 0 else [rows]


def in_shards(
    compute: Callable[..., Tensor],
    apart: Sequence[Sequence[Tensor]],
    shared: Sequence[Tensor],
    parameters: Iterable[Tensor],
) -> Tensor:
    """Sum of ``compute(number, *tensors of the shard, *shared)`` over shards, shape [], with its gradient.

    `apart` are the tensors of each shard. `compute` draws random numbers by ``dropout.Dropout`` alone, and reads no
    other tensors with a gradient than these and the `parameters`. Gradients are computed in the same pass and added in
    the order of the shards.
    """
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    seeds = torch.randint(2**62, (len(apart),)).tolist()
    given = [tensor for tensors in apart for tensor in tensors]
    found: Tensor = _InShards.apply(compute, seeds, len(apart[0]), len(shared), *given, *shared, *learned)  # type: ignore[no-untyped-call]
    return found


class _InShards(torch.autograd.Function):
    """See :func:`in_shards`."""

    @staticmethod
    def forward(
        ctx: Any, compute: Callable[..., Tensor], seeds: list[int], many: int, common: int, *given: Tensor
    ) -> Tensor:
        own, rest = given[: len(seeds) * many], given[len(seeds) * many :]
        wanted = ctx.needs_input_grad[4:]

        def shard(number: int) -> tuple[Tensor, list[Tensor | None]]:
            tensors = own[number * many : (number + 1) * many] + rest[:common]
            asks = [*wanted[number * many : (number + 1) * many], *wanted[len(own) :]]
            generator = torch.Generator().manual_seed(seeds[number])
            with torch.enable_grad(), drawing_from(generator):
                leaves = [x.detach().requires_grad_(y) for x, y in zip(tensors, asks, strict=False)]
                loss = compute(number, *leaves)
                sources = [x for x, y in zip([*leaves, *rest[common:]], asks, strict=True) if y]
                slopes = iter(torch.autograd.grad(loss, sources, allow_unused=True))
            return loss.detach(), [next(slopes) if y else None for y in asks]

        found = each(shard, range(len(seeds)))
        by_own = [slope for _, slopes in found for slope in slopes[:many]]
        by_rest = [_sum(parts) for parts in zip(*(slopes[many:] for _, slopes in found), strict=True)]
        ctx.save_for_backward(*by_own, *by_rest)
        return torch.stack([loss for loss, _ in found]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, None, *(x if x is None else x * slope for x in ctx.saved_tensors)


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Sum of the shards' gradients; None where no shard has one."""
    known = [part for part in parts if part is not None]
    return sum(known[1:], known[0]) if known else None
