"""The best next items of a history, and which items of it they resemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.serving.loaded import LoadedRun

#: What becomes of items that the history has: ``filter`` leaves them out, ``keep`` ranks them too.
SEEN = ("filter", "keep")


@dataclass(frozen=True)
class Reason:
    """An item of the history that a recommendation resembles.

    Attributes
    ----------
    item : int
        Its number.
    shared, levels : int
        Codes that both begin with, of so many; 0 where there are no tokens.
    similarity : float or None
        Cosine of the two item vectors; None for models without.
    """

    item: int
    shared: int
    levels: int
    similarity: float | None


@dataclass(frozen=True)
class Recommendation:
    """One place of a list.

    Attributes
    ----------
    item : int
        Item number.
    score : float
        Of the model; higher is better, only the order means something.
    why : list of Reason
        The nearest items of the history, nearest first.
    """

    item: int
    score: float
    why: list[Reason] = field(default_factory=list)


def recommend(
    run: LoadedRun,
    histories: Sequence[NDArray[np.int64]],
    k: int = 10,
    seen: str = "filter",
    reasons: int = 2,
) -> list[list[Recommendation]]:
    """Recommend for some histories.

    Parameters
    ----------
    run : LoadedRun
        The model.
    histories : sequence of ndarray of int64
        Item numbers, oldest first. Scores of all of them are held at once: give a few hundred at a time.
    k : int
        Items a list; fewer where the catalogue has no more.
    seen : {"filter", "keep"}
        Whether items of the history are left out.
    reasons : int
        Items of the history to name for each recommendation at most.

    Returns
    -------
    list of list of Recommendation
        Best first; equal scores in the order of item numbers.

    Raises
    ------
    UserError
        When `k` or `seen` is out of range, or a history is.
    """
    if seen not in SEEN:
        raise UserError(f"seen={seen} is neither filter nor keep.")
    if not 1 <= k <= run.n_items:
        raise UserError(f"k={k} is out of range: the catalogue has {run.n_items} items.")
    scores = run.scores(histories)
    scores[:, 0] = -np.inf
    lists = []
    for history, row in zip(histories, scores, strict=True):
        if seen == "filter":
            row[history] = -np.inf
        best = best_items(row, k)
        why = nearest_in_history(run, best, history, reasons)
        lists.append([Recommendation(int(i), float(row[i]), w) for i, w in zip(best, why, strict=True)])
    return lists


def best_items(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The `k` items of the highest scores, equal ones by number; -inf is never among them.

    Parameters
    ----------
    scores : ndarray of float32, shape [n_items + 1]
        Of one history, by item number; or [n_items], by row of the catalogue.
    k : int
        At most.
    """
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    candidates = np.flatnonzero((scores >= least) & (scores > -np.inf))
    order = np.lexsort((candidates, -scores[candidates]))
    return candidates[order[:k]]


def nearest_in_history(
    run: LoadedRun, items: NDArray[np.int64], history: NDArray[np.int64], count: int
) -> list[list[Reason]]:
    """For each item, the items of the history that are nearest to it.

    Near is who shares the longest beginning of the code tuple, then the larger cosine of item vectors,
    then the later one. It says what an item resembles, not what made the model choose it.

    Parameters
    ----------
    run : LoadedRun
        The model.
    items : ndarray of int64, shape [n]
        Item numbers.
    history : ndarray of int64, shape [length]
        Item numbers, oldest first.
    count : int
        How many to name at most. Where tokens tell, only those that share the first code are named, but
        one in any case.
    """
    # Each item of the history once, the latest first.
    past = history[::-1][np.sort(np.unique(history[::-1], return_index=True)[1])]
    shared, levels = np.zeros((len(items), len(past)), dtype=np.int64), 0
    if run.codes is not None and run.tokenization is not None:
        levels = len(run.tokenization.tokenizer.codebook_sizes)  # a suffix level means nothing
        codes = run.codes[:, :levels]
        equal = codes[items][:, None] == codes[past][None]  # [n, past, levels]
        shared = np.cumprod(equal, axis=2).sum(axis=2)
    similarity = _cosines(run, items, past)
    found = []
    for row in range(len(items)):
        nearness = np.zeros(len(past)) if similarity is None else similarity[row]
        order = np.lexsort((np.arange(len(past)), -nearness, -shared[row]))
        chosen = [at for place, at in enumerate(order[:count]) if place == 0 or shared[row, at] or not levels]
        found.append(
            [
                Reason(
                    int(past[at]),
                    int(shared[row, at]),
                    levels,
                    None if similarity is None else float(similarity[row, at]),
                )
                for at in chosen
            ]
        )
    return found


def _cosines(
    run: LoadedRun, items: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """Cosines of item vectors, shape [items, others]; None for models without vectors."""
    if run.item_vectors is None:
        return None

    def unit(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = run.item_vectors[numbers]  # type: ignore[index]
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)  # type: ignore[no-any-return]

    return unit(items) @ unit(others).T
