"""What lists are like beside being right: how much of the catalogue they show, how unlike one another they are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TRAIN, Split

#: Length of the lists that are looked at.
LENGTH = 10


def best_items(
    scores: Tensor, seen: tuple[Tensor, Tensor] | None = None, count: int = LENGTH
) -> NDArray[np.int64]:
    """The columns with the highest scores of each row, [rows, count]; 0 where no other is finite.

    Column 0 is padding; `seen` are rows and columns [pairs] to leave out. The scores are as before afterwards.
    """
    padding = scores[:, 0].clone()
    scores[:, 0] = -torch.inf
    held = None if seen is None else scores[seen]
    if seen is not None:
        scores[seen] = -torch.inf
    values, found = torch.topk(scores, min(count, scores.shape[1]), dim=1)
    if seen is not None and held is not None:
        scores[seen] = held
    scores[:, 0] = padding
    found = torch.nn.functional.pad(
        torch.where(torch.isneginf(values), 0, found), (0, count - found.shape[1])
    )
    best: NDArray[np.int64] = found.cpu().numpy()
    return best


def list_metrics(lists: NDArray[np.int64], sequences: UserSequences, split: Split) -> dict[str, float]:
    """Coverage, concentration, novelty and diversity at 10 of the lists of `full`, item numbers [cases, 10] (0: none).

    ``coverage`` is the share of the catalogue that stands in some list; ``gini`` how unevenly (0: every item as
    often, towards 1: few items alone); ``novelty`` the mean of -log2 of the share of training users who have an item
    (one at least), averaged over lists; ``diversity`` the mean share of a list that another case's list has not.

    Novelty and diversity between users: Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender
    systems" (PNAS 2010).
    """
    shown = lists > 0
    if not shown.any():  # all that there is has been seen
        return {"coverage@10": 0.0}
    counts = np.bincount(lists[shown], minlength=sequences.n_items + 1)[1:]
    trained = split.phase <= TRAIN
    width = sequences.n_items + 1
    had = np.unique(sequences.users[trained].astype(np.int64) * width + sequences.items[trained])
    takers, users = np.bincount(had % width, minlength=width), len(np.unique(had // width))
    surprise = np.where(shown, -np.log2(np.maximum(takers, 1) / users)[lists], 0.0)
    lengths = shown.sum(1)
    found = {
        "coverage@10": float((counts > 0).mean()),
        "gini@10": _gini(counts),
        "novelty@10": float((surprise.sum(1) / lengths)[lengths > 0].mean()),
    }
    if (pairs := len(lists) * (len(lists) - 1)) > 0:
        shared = float((counts * (counts - 1)).sum()) / pairs  # items that two cases' lists share, on average
        found["diversity@10"] = 1 - shared / lists.shape[1]
    return found


def _gini(counts: NDArray[np.int64]) -> float:
    """Half of the mean difference of two counts, by their mean."""
    ordered, n = np.sort(counts), len(counts)
    return float(((2 * np.arange(1, n + 1) - n - 1) * ordered).sum() / (n * ordered.sum()))
