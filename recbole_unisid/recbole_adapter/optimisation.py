"""Beside the optimiser: learning rates that change with the steps taken, and the mean of the last weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from recbole_unisid.errors import check_choice
from recbole_unisid.recbole_adapter.lazy_table import LazyTable


class WeightAverage:
    r"""Exponential moving average of a model's parameters (Polyak averaging).

    .. math:: \bar w_t = \bar w_{t-1} + (1 - d_t)(w_t - \bar w_{t-1}),
              \quad d_t = \min\left(d, \tfrac{1 + t}{10 + t}\right)

    so that the noisy start is soon forgotten. Constant steps of Adam wander about a minimum; their mean lies
    nearer to it than any of them, without a schedule that must know when training ends. `decay` is d, in [0, 1);
    0 follows the weights themselves. A `table` that keeps its own average is left to it.
    """

    def __init__(self, model: torch.nn.Module, decay: float, table: LazyTable | None = None) -> None:
        self.decay, self.table = decay, table
        self.steps = 0
        apart = None if table is None else table.weight
        self.parameters = [part for part in model.parameters() if part.requires_grad and part is not apart]
        self.average = [weight.detach().clone() for weight in self.parameters]

    @torch.no_grad()
    def update(self) -> float:
        """Follow one step of the optimiser; the decay of this step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, list(self.parameters), 1 - decay)
        return decay

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages into the model for a while."""
        if self.table is not None:
            self.table.flush()
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        if self.table is not None:
            self.table.swap()
        for weight, average in zip(self.parameters, self.average, strict=True):
            weight.data, average.data = average.data, weight.data

    def state(self) -> dict[str, Any]:
        """What going on needs."""
        return {"steps": self.steps, "average": list(self.average)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        self.steps = int(state["steps"])
        for average, kept in zip(self.average, state["average"], strict=True):
            average.copy_(kept)


SCHEDULES = ("constant", "inverse_sqrt", "cosine")


def rate_at(step: int, schedule: str, rate: float, warmup: int, total: int) -> float:
    """The learning rate of the next step, after `step` of at most `total` steps; `rate` is the highest.

    ``inverse_sqrt``: `rate` for `warmup` steps (1 or more), then falling with the root of the steps (T5, Raffel et
    al. 2020, section 3.1.2; TIGER, section 4). ``cosine``: rising for `warmup` steps, at most half of all, then along
    half a cosine to 0 (Loshchilov and Hutter 2017, equation 5, without restarts).

    >>> [rate_at(step, "inverse_sqrt", 0.01, 100, 1000) for step in (0, 99, 399)]
    [0.01, 0.01, 0.005]
    >>> [round(rate_at(step, "cosine", 0.01, 100, 1100), 4) for step in (49, 99, 599, 1099)]
    [0.005, 0.01, 0.005, 0.0]
    """
    if schedule == "constant":
        return rate
    if schedule == "inverse_sqrt":
        return rate * float((max(step + 1, warmup) / warmup) ** -0.5)
    warmup = min(warmup, total // 2)
    if step < warmup:
        return rate * (step + 1) / warmup
    done = min(1.0, (step + 1 - warmup) / max(1, total - warmup))
    return rate * 0.5 * (1 + math.cos(math.pi * done))


def relative_groups(parameters: Iterable[torch.nn.Parameter], rate: float) -> list[dict[str, Any]]:
    """Groups of an optimiser, one a parameter, whose learning rates are relative to the parameter's size at its start.

    A step changes each by about `rate` of its root mean square, as Adafactor's do (Shazeer and Stern 2018, section 8;
    0.001 at least): embeddings that start at 1 and weights that start at 0.1 learn as fast as each other.
    """
    groups = []
    for part in parameters:
        size = max(1e-3, float(part.detach().float().square().mean().sqrt()))
        groups.append({"params": [part], "lr": rate * size, "relative": size})
    return groups


def follow_schedule(
    optimizer: torch.optim.Optimizer, schedule: str, rate: float, warmup: int, total: Callable[[], int]
) -> None:
    """Set the learning rate before each step from the steps that the optimiser itself has counted.

    Its count is a part of its state, so a resumed run goes on with the rate where it was. Adam and AdamW count.
    `total` is asked when training has begun.
    """
    check_choice("schedule", schedule, SCHEDULES)

    def set_rate(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            counts = (optimizer.state[p]["step"] for p in group["params"] if "step" in optimizer.state[p])
            highest = rate * group.get("relative", 1.0)
            group["lr"] = rate_at(int(next(counts, 0)), schedule, highest, int(warmup), total())

    optimizer.register_step_pre_hook(set_rate)


def shrink_table(optimizer: torch.optim.Optimizer, weight: torch.Tensor, decay: float) -> None:
    """Shrink a table before each step by its rate times `decay` (AdamW's decoupled form, Loshchilov and Hutter 2019).

    It comes after what sets the rate of the first group, whatever the optimiser is.
    """

    @torch.no_grad()
    def shrink(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        weight.mul_(1 - optimizer.param_groups[0]["lr"] * decay)

    optimizer.register_step_pre_hook(shrink)
