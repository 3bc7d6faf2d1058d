"""The bootstrap over users: how far a mean would move if other users had come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Cells of a chunk of resamples (distinct rows x resamples): bounds the memory.
_CELLS = 1 << 22


class Interval(NamedTuple):
    """A mean over cases with its percentile interval and two-sided p-value against 0."""

    estimate: float
    low: float
    high: float
    p_value: float


def bootstrap_mean(
    values: NDArray[np.float64],
    users: NDArray[np.int64] | NDArray[np.str_] | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean over cases, with whole users drawn again.

    For a paired comparison pass the differences, averaged over seeds.

    Parameters
    ----------
    values : ndarray of float64, shape [cases]
        A metric, or a difference of metrics, of every case.
    users : ndarray of int64 or str, shape [cases], optional
        Whose case it is; a user's cases are drawn together. By default each case is its own user.
    resamples : int
        Number of bootstrap samples.
    level : float
        Coverage of the interval.
    seed : int
        Of the resampling; the same seed gives the same interval.

    Returns
    -------
    Interval
        ``p_value`` is ``2 (1 + b) / (1 + resamples)``, `b` counting the samples on the rarer side of
        0 (those at 0 stand on both), at most 1.

    References
    ----------
    Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13 and 16; the p-value
    with 1 added is Davison and Hinkley's (1997), equation 4.11.
    """
    if len(values) == 0:
        raise ValueError("there is nothing to resample: no case")
    means = np.concatenate(list(_resampled_means(values, users, resamples, seed)))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    rarer = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p_value = min(1.0, 2 * (1 + rarer) / (1 + resamples))
    return Interval(float(values.mean()), float(low), float(high), p_value)


def _resampled_means(
    values: NDArray[np.float64], users: NDArray[np.int64] | NDArray[np.str_] | None, resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Yield chunks of bootstrap means; all of them together are `resamples`.

    A sample enters a mean only through how often each distinct user (sum and number of cases) is in
    it, and those counts are multinomial: users that look alike, most of them misses, cost nothing.
    """
    owner = np.arange(len(values)) if users is None else np.unique(users, return_inverse=True)[1]
    sums, sizes = np.bincount(owner, values), np.bincount(owner)
    distinct, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CELLS // len(counts))
    for start in range(0, resamples, chunk):
        drawn = generator.multinomial(
            len(sums), counts / len(sums), size=min(chunk, resamples - start)
        )  # [chunk, distinct]
        total, cases = (drawn @ distinct.T).T
        yield total / cases
