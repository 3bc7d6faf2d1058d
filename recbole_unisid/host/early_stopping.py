"""Choosing the best epoch by a metric of the protocol instead of RecBole's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.ranks.metrics import per_user_metric

#: Candidate sets that validation may rank, beside RecBole's own way (``full_unfiltered``).
CANDIDATES = ("full", "sampled99")


def check_protocol_metric(candidates: Any, metric: Any, sequential: bool) -> None:
    """Refuse a validation metric or candidate set that does not exist, before anything is trained.

    Raises
    ------
    UserError
        For a wrong name, or sampled candidates of a model that RecBole masks.
    """
    known = ("full_unfiltered", *CANDIDATES)
    if candidates not in known:
        raise UserError(
            f"valid_candidates={candidates} is none of {', '.join(known)}.{did_you_mean(str(candidates), known)}"
        )
    if candidates == "sampled99" and not sequential:
        raise UserError("valid_candidates=sampled99 is for sequential models; use full or full_unfiltered.")
    try:
        per_user_metric(np.ones(1, dtype=np.int64), str(metric).lower())
    except UserError as error:
        raise UserError(f"valid_metric={metric} with valid_candidates={candidates}: {error}") from None


def protocol_score(ranks: dict[str, NDArray[np.int64]], candidates: str, metric: str) -> float:
    """Mean of a metric over the validation targets' ranks, by candidate set."""
    return float(per_user_metric(ranks[candidates], metric.lower()).mean())
