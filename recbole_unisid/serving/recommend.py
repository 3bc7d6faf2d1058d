"""The best next items of a history, which items of it they resemble, and how both are shown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.notes import MODEL_NOTES
from recbole_unisid.serving.loaded import LoadedRun
from recbole_unisid.serving.recommender import ItemRecommender, RecommenderError, best_items
from recbole_unisid.serving.requests import Request

#: What becomes of items that the history has: ``filter`` leaves them out, ``keep`` ranks them too.
SEEN = ("filter", "keep")
_TITLE_WIDTH = 50
_SHOWN_HISTORY = 3


class Reason(NamedTuple):
    """An item of the history that a recommendation resembles."""

    item: int
    shared: int  # codes with which both begin
    levels: int  # of so many; 0 where there are no tokens
    similarity: float | None  # the cosine of their vectors; None for models without


class Recommendation(NamedTuple):
    """One place of a list."""

    item: int  # its number
    score: float
    why: list[Reason]  # the nearest items of the history
    #: what adds up to the score, by name (:meth:`LoadedRun.parts`); none unless it was asked for
    parts: dict[str, float] = {}  # noqa: RUF012 - never changed


def recommend(
    run: LoadedRun,
    histories: Sequence[NDArray[np.int64]],
    k: int = 10,
    seen: str = "filter",
    reasons: int = 2,
    explain: bool = False,
) -> list[list[Recommendation]]:
    """Recommend at most `k` items for each history, best first; equal scores in the order of item numbers.

    A history has item numbers, oldest first. Scores of all of them are held at once: give a few hundred at a time.
    `reasons` is how many items of the history are named for each; `explain` gives what adds up to the score.
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
        why = nearest_in_history(run, best, history, reasons) if reasons else [[]] * len(best)
        parts = run.parts(history, best) if explain else {}
        told = [{name: float(part[at]) for name, part in parts.items()} for at in range(len(best))]
        found = zip(best.tolist(), row[best].tolist(), why, told, strict=True)
        lists.append([Recommendation(*one) for one in found])
    return lists


def nearest_in_history(
    run: LoadedRun, items: NDArray[np.int64], history: NDArray[np.int64], count: int
) -> list[list[Reason]]:
    """For each item, at most `count` items of the history that are nearest to it.

    Near is who shares the longest beginning of the code tuple, then the larger cosine of item vectors,
    then the later one. It says what an item resembles, not what made the model choose it. Where tokens tell,
    only items that share the first code are named, but one in any case.
    """
    # Each item of the history once, the latest first.
    past = history[::-1][np.sort(np.unique(history[::-1], return_index=True)[1])]
    shared, levels = np.zeros((len(items), len(past)), dtype=np.int64), 0
    if run.codes is not None and run.tokenization is not None:
        levels = len(run.tokenization.tokenizer.codebook_sizes)  # a suffix level means nothing
        codes = run.codes[:, :levels]
        equal = codes[items][:, None] == codes[past][None]  # [n, past, levels]
        shared = np.cumprod(equal, axis=2).sum(axis=2)
    vectors, cosines = run.item_vectors, None
    if vectors is not None:
        cosines = _unit(vectors[items]) @ _unit(vectors[past]).T
    found: list[list[Reason]] = []
    for row in range(len(items)):
        nearness = np.zeros(len(past)) if cosines is None else cosines[row]
        order = np.lexsort((np.arange(len(past)), -nearness, -shared[row]))
        chosen = [at for place, at in enumerate(order[:count]) if place == 0 or shared[row, at] or not levels]
        alike = [None if cosines is None else float(nearness[at]) for at in chosen]
        told = zip(past[chosen].tolist(), shared[row, chosen].tolist(), alike, strict=True)
        found.append([Reason(item, codes, levels, similarity) for item, codes, similarity in told])
    return found


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)  # type: ignore[no-any-return]


