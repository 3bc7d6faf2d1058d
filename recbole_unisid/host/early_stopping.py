"""Choosing the best epoch by a metric of the protocol instead of RecBole's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.ranks.metrics import per_user_metric
from recbole_unisid.ranks.rank import ranks_from_scores
from recbole_unisid.scores.negatives import sample_negatives

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


def protocol_score(ranks: NDArray[np.int64], metric: str) -> float:
    """Mean of a metric over the validation targets' ranks, in which any letter case goes."""
    return float(per_user_metric(ranks, metric.lower()).mean())


@torch.no_grad()
def sampled_ranks(model: Any, valid_data: Any, seed: int) -> NDArray[np.int64]:
    """Ranks of the validation targets among their 99 fixed negatives, scoring these alone.

    Parameters
    ----------
    model : WholeSequenceRecommender
        Of ours.
    valid_data : HistoryLoader
        Of all users.
    seed : int
        The protocol's.

    Returns
    -------
    ndarray of int64, shape [cases]
        In the loader's order.
    """
    dataset = valid_data._dataset
    negatives = torch.from_numpy(sample_negatives(dataset.sequences, seed=seed))
    model.eval()
    ranks = []
    for interaction, _, _, targets in valid_data:
        users = interaction[dataset.uid_field] - 1
        # As a catalogue of padding, the target and its negatives; what is no candidate is not listed.
        candidates = torch.cat(
            [torch.zeros_like(targets)[:, None], targets[:, None], negatives[users]], dim=1
        )
        candidates = candidates.to(model.device)
        scores = model.score_candidates(interaction.to(model.device), candidates)
        scores[:, 2:] = scores[:, 2:].masked_fill(candidates[:, 2:] == 0, -torch.inf)
        own = torch.ones_like(candidates[:, 0])
        ranks.append(ranks_from_scores(scores, own)["full_unfiltered"])
    return np.concatenate(ranks)
