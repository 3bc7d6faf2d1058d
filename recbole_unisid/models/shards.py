"""A batch in two shards, by a thread each where `WORKERS` has two; and other work by the same threads."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_unisid.models.backbones.dropout import FastDropout, drawing_from
from recbole_unisid.models.losses.next_item import Loss
from recbole_unisid.models.losses.wrappers import Lookahead, Smoothed

if TYPE_CHECKING:
    from recbole_unisid.models.whole_sequence import WholeSequenceRecommender

SHARDS = 2  #: Whatever computes them, so that no figure depends on the number of threads.
WORKERS: ThreadPoolExecutor | None = None  #: Threads that sleep while they wait (`runs/machine.py`).
_OF_THREAD = threading.local()
Given = TypeVar("Given")
Found = TypeVar("Found")


def _forget_workers() -> None:
    """Without threads in a forked process, which has but the one that forked it."""
    global WORKERS
    WORKERS = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workers)


def safe_in_threads(*parts: nn.Module) -> bool:
    """Whether several threads may run parts at once: all modules inside are this package's or torch's, on the CPU.

    What is somebody else's may draw by torch's own generator, look at the whole batch, or keep what it made; so may
    torch's dropout but for :class:`FastDropout`, and its batch norms.
    """
    inside = [module for part in parts for module in part.modules()]
    shared = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
    known = all(type(module).__module__.startswith(("recbole_unisid.", "torch.nn.")) for module in inside)
    on_cpu = all(weight.device.type == "cpu" for part in parts for weight in part.parameters())
    return known and on_cpu and all(type(one) is FastDropout or not isinstance(one, shared) for one in inside)


def each(function: Callable[[Given], Found], parts: Iterable[Given]) -> list[Found]:
    """What a function makes of parts, in their order, by the threads of `WORKERS`; within one of them by it alone."""
    if WORKERS is None or getattr(_OF_THREAD, "works", False):
        return in_turn(function, parts)
    return list(WORKERS.map(_as_here(function), parts))


def in_turn(function: Callable[[Given], Found], parts: Iterable[Given]) -> list[Found]:
    """What a function makes of parts, in their order, by this thread."""
    return [function(part) for part in parts]


def ahead(function: Callable[[Given], Found], parts: Iterable[Given]) -> Iterator[Found]:
    """What a function makes of parts, in their order, some of them made while those before are looked at."""
    if WORKERS is None or getattr(_OF_THREAD, "works", False):
        yield from map(function, parts)
        return
    waiting: deque[Future[Found]] = deque()
    for part in parts:
        waiting.append(WORKERS.submit(_as_here(function), part))
        if len(waiting) == SHARDS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _as_here(function: Callable[[Given], Found]) -> Callable[[Given], Found]:
    """The function for a thread of `WORKERS`, with this thread's state of gradients and precision."""
    state = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def work(part: Given) -> Found:
        _OF_THREAD.works = True
        with torch.set_grad_enabled(state[0]), torch.autocast("cpu", state[2], state[1]):
            return function(part)

    return work


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


def divide(model: WholeSequenceRecommender) -> None:
    """Let a model compute the loss of each batch in shards, where its loss and its backbone are known to allow it.

    A loss must be a mean over positions, with candidates that the batch shares, and a backbone must draw random numbers
    by its dropout layers alone, which draw fast (:func:`~.backbones.dropout.draw_fast`).
    """
    plain: Any = model.loss
    while isinstance(plain, (Lookahead, Smoothed)):  # what stands around it is a mean over positions, too
        plain = plain.loss
    if isinstance(plain, Loss) and safe_in_threads(model.loss, model.transformer) and plain.shares_candidates:
        learned = [*model.transformer.parameters(), *model.loss.parameters()]
        model.divided = partial(mean_in_shards, learned)


def mean_in_shards(
    learned: Sequence[Tensor],
    mean: Callable[..., Tensor],
    asked: Tensor,
    targets: Tensor,
    read: Tensor,
    own: Tensor,
    others: Tensor,
) -> Tensor:
    """The mean over all targets of what `mean` finds for those of each shard, with its gradient; shape [].

    The batch asks for targets [P] at `asked`, bool [batch, length], with vectors of the inputs `read`, [batch, length,
    width], of the targets, `own` [P, width], and of the candidates, `others`.
    """
    if not torch.is_grad_enabled():
        return mean(asked, targets, read, own, others)
    rows = halves(asked)
    asks = torch.split(asked, rows)
    counts = [int(part.sum()) for part in asks]
    wanted = torch.split(targets, counts)

    def share(number: int, read: Tensor, own: Tensor, others: Tensor) -> Tensor:
        return mean(asks[number], wanted[number], read, own, others) * (counts[number] / len(targets))

    apart = [*zip(torch.split(read, rows), torch.split(own, counts), strict=True)]
    return in_shards(share, apart, [others], learned)


def in_shards(
    compute: Callable[..., Tensor],
    apart: Sequence[Sequence[Tensor]],
    shared: Sequence[Tensor],
    parameters: Iterable[Tensor],
) -> Tensor:
    """Sum of ``compute(number, *tensors of the shard, *shared)`` over shards, shape [], with its gradient.

    `apart` are the tensors of each shard. `compute` draws random numbers by :class:`FastDropout` alone, and reads no
    other tensors with a gradient than these and the `parameters`. Gradients are computed in the same pass and added in
    the order of the shards.
    """
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    seeds = torch.randint(2**62, (len(apart),)).tolist()
    given = [*chain.from_iterable(apart), *shared, *learned]
    found: Tensor = _InShards.apply(compute, seeds, len(apart[0]), len(shared), *given)  # type: ignore[no-untyped-call]
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