def as_json_line(run: LoadedRun, request: Request, found: Sequence[Recommendation]) -> str:
    """One JSON object on one line: user, history length and the items with score, tokens and why."""

    def named(item: int) -> dict[str, Any]:
        return {"item_id": run.item_ids[item], "title": run.titles[item]}

    def reason(one: Reason) -> dict[str, Any]:
        shared = {"shared_codes": one.shared if one.levels else None, "levels": one.levels or None}
        return named(one.item) | shared | {"similarity": one.similarity}

    items = []
    for rank, one in enumerate(found, start=1):
        tokens = None if run.codes is None else run.codes[one.item].tolist()
        why = [reason(each) for each in one.why]
        about = {"rank": rank, **named(one.item), "score": one.score, "tokens": tokens, "why": why}
        items.append(about | ({"parts": one.parts} if one.parts else {}))
    line = {"user": request.user, "history_length": len(request.history), "items": items}
    if note := MODEL_NOTES.get(run.config.chosen.family):
        line["note"] = note
    return json.dumps(line, ensure_ascii=False)


def as_table(run: LoadedRun, request: Request, found: Sequence[Recommendation]) -> str:
    """A table under a line that says whose it is, or why it is empty."""
    last = [_short(run.titles[item]) for item in request.history[-_SHOWN_HISTORY:][::-1]]
    whose = f"user {request.user}" if request.user is not None else "this history"
    count = len(request.history)
    head = f"for {whose} ({count} {'item' if count == 1 else 'items'}, last: {'; '.join(last)})\n"
    if not found:
        return f"{head}\nNothing is left to recommend: the history has every item; --seen=keep ranks those too.\n"
    notes, widths = [MODEL_NOTES.get(run.config.chosen.family)], None
    if found[0].parts:  # within 100 columns
        head, widths = f"{textwrap.fill(head, 100)}\n", [None, None, None, None, 44]
        header = ["", "item", "title", "score", "what adds up to it"]
        named = [(_short(run.item_ids[one.item], 12), _short(run.titles[one.item], 24)) for one in found]
        rows = [
            [rank, *names, one.score, _sum(one.parts)]
            for rank, (names, one) in enumerate(zip(named, found, strict=True), start=1)
        ]
        if len(found[0].parts) == 1:
            notes.append(f"{run.config['model']} has one score without parts.")
    else:
        tokens = [] if run.codes is None else ["tokens"]
        header, rows = ["", "item", "title", "score", *tokens, "nearest in the history"], []
        for rank, one in enumerate(found, start=1):
            codes = [] if run.codes is None else [" ".join(map(str, run.codes[one.item].tolist()))]
            shown = [rank, run.item_ids[one.item], _short(run.titles[one.item]), one.score]
            rows.append([*shown, *codes, _because(run, one.why)])
    table = tabulate(rows, header, floatfmt=".3f", disable_numparse=[1, 2], maxcolwidths=widths)
    return f"{head}\n{table}\n" + "".join(f"\nnote: {note}\n" for note in notes if note)


def _sum(parts: Mapping[str, float]) -> str:
    told = [(name, part) for name, part in parts.items() if f"{abs(part):.3f}" != "0.000"]
    signed = [f"{'-' if part < 0 else '+'} {name} {abs(part):.3f}" for name, part in told]
    return " ".join(signed).removeprefix("+ ")


def _because(run: LoadedRun, why: Sequence[Reason]) -> str:
    if not why or not (why[0].shared or why[0].similarity is not None):
        return ""
    nearest, how = why[0], f"{why[0].shared} of {why[0].levels} codes"
    how = how if nearest.shared else f"cosine {nearest.similarity:.2f}"
    return f"{_short(run.titles[nearest.item])} ({how})"


def _short(title: str, width: int = _TITLE_WIDTH) -> str:
    return title if len(title) <= width else title[: width - 1] + "…"


class RunRecommender(ItemRecommender):
    """The exported recommender's interface to a run of any model, which scores the whole catalogue."""

    def __init__(self, loaded: LoadedRun) -> None:
        codes = None if loaded.codes is None else loaded.codes[1:]
        super().__init__(loaded.item_ids[1:], loaded.titles[1:], codes)
        self._loaded = loaded
        self._lock = Lock()  # RecBole's models keep state between calls

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

    @cached_property
    def _units(self) -> NDArray[np.float32]:
        vectors = self._loaded.item_vectors
        if vectors is None:
            model = self._loaded.config["model"]
            raise RecommenderError(f"{model} has no item vectors, and so no similar items.")
        return _unit(vectors[1:])

    def _cosines(self, row: int) -> NDArray[np.float32]:
        cosines: NDArray[np.float32] = self._units @ self._units[row]
        return cosines
