"""The best next items of a history, and which items of it they resemble."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from recbole_unisid.errors import UserError
from recbole_unisid.serving.loaded import LoadedRun
from recbole_unisid.serving.recommender import ItemRecommender, RecommenderError
from recbole_unisid.serving.requests import Request

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


_TITLE_WIDTH = 50
_SHOWN_HISTORY = 3


def as_json_line(run: LoadedRun, request: Request, found: Sequence[Recommendation]) -> str:
    """One JSON object on one line: user, history length and the items with score, tokens and why."""
    items = [
        {
            "rank": rank,
            "item_id": run.item_ids[one.item],
            "title": run.titles[one.item],
            "score": one.score,
            "tokens": None if run.codes is None else run.codes[one.item].tolist(),
            "why": [_reason_as_json(run, reason) for reason in one.why],
        }
        for rank, one in enumerate(found, start=1)
    ]
    line = {"user": request.user, "history_length": len(request.history), "items": items}
    return json.dumps(line, ensure_ascii=False)


def as_table(run: LoadedRun, request: Request, found: Sequence[Recommendation]) -> str:
    """A table under a line that says whose it is."""
    last = [_short(run.titles[item]) for item in request.history[-_SHOWN_HISTORY:][::-1]]
    whose = f"user {request.user}" if request.user is not None else "this history"
    rows = [
        [
            rank,
            run.item_ids[one.item],
            _short(run.titles[one.item]),
            one.score,
            *([] if run.codes is None else [" ".join(map(str, run.codes[one.item].tolist()))]),
            _because(run, one.why),
        ]
        for rank, one in enumerate(found, start=1)
    ]
    tokens = [] if run.codes is None else ["tokens"]
    header = ["", "item", "title", "score", *tokens, "nearest in the history"]
    table = tabulate(rows, header, floatfmt=".3f", disable_numparse=[1, 2])
    count = len(request.history)
    return f"for {whose} ({count} {'item' if count == 1 else 'items'}, last: {'; '.join(last)})\n\n{table}\n"


def _because(run: LoadedRun, why: Sequence[Reason]) -> str:
    if not why:
        return ""
    nearest = why[0]
    if nearest.shared:
        how = f"{nearest.shared} of {nearest.levels} codes"
    elif nearest.similarity is not None:
        how = f"cosine {nearest.similarity:.2f}"
    else:
        return ""
    return f"{_short(run.titles[nearest.item])} ({how})"


def _reason_as_json(run: LoadedRun, reason: Reason) -> dict[str, Any]:
    return {
        "item_id": run.item_ids[reason.item],
        "title": run.titles[reason.item],
        "shared_codes": reason.shared if reason.levels else None,
        "levels": reason.levels or None,
        "similarity": reason.similarity,
    }


def _short(title: str) -> str:
    return title if len(title) <= _TITLE_WIDTH else title[: _TITLE_WIDTH - 1] + "…"


class RunRecommender(ItemRecommender):
    """A run's model scores the whole catalogue.

    Parameters
    ----------
    loaded : LoadedRun
        A finished run.
    """

    def __init__(self, loaded: Any) -> None:
        codes = None if loaded.codes is None else loaded.codes[1:]
        super().__init__(loaded.item_ids[1:], loaded.titles[1:], codes)
        self._loaded = loaded
        self._lock = Lock()  # RecBole's models keep state between calls
        self._units: NDArray[np.float32] | None = None

    def _best(
        self, histories: Sequence[NDArray[np.int64]], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        with self._lock:
            scores = self._loaded.scores([rows + 1 for rows in histories])[:, 1:]
        rows = np.full((len(scores), count), -1, dtype=np.int64)  # -1: a model that lists fewer than asked
        for row, one in zip(rows, scores, strict=True):
            best = best_items(one, count)
            row[: len(best)] = best
        return np.take_along_axis(scores, np.maximum(rows, 0), axis=1), rows

    def _cosines(self, row: int) -> NDArray[np.float32]:
        if self._units is None:
            vectors = self._loaded.item_vectors
            if vectors is None:
                model = self._loaded.config["model"]
                raise RecommenderError(f"{model} has no item vectors, and so no similar items.")
            norms = np.maximum(np.linalg.norm(vectors[1:], axis=1, keepdims=True), np.finfo(np.float32).tiny)
            self._units = vectors[1:] / norms
        cosines: NDArray[np.float32] = self._units @ self._units[row]
        return cosines
