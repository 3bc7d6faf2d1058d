"""Metrics that can be evaluated, and choosing the best epoch by one of the protocol's instead of RecBole's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.evaluator.register import metric_types, metrics_dict
from recbole.utils import EvaluatorType
from torch import Tensor

from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.evaluation.metrics import FULL_CUTOFFS, per_user_metric
from recbole_unisid.evaluation.ranks import ranks_among_sampled


def check_protocol_metric(candidates: str, metric: Any, sequential: bool) -> None:
    """Refuse a validation metric that does not exist, before anything is trained.

    Raises
    ------
    UserError
        For a wrong name, or sampled candidates of a model that RecBole masks.
    """
    if candidates == "sampled99" and not sequential:
        raise UserError("valid_candidates=sampled99 is for sequential models; use full or full_unfiltered.")
    try:
        per_user_metric(np.ones(1, dtype=np.int64), str(metric).lower())
    except UserError as error:
        raise UserError(f"valid_metric={metric} with valid_candidates={candidates}: {error}") from None


def check_metrics(metrics: Sequence[str]) -> None:
    """Refuse metrics of RecBole that are not of rankings, and names that are no metric.

    Raises
    ------
    UserError
        With RecBole's metrics of rankings.
    """
    of_rankings = [
        metric.__name__
        for name, metric in metrics_dict.items()
        if metric_types[name] == EvaluatorType.RANKING
    ]
    for name in metrics:
        if name.lower() not in map(str.lower, of_rankings):
            raise UserError(
                f"metrics: {name} is no metric of rankings, and nothing else is evaluated here; RecBole has "
                f"{', '.join(of_rankings)}.{did_you_mean(name, of_rankings)}"
            )


def check_list_length(model: Any) -> None:
    """Refuse a model that lists too few items to be measured.

    Raises
    ------
    UserError
        For a list shorter than the largest cutoff.
    """
    listed, least = getattr(model, "listed", None), FULL_CUTOFFS[-1]
    if listed and listed < least:
        raise UserError(f"beams={listed} cannot be measured at {least} items: set beams to that or more.")


def protocol_score(ranks: NDArray[np.int64], metric: str) -> float:
    """Mean of a metric over the validation targets' ranks, in which any letter case goes."""
    return float(per_user_metric(ranks, metric.lower()).mean())


@torch.no_grad()
def sampled_ranks(model: Any, valid_data: Any, negatives: Tensor) -> NDArray[np.int64]:
    """Ranks of the validation targets among their 99 fixed negatives, scoring these alone.

    Parameters
    ----------
    negatives : Tensor of int64, shape [users, 99]
        The protocol's (:func:`~recbole_unisid.evaluation.candidates.sample_negatives`).
    """
    user_field = valid_data._dataset.uid_field
    model.eval()
    ranks: list[NDArray[np.int64]] = []
    for interaction, _, _, targets in valid_data:
        candidates = torch.cat([targets[:, None], negatives[interaction[user_field] - 1]], dim=1)
        candidates = candidates.to(model.device)  # [batch, 1 + 99]
        scores = model.score_candidates(interaction.to(model.device), candidates)
        found = ranks_among_sampled(scores[:, 0], scores[:, 1:], candidates[:, 0], candidates[:, 1:])
        ranks.extend(found.values())
    return np.concatenate(ranks)
