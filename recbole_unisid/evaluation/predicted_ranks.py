"""Ranks of the test targets among what was predicted elsewhere, and what can and cannot be computed from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TEST, TRAIN, Split
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.candidates import history_lengths, sampled_for, seen_pairs
from recbole_unisid.evaluation.lists import best_items
from recbole_unisid.evaluation.metrics import FULL_CUTOFFS
from recbole_unisid.evaluation.predictions import Rows
from recbole_unisid.evaluation.ranks import ranks_from_scores

#: Scores (rows x columns) that are ranked at once.
_CELLS = 1 << 24


@dataclass(frozen=True)
class Ranked:
    """Ranks of all test targets, and what is to be known of them."""

    ranks: dict[
        str, NDArray[np.int64]
    ]  # by candidate set, [cases]; of sets that the predictions do not allow none
    about: dict[str, Any]  # form, length, seen and missing, as in ``result.json``
    notes: list[str]  # what was done and what cannot be computed, a line each
    best: NDArray[np.int64]  # the first items that a user had not, of each case, [cases, 10]; 0: none


def rank_predictions(
    rows: Rows,
    sequences: UserSequences,
    split: Split,
    settings: Any,
    seen: str = "auto",
    missing: str = "error",
) -> Ranked:
    """Rank every test target among what is predicted for it, as :func:`.ranks_from_scores` ranks our models.

    The `settings` name the sampled candidates (:func:`.sampled_for`). `seen` is ``in`` where the predictions may hold
    what a user had, ``out`` where not; ``auto`` looks: they may where they hold an item of their user's training.
    `missing` is ``error`` or ``miss``: a target without predictions is the last.

    Raises UserError: no predictions for a target, lists too short, or `seen` is not what they are.
    """
    targets = split.targets(TEST)
    row_of = _rows_of(rows, sequences, targets)
    without = np.flatnonzero(row_of < 0)
    if len(without) and missing != "miss":
        name = str(sequences.user_ids[sequences.owners(targets[without[:1]])[0]])
        raise UserError(
            f"{len(without):,} of {len(targets):,} test targets have no predictions, the first is user {name!r}; add "
            "them, or count them as misses with --missing=miss."
        )
    others = len(rows.users) - len(np.unique(row_of[row_of >= 0]))
    notes = [f"{others:,} lists are of users or positions without a test target: left out."] if others else []
    trained = np.unique(_pairs(sequences, np.flatnonzero(split.phase <= TRAIN)))
    ranks, held = _rank_all(rows, sequences, targets, row_of, trained, settings)
    may_repeat = _may_repeat(rows, held, seen)
    notes += _notes(rows, held, may_repeat, len(without))
    if not may_repeat:
        del ranks["full_unfiltered"]
    about = {
        "form": "lists" if rows.listed else "scores",
        "length": rows.listed,
        "seen": "in" if may_repeat else "out",
        "missing": len(without),
    }
    best = ranks.pop("best")
    return Ranked(ranks, about, notes, best)


class _Held(NamedTuple):
    """What the predictions hold of the items that users had, and how many lists end too early without them."""

    trained: int  # listed items of their users' training
    later: int  # listed items that were had after it
    cut: int  # lists that end before the last place that is measured, their target being none of theirs


def _rank_all(
    rows: Rows,
    sequences: UserSequences,
    targets: NDArray[np.int64],
    row_of: NDArray[np.int64],
    trained: NDArray[np.int64],
    settings: Any,
) -> tuple[dict[str, NDArray[np.int64]], _Held]:
    """Ranks of all targets, and their best items as ``best``, some cases at a time."""
    parts: list[dict[str, NDArray[np.int64]]] = []
    held = np.zeros(len(_Held._fields), dtype=np.int64)
    width = (rows.listed or sequences.n_items) + 2
    step = max(1, _CELLS // width)
    matrix = None if rows.listed else sampled_for(settings, sequences)
    for start in range(0, len(targets), step):
        chunk, its = targets[start : start + step], row_of[start : start + step]
        ranks, counted = _rank_chunk(rows, sequences, chunk, its, trained, matrix)
        parts.append(ranks)
        held += counted
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, _Held(*held.tolist())


def _may_repeat(rows: Rows, held: _Held, seen: str) -> bool:
    """Whether the predictions may hold what a user had; a UserError where `seen` is not what they are."""
    if seen == "out" and held.trained:
        raise UserError(
            f"The predictions hold {held.trained:,} items of their users' training, so seen items are not left out: "
            "leave --seen=out out."
        )
    may_repeat = seen == "in" or (seen == "auto" and held.trained > 0)
    if may_repeat and held.cut:
        raise UserError(
            f"Without items that users had, {held.cut:,} lists of {rows.listed} end before place {FULL_CUTOFFS[-1]}, "
            "so full cannot be measured: list more, or leave out what a user had."
        )
    return may_repeat


def _notes(rows: Rows, held: _Held, may_repeat: bool, missing: int) -> Iterator[str]:
    if may_repeat:
        yield (
            f"Lists may hold what a user had ({held.trained:,} items of training are listed): full leaves it out, "
            "full_unfiltered does not."
        )
    else:
        yield "No list holds an item of its user's training: full is computed, full_unfiltered cannot be."
        if held.later:
            yield f"{held.later:,} listed items were had after training (validation): full leaves them out."
    if rows.listed:
        yield (
            f"Lists are at most {rows.listed:,} long: a target beyond has rank {rows.listed + 1:,}, in mrr too. "
            "Sampled candidates need scores of all items and are not computed."
        )
    if missing:
        yield f"{missing:,} test targets have no predictions and count as misses."


def _pairs(sequences: UserSequences, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each user with an item, of interactions by flat position."""
    return sequences.owners(positions) * (sequences.n_items + 1) + sequences.items[positions]


