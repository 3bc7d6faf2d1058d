"""Cells of the tables of results/: a figure with its spread, a difference with its interval."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.evaluation.statistics import Interval


def spread(means: NDArray[np.float64]) -> str:
    """Mean and standard deviation over runs, whose own means are given, [runs].

    >>> spread(np.array([0.1, 0.2])), spread(np.array([0.1])), spread(np.array([10.5]))
    ('.1500 ± .0707', '.1000', '10.5000')
    """
    deviation = f" ± {means.std(ddof=1):.4f}" if len(means) > 1 else ""
    return re.sub(r"\b0\.", ".", f"{means.mean():.4f}{deviation}")


def gap(found: Interval, base: float, small: float = 0.0) -> str:
    """A difference in per cent of the `base`, as it is where that is below `small`, and its interval.

    >>> gap(Interval(0.01, -0.002, 0.022, 0.1), 0.2)
    '+5.0 % [-.0020, +.0220]'
    """
    share = f"{100 * found.estimate / base:+.1f} %" if base >= small else f"{found.estimate:+.4f}"
    return f"{share} [{found.low:+.4f}, {found.high:+.4f}]".replace("+0.", "+.").replace("-0.", "-.")
