"""Comparing models over seeds: paired intervals over users, and a correction for many comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.bootstrap import Interval, bootstrap_mean
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.table import RankTable


@dataclass(frozen=True)
class Spread:
    """A model's metric over its seeds: mean, and standard deviation with n - 1 (None for one seed)."""

    mean: float
    deviation: float | None
    seeds: int


@dataclass(frozen=True)
class Comparison:
    """One model against the reference under one metric.

    Attributes
    ----------
    model, reference : str
        Names.
    difference : Interval
        Model minus reference with its 95 % interval and p-value, before correction.
    relative : float or None
        The difference as a share of the reference's mean; None where that is 0.
    p_holm : float
        The p-value after Holm's correction over all models compared.
    significant : bool
        The corrected p-value is below 5 %. Then the interval excludes 0 too: both count the same resamples.
    """

    model: str
    reference: str
    difference: Interval
    relative: float | None
    p_holm: float
    significant: bool


def metric_over_seeds(
    tables: Sequence[RankTable], candidates: str, metric: str
) -> tuple[NDArray[np.float64], Spread]:
    """Average a metric over a model's seeds, case by case.

    Parameters
    ----------
    tables : sequence of RankTable
        One a seed, all of the same cases.
    candidates : str
        Which candidate set: ``full``, ``full_unfiltered``, ``sampled99``.
    metric : str
        As :func:`recbole_unisid.evaluation.metrics.per_user_metric` names it.

    Returns
    -------
    values : ndarray of float64, shape [cases]
        Mean over seeds.
    spread : Spread
        Of the seeds' means over cases.

    Raises
    ------
    UserError
        The tables hold different cases.
    """
    for table in tables[1:]:
        require_same_cases(tables[0], table)
    values = np.stack([per_user_metric(table.ranks[candidates], metric) for table in tables])
    means = values.mean(axis=1)
    deviation = float(means.std(ddof=1)) if len(means) > 1 else None
    return values.mean(axis=0), Spread(float(means.mean()), deviation, len(means))


def require_same_cases(one: RankTable, other: RankTable) -> None:
    """Refuse to pair runs that were tested on other users or other targets.

    Parameters
    ----------
    one, other : RankTable
        Of two runs; their cases must stand in the same order too.

    Raises
    ------
    UserError
        They were.
    """
    if not (np.array_equal(one.user, other.user) and np.array_equal(one.target, other.target)):
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
) -> list[Comparison]:
    """Compare every model with one of them, paired user by user.

    A metric is averaged over a model's seeds first, then users are resampled, once for each pair;
    the spread over seeds is shown beside (:class:`Spread`) and is no part of the interval.

    Parameters
    ----------
    runs : mapping of sequences of RankTable
        By model, one table a seed.
    reference : str
        The model to compare with.
    candidates, metric : str
        What to compare under. Models without this candidate set are left out.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    list of Comparison
        In the order of `runs`, the reference left out. Empty where the reference lacks the
        candidate set.

    Raises
    ------
    UserError
        The reference is none of the models, or runs were tested on different cases.
    """
    if reference not in runs:
        raise UserError(f"the reference {reference} is none of the models compared: {', '.join(runs)}")
    known = {model: tables for model, tables in runs.items() if candidates in tables[0].ranks}
    if reference not in known:
        return []
    base, base_spread = metric_over_seeds(known[reference], candidates, metric)
    users = known[reference][0].user
    found = {}
    for model in known:
        if model == reference:
            continue
        require_same_cases(known[reference][0], known[model][0])
        values, _ = metric_over_seeds(known[model], candidates, metric)
        found[model] = bootstrap_mean(values - base, users, resamples, seed=seed)
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
    """Correct p-values for their number by Holm's step-down method.

    Parameters
    ----------
    p_values : sequence of float
        One a comparison.

    Returns
    -------
    list of float
        Corrected, in the same order: below 0.05 where the family-wise error rate stays below it.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure" (Scand. J. Statist. 1979).

    Examples
    --------
    >>> holm([0.03, 0.01, 0.5])
    [0.06, 0.03, 0.5]
    """
    raw = np.array(p_values)
    order = np.argsort(raw, kind="stable")
    steps = raw[order] * np.arange(len(raw), 0, -1)
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in corrected]