def _rows_of(rows: Rows, sequences: UserSequences, targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row of each target [cases]: of its position, or of its user where a row has no position; -1 for none."""
    owners, places = sequences.owners(targets), history_lengths(sequences, targets)
    if (rows.positions < 0).all():
        places = np.full(len(targets), -1)
    width = int(max(sequences.lengths.max(), rows.positions.max(initial=0))) + 2
    keys = rows.users * width + rows.positions + 1
    order = np.argsort(keys)
    wanted = owners * width + places + 1
    at = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    found: NDArray[np.int64] = np.where(keys[order][at] == wanted, order[at], -1)
    return found


class _View(NamedTuple):
    """Some cases as :func:`.ranks_from_scores` reads them: a column for each item that can be told apart."""

    scores: NDArray[np.floating[Any]]  # [cases, 1 + columns]
    items: NDArray[np.int64]  # of the columns, [cases, 1 + columns]
    columns: NDArray[np.int64]  # of the targets, [cases]
    had: tuple[
        NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]
    ]  # cases, columns and items that users had


def _rank_chunk(
    rows: Rows,
    sequences: UserSequences,
    targets: NDArray[np.int64],
    row_of: NDArray[np.int64],
    trained: NDArray[np.int64],
    negatives: NDArray[np.int64] | None,
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """Ranks [cases], and the counts of :class:`_Held`."""
    asked, owners, width = sequences.items[targets], sequences.owners(targets), sequences.n_items + 1
    cases, items = seen_pairs(sequences, targets)
    had = np.unique((cases * width + items)[items != asked[cases]])
    view = (
        _list_view(rows, row_of, asked, had, width)
        if rows.listed
        else _matrix_view(rows, row_of, asked, had, width)
    )
    view.scores[row_of < 0] = -np.inf
    cases, columns, items = view.had
    shown = np.isfinite(view.scores[cases, columns])
    of_training = np.isin(owners[cases] * width + items, trained)
    cut = 0
    if rows.listed is not None and rows.listed < sequences.n_items:
        unseen = rows.listed - np.bincount(cases[shown], minlength=len(targets))
        whole = np.isfinite(view.scores).sum(1) == rows.listed
        cut = int((whole & (unseen < FULL_CUTOFFS[-1]) & (view.columns > rows.listed)).sum())
    counted = np.array([(shown & of_training).sum(), (shown & ~of_training).sum(), cut])
    scores, seen = torch.from_numpy(view.scores), (torch.from_numpy(cases), torch.from_numpy(columns))
    ranks = ranks_from_scores(
        scores,
        torch.from_numpy(view.columns),
        seen=seen,
        negatives=None if negatives is None else torch.from_numpy(negatives[owners]),
        listed=rows.listed,
    )
    best = best_items(scores, seen)
    ranks["best"] = np.where(best > 0, np.take_along_axis(view.items, best, axis=1), 0)
    return ranks, counted


def _list_view(
    rows: Rows, row_of: NDArray[np.int64], asked: NDArray[np.int64], had: NDArray[np.int64], width: int
) -> _View:
    """A column for each place of a list, and a last one for a target that is not listed."""
    listed = rows.items[row_of]
    scores = np.full((len(asked), listed.shape[1] + 2), -np.inf)
    scores[:, 1:-1] = rows.scores[row_of]
    here = listed == asked[:, None]
    columns = np.where(here.any(1), here.argmax(1), listed.shape[1]) + 1
    cases, places = np.nonzero(np.isin(np.arange(len(asked))[:, None] * width + listed, had) & (listed > 0))
    items = np.pad(listed, ((0, 0), (1, 1)))
    return _View(scores, items, columns, (cases, places + 1, listed[cases, places]))


def _matrix_view(
    rows: Rows, row_of: NDArray[np.int64], asked: NDArray[np.int64], had: NDArray[np.int64], width: int
) -> _View:
    """A column for each item, those that are not scored at -inf."""
    scores = np.full((len(asked), width), -np.inf, rows.scores.dtype)
    scores[:, rows.items] = rows.scores[row_of]
    items = np.broadcast_to(np.arange(width), scores.shape)
    return _View(scores, items, asked, (had // width, had % width, had % width))
