"""Ranks of targets by comparison: no sorting, no mask, no users x items matrix beside the scores."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.metrics import FULL_CUTOFFS

#: Cells compared at a time; the buffer (4 bytes a cell) stays within a processor's cache.
_BLOCK = 1 << 20


def ranks_from_scores(
    scores: Tensor,
    targets: Tensor,
    seen: tuple[Tensor, Tensor] | None = None,
    negatives: Tensor | None = None,
    listed: int | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Rank every target among its candidates: 1 + the number of others scored as high or higher.

    Ties count against the model, so that items that share a semantic ID cannot look good by luck. The ranks [B] are
    those in ``full_unfiltered``; with `seen` in ``full``, too; with `negatives` in ``sampled<count>``.

    `scores` are [B, n_items + 1]; column 0, padding, is never looked at, and ``-inf`` stands for "not listed".
    `targets` [B] are item numbers from 1. `seen` are rows and items [pairs] that the user of a row already had, in any
    order: no candidates in `full`, but for a target that was seen earlier. `negatives` [B, count] stand beside the
    target; 0 is no candidate. `listed` is the k of a model that lists only its best k: a target that is not listed has
    rank k + 1 in `full` and `full_unfiltered`. Without it, as among sampled candidates always, such targets come last.

    Raises UserError: for a score of NaN or +inf, which a comparison would hide, and for `listed` below the largest
    cutoff of the metrics, where rank k + 1 would pass for a hit.
    """
    if listed is not None and listed < FULL_CUTOFFS[-1]:
        raise UserError(
            f"a model that lists its best {listed} items cannot be measured at {FULL_CUTOFFS[-1]}: list more"
        )
    _check(scores, targets)
    own = scores.gather(1, targets[:, None])  # [B, 1]
    higher = _count_at_least(scores, own)  # the target itself is one of them
    ranks = {"full_unfiltered": higher}
    if seen is not None:
        ranks["full"] = higher - _count_seen(scores, targets, own, seen)
    if listed is not None:
        for name, rank in ranks.items():
            ranks[name] = torch.where(torch.isneginf(own[:, 0]), listed + 1, rank)
    found = {name: rank.cpu().numpy().astype(np.int64) for name, rank in ranks.items()}
    if negatives is not None:
        found |= ranks_among_sampled(own[:, 0], scores.gather(1, negatives), targets, negatives)
    return found


def ranks_among_sampled(
    own: Tensor, others: Tensor, targets: Tensor, negatives: Tensor
) -> dict[str, NDArray[np.int64]]:
    """Rank targets [B] among sampled candidates `negatives` [B, count], as above: ``sampled<count>``.

    Known are the scores of the targets, `own` [B], and of the candidates, `others` [B, count]. An item 0 is no
    candidate, nor is the target itself.

    Raises UserError: a score is NaN or +inf.
    """
    candidates = (negatives != 0) & (negatives != targets[:, None])
    bad = ~(own < torch.inf) | (candidates & ~(others < torch.inf)).any(1)
    if bool(bad.any()):
        raise UserError(
            f"a score among the sampled candidates is no number (row {int(bad.nonzero()[0])} of an evaluation "
            "batch), so nothing can be ranked; training has diverged: lower learning_rate or set clip_grad_norm"
        )
    rank = 1 + ((others >= own[:, None]) & candidates).sum(1)
    return {f"sampled{negatives.shape[1]}": rank.cpu().numpy().astype(np.int64)}


def _check(scores: Tensor, targets: Tensor) -> None:
    """Refuse what a comparison would turn into a wrong rank without a sound."""
    if scores.ndim != 2 or targets.shape != scores.shape[:1]:
        raise ValueError(f"scores {tuple(scores.shape)} and targets {tuple(targets.shape)} do not fit")
    if len(targets) == 0:
        return
    if int(targets.min()) < 1 or int(targets.max()) >= scores.shape[1]:
        raise ValueError(f"targets must be items 1 .. {scores.shape[1] - 1}")
    largest = scores[:, 1:].amax(1)  # NaN wins a maximum
    bad = ~(largest < torch.inf)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        item = int((~(scores[row, 1:] < torch.inf)).nonzero()[0]) + 1
        raise UserError(
            f"the model scored item {item} as {float(scores[row, item])} (row {row} of an evaluation batch), "
            "so nothing can be ranked; training has diverged: lower learning_rate or set clip_grad_norm"
        )


def _count_at_least(scores: Tensor, own: Tensor) -> Tensor:
    """Count the items of each row scored at least `own`, shape [B]; padding is left out."""
    rows, width = scores.shape
    step = max(1, _BLOCK // width)
    columns = min(width, _BLOCK)  # float32 counts a block exactly (below 2**24)
    counts = torch.zeros(rows, dtype=torch.int64, device=scores.device)
    # Comparing into floats and summing those is several times as fast as summing booleans.
    buffer = torch.empty(min(step, rows), columns, device=scores.device)
    for top in range(0, rows, step):
        for left in range(1, width, columns):
            block = scores[top : top + step, left : left + columns]
            above = buffer[: block.shape[0], : block.shape[1]]
            torch.ge(block, own[top : top + step], out=above)
            counts[top : top + step] += above.sum(1).long()
    return counts


def _count_seen(scores: Tensor, targets: Tensor, own: Tensor, seen: tuple[Tensor, Tensor]) -> Tensor:
    """Count the distinct seen items of each row, target apart, scored at least `own`; shape [B]."""
    width = scores.shape[1]
    pairs = torch.unique(seen[0] * width + seen[1])
    rows, items = pairs // width, pairs % width
    above = (scores[rows, items] >= own[rows, 0]) & (items != targets[rows]) & (items != 0)
    return torch.bincount(rows[above], minlength=len(scores))
