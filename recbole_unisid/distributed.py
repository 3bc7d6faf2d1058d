"""Several processes on one run: ``torchrun --nproc_per_node=N run_recbole_unisid.py ...``.

RecBole's own way (``single_spec: False``) hands a CPU model to CUDA's replica code, hooks a forward pass that
it does not call, and shards by rows whatever they hold. Here every process draws the same batches, keeps its
share of the rows, and weights its loss by the targets it holds, so that a step is the step of one process.
Gradients are averaged by torch's DistributedDataParallel (gloo on CPUs, nccl on GPUs).
"""

from __future__ import annotations

import datetime
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from recbole_unisid.errors import UserError

#: How long a process waits for another, which may be encoding a large catalogue's texts meanwhile. A process
#: that dies is noticed at once, by its closed connection.
_PATIENCE = datetime.timedelta(hours=12)


def join() -> None:
    """Join the processes that torchrun started; alone, do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backends, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise UserError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the other processes cannot be joined ({line}); start "
            "the run with torchrun, or unset WORLD_SIZE."
        ) from error


def world() -> int:
    """Number of processes on this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """This process's number on its machine, which is also its GPU's."""
    return int(os.environ.get("LOCAL_RANK", "0")) if dist.is_initialized() else 0


def is_writer() -> bool:
    """Whether this process is the one that writes the run's files and speaks on the screen."""
    return rank() == 0


@contextmanager
def lost_process_explained() -> Iterator[None]:
    """Turn the error of a broken connection into a UserError that says what to do."""
    try:
        yield
    except RuntimeError as error:
        signs = ("gloo", "nccl", "connection closed", "connection reset", "process group")
        if world() == 1 or not any(sign in str(error).lower() for sign in signs):
            raise
        raise UserError(
            f"Process {rank()} of {world()} lost another one, which has died (its own message says why; without "
            "one, the system killed it, often for memory). The same command goes on from the last checkpoint."
        ) from error


def wait_for_all() -> None:
    """Wait until every process is here; one that has died is a UserError."""
    if world() > 1:
        with lost_process_explained():
            dist.barrier()


@contextmanager
def writer_first() -> Iterator[None]:
    """Run a block in the writer, then in the others, which find its results in the cache."""
    if not is_writer():
        wait_for_all()
    yield
    if is_writer():
        wait_for_all()


class _Loss(torch.nn.Module):
    """A loss function as the forward pass that DistributedDataParallel wants."""

    def __init__(self, model: torch.nn.Module, compute: Callable[[Any], Any]) -> None:
        super().__init__()
        self.model, self.compute = model, compute

    def forward(self, interaction: Any) -> Any:
        return self.compute(interaction)


def synchronised(
    model: torch.nn.Module, compute: Callable[[Any], Any], every_parameter: bool
) -> Callable[[Any], Any]:
    """Wrap a model's loss of a batch's share so that its backward pass averages gradients over all processes.

    `every_parameter`: all get a gradient in every batch, which saves a walk over the graph.
    """
    if world() == 1 or not any(True for _ in model.parameters()):
        return compute
    with warnings.catch_warnings():
        # The option's new name is not in older versions of torch.
        warnings.simplefilter("ignore", FutureWarning)
        wrapped: Callable[[Any], Any] = DistributedDataParallel(
            _Loss(model, compute), broadcast_buffers=False, find_unused_parameters=not every_parameter
        )
    return wrapped


def share(interaction: Any, target_field: str) -> tuple[Any, float]:
    """This process's rows of a batch that every process has drawn, every `world`-th, and their weight.

    The weight multiplies the mean loss over the rows, so that the mean of all processes' gradients is the gradient
    of the mean loss over the batch. A process for which no row is left gets one of weight 0: it takes part in the
    step with a gradient of zeros. `target_field` is a column of targets [batch, length], 0 where there is none;
    without it each row has one target.
    """
    if world() == 1:
        return interaction, 1.0
    rows = interaction[slice(rank(), None, world())]
    if not len(rows):
        return interaction[slice(0, 1)], 0.0
    if target_field in interaction:
        own, total = int((rows[target_field] > 0).sum()), int((interaction[target_field] > 0).sum())
    else:
        own, total = len(rows), len(interaction)
    return rows, world() * own / total


def mean_over_processes(values: list[float]) -> list[float]:
    """Average numbers over all processes."""
    if world() == 1:
        return values
    total = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(total)
    return [value / world() for value in total.tolist()]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Join all processes' rows [own rows, ...], on the CPU and in the order of the processes: [all rows, ...]."""
    rows = rows.detach().cpu()
    if world() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.int64) for _ in range(world())]
    dist.all_gather(counts, torch.tensor([len(rows)]))
    longest = max(int(count) for count in counts)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])]).contiguous()
    parts = [torch.empty_like(padded) for _ in range(world())]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])
