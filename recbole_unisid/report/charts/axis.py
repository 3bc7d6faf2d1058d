"""Axes: round ticks, and where a value stands."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

#: What is smaller cannot be told from 0, or from its neighbour, on any screen.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Axis:
    """A range of values with ticks.

    Attributes
    ----------
    low, high : float
        The ends.
    ticks : tuple of float
        Round values between them.
    logarithmic : bool
        Whether equal ratios, not differences, are equally far apart.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def percent(self, value: float) -> float:
        """Where a value stands, 0 at `low` and 100 at `high`, kept inside."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 2)


def linear_axis(values: Iterable[float], zero: bool = False, ticks: int = 4) -> Axis:
    """Span values with about so many steps of 1, 2 or 5 times a power of ten.

    Parameters
    ----------
    values : iterable of float
        What has to fit.
    zero : bool
        Whether 0 has to be on the axis.
    ticks : int
        Steps wished for.

    Examples
    --------
    >>> linear_axis([0.03, 0.11], zero=True).ticks
    (0.0, 0.05, 0.1, 0.15)
    """
    found = [value if abs(value) > _NOTHING else 0.0 for value in values] + ([0.0] if zero else [])
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if high - low <= _NOTHING * max(abs(low), abs(high)):
        low, high = (low, low + 1.0) if low == 0 else (low - abs(low) / 2, low + abs(low) / 2)
    step = _round_step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = tuple(round(step * number, 12) for number in range(first, last + 1))
    return Axis(marks[0], marks[-1], marks)


def integer_axis(values: Iterable[float]) -> Axis:
    """Span whole numbers exactly, with ticks at round ones.

    Examples
    --------
    >>> integer_axis([0, 5]).ticks, integer_axis([0, 5]).high
    ((0.0, 2.0, 4.0), 5.0)
    """
    found = list(values)
    low, high = float(min(found)), float(max(found))
    ticks = linear_axis(found).ticks
    return Axis(
        low, max(high, low + 1), tuple(tick for tick in ticks if low <= tick <= high and tick.is_integer())
    )


def log_axis(values: Iterable[float]) -> Axis:
    """Span positive values with powers of ten, and with 2 and 5 times these where the span is short.

    Examples
    --------
    >>> log_axis([300, 40_000]).ticks
    (100.0, 1000.0, 10000.0, 100000.0)
    """
    found = [value for value in values if value > 0] or [1.0, 10.0]
    low, high = math.log10(min(found)), math.log10(max(found))
    steps = (1,) if high - low > 1.5 else (1, 2, 5)
    marks = sorted(
        float(step * 10.0**power)
        for power in range(math.floor(low) - 1, math.ceil(high) + 2)
        for step in steps
    )
    first = max(mark for mark in marks if mark <= min(found) * 1.0001)
    last = min(mark for mark in marks if mark >= max(found) * 0.9999 and mark > first)
    return Axis(first, last, tuple(mark for mark in marks if first <= mark <= last), logarithmic=True)


def _round_step(step: float) -> float:
    size = 10.0 ** math.floor(math.log10(step))
    return float(next(times * size for times in (1, 2, 5, 10) if times * size >= step * 0.9999))
