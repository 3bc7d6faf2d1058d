"""Learning rates that change with the steps taken."""

from __future__ import annotations

from typing import Any

import torch

from recbole_unisid.errors import UserError

SCHEDULES = ("constant", "inverse_sqrt")


def rate_at(step: int, schedule: str, rate: float, warmup: int) -> float:
    """The learning rate of one step.

    Parameters
    ----------
    step : int
        Steps taken before it.
    schedule : {"constant", "inverse_sqrt"}
        ``inverse_sqrt``: `rate` for `warmup` steps, then falling with the root of the steps (T5, Raffel et
        al. 2020, section 3.1.2; TIGER, section 4).
    rate : float
        The highest.
    warmup : int
        Steps, 1 or more.

    Examples
    --------
    >>> [rate_at(step, "inverse_sqrt", 0.01, 100) for step in (0, 99, 399)]
    [0.01, 0.01, 0.005]
    """
    if schedule == "constant":
        return rate
    return rate * float((max(step + 1, warmup) / warmup) ** -0.5)


def follow_schedule(optimizer: torch.optim.Optimizer, schedule: str, rate: float, warmup: int) -> None:
    """Set the learning rate before each step from the steps that the optimiser itself has counted.

    Its count is a part of its state, so a resumed run goes on with the rate where it was.

    Parameters
    ----------
    optimizer : Optimizer
        Adam or AdamW.
    schedule, rate, warmup
        As in :func:`rate_at`.

    Raises
    ------
    UserError
        For an unknown schedule or a warm-up below one step.
    """
    if schedule not in SCHEDULES or int(warmup) < 1:
        raise UserError(
            f"schedule={schedule} with warmup_steps={warmup} is none of {', '.join(SCHEDULES)} with 1 step or more."
        )

    def set_rate(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            counts = (optimizer.state[p]["step"] for p in group["params"] if "step" in optimizer.state[p])
            group["lr"] = rate_at(int(next(counts, 0)), schedule, rate, int(warmup))

    optimizer.register_step_pre_hook(set_rate)
