"""Intervals over users by the bootstrap, and comparisons of models over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.table import RankTable

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

    For a paired comparison pass the differences, averaged over seeds. Efron and Tibshirani, "An Introduction to
    the Bootstrap" (1993), chapters 13 and 16; the p-value is Davison and Hinkley's (1997), equation 4.11.

    It is ``2 (1 + b) / (1 + resamples)``, at most 1, with `b` the samples on the rarer side of 0 (those at 0 stand on
    both). `values` [cases] are a metric, or a difference of metrics, of every case; `users` [cases] say whose it is, by
    default each case is its own user.
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
        size = min(chunk, resamples - start)
        drawn = generator.multinomial(len(sums), counts / len(sums), size)  # [chunk, distinct]
        total, cases = (drawn @ distinct.T).T
        yield total / cases


@dataclass(frozen=True)
class Spread:
    """A model's metric over its seeds: mean, and standard deviation with n - 1 (None for one seed)."""

    mean: float
    deviation: float | None
    seeds: int


@dataclass(frozen=True)
class Comparison:
    """One model against the reference under one metric."""

    model: str
    reference: str
    difference: Interval  # model minus reference with its 95 % interval and p-value, before correction
    relative: float | None  # the difference as a share of the reference's mean; None where that is 0
    p_holm: float  # the p-value after Holm's correction over all models compared
    significant: bool  # p_holm < 0.05; then the interval excludes 0 too: both count the same resamples


def metric_over_seeds(
    tables: Sequence[RankTable], candidates: str, metric: str, across_orders: bool = False
) -> tuple[NDArray[np.float64], Spread]:
    """Average a metric over a model's tables, one a seed: by case [cases], and the spread of the seeds' means.

    With `across_orders` the tables are of several orders of ties: of the same users, whose targets may differ.

    Raises UserError: the tables hold different cases.
    """
    for table in tables[1:]:
        require_same_cases(tables[0], table, across_orders)
    values = np.stack([per_user_metric(table.ranks[candidates], metric) for table in tables])
    means = values.mean(axis=1)
    deviation = float(means.std(ddof=1)) if len(means) > 1 else None
    return values.mean(axis=0), Spread(float(means.mean()), deviation, len(means))


def require_same_cases(one: RankTable, other: RankTable, across_orders: bool = False) -> None:
    """Refuse to pair runs that were tested on other users or other targets, or on the same in another order."""
    same_targets = across_orders or np.array_equal(one.target, other.target)
    if not (same_targets and np.array_equal(one.user, other.user)):
        raise UserError(
            "two runs were not tested on the same users and targets, so they cannot be compared: "
            "run both on the same data and protocol"
        )


def compare_runs(
    runs: Mapping[str, Sequence[RankTable]],
    reference: str,
    candidates: str = "full",
    metric: str = "ndcg@10",
    resamples: int = 10_000,
    seed: int = 0,
    across_orders: bool = False,
) -> list[Comparison]:
    """Compare every model with one of them, paired user by user; models in their order, the reference left out.

    A metric is averaged over a model's tables, one a seed, then users are resampled, once for each pair;
    the spread over seeds is shown beside (:class:`Spread`) and is no part of the interval. Models without the
    candidate set are left out; without it in the reference there is nothing to compare.

    Raises UserError: the reference is none of the models, or runs were tested on different cases.
    """
    if reference not in runs:
        raise UserError(f"the reference {reference} is none of the models compared: {', '.join(runs)}")
    known = {model: tables for model, tables in runs.items() if candidates in tables[0].ranks}
    if reference not in known:
        return []
    its = known.pop(reference)
    base, base_spread = metric_over_seeds(its, candidates, metric, across_orders)
    found = {}
    for model, tables in known.items():
        require_same_cases(its[0], tables[0])
        values, _ = metric_over_seeds(tables, candidates, metric, across_orders)
        found[model] = bootstrap_mean(values - base, its[0].user, resamples, seed=seed)
    corrected = holm([difference.p_value for difference in found.values()])
    return [
        Comparison(
            model,
            reference,
            difference,
            relative=difference.estimate / base_spread.mean if base_spread.mean else None,
            p_holm=p,
            significant=p < 0.05,
        )
        for (model, difference), p in zip(found.items(), corrected, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's step-down method, in the same order.

    Holm, "A simple sequentially rejective multiple test procedure" (Scand. J. Statist. 1979).

    >>> holm([0.03, 0.01, 0.5])
    [0.06, 0.03, 0.5]
    """
    raw = np.array(p_values)
    order = np.argsort(raw, kind="stable")
    steps = raw[order] * np.arange(len(raw), 0, -1)
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in corrected]
