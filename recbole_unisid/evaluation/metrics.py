"""Metrics of one target among its candidates, all of them functions of its rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError

#: Cutoffs shown for every candidate set that is the whole catalogue.
FULL_CUTOFFS = (5, 10, 20)
#: Cutoffs shown for sampled candidate sets.
SAMPLED_CUTOFFS = (1, 5, 10)


def per_user_metric(ranks: NDArray[np.int64], name: str) -> NDArray[np.float64]:
    """Value of one metric for every case, from 1-based ranks of the targets; a case is a user in leave-one-out.

    `name` is ``recall@k`` or ``hit@k`` (equal with one target a case: 1 within the cutoff), ``ndcg@k``
    (``1 / log2(rank + 1)`` within it), or ``mrr`` (no cutoff); another is a UserError. A rank below 1, which would pass
    for a hit, is a ValueError.
    """
    if len(ranks) and ranks.min() < 1:
        raise ValueError(f"ranks begin at 1, not at {ranks.min()}")
    kind, _, cutoff = name.partition("@")
    if name == "mrr":
        return 1.0 / ranks
    if kind not in ("recall", "hit", "ndcg") or not cutoff.isdecimal() or int(cutoff) < 1:
        raise UserError(f"no metric is called '{name}': use recall@k, hit@k, ndcg@k (k from 1) or mrr")
    within = ranks <= int(cutoff)
    gain = 1.0 / np.log2(ranks + 1.0) if kind == "ndcg" else 1.0
    return np.where(within, gain, 0.0)


def metrics_from_ranks(
    ranks: NDArray[np.int64], cutoffs: tuple[int, ...] = FULL_CUTOFFS, hit_name: str = "recall"
) -> dict[str, float]:
    """Means over cases of hits, NDCG and reciprocal rank, from 1-based ranks [cases]; refused where there is no case.

    Hits are called ``recall`` for the whole catalogue, ``hit`` for sampled candidates, as the literature writes. NDCG
    at 1 is left out: it equals the hit.

    >>> metrics_from_ranks(np.array([1, 4]), cutoffs=(1, 5))
    {'recall@1': 0.5, 'recall@5': 1.0, 'ndcg@5': 0.7153382790366966, 'mrr': 0.625}
    """
    if len(ranks) == 0:
        raise UserError(
            "no user has a target to be measured on: use a data set or a split with longer histories"
        )
    names = [f"{hit_name}@{cutoff}" for cutoff in cutoffs]
    names += [f"ndcg@{cutoff}" for cutoff in cutoffs if cutoff > 1]
    return {name: float(per_user_metric(ranks, name).mean()) for name in [*names, "mrr"]}


def protocol_metrics(ranks: dict[str, NDArray[np.int64]]) -> dict[str, dict[str, float]]:
    """Apply :func:`metrics_from_ranks` to each candidate set, with its own cutoffs and names."""
    sampled, whole = (SAMPLED_CUTOFFS, "hit"), (FULL_CUTOFFS, "recall")
    return {
        name: metrics_from_ranks(values, *(sampled if name.startswith("sampled") else whole))
        for name, values in ranks.items()
    }
