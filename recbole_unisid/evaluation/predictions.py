"""Recommendations that were made elsewhere: ranked lists or scores, held against a split and ranked as our own."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from pyarrow import csv, parquet

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TEST, TRAIN, Split
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.candidates import history_lengths, sampled_for, seen_pairs
from recbole_unisid.evaluation.lists import best_items
from recbole_unisid.evaluation.metrics import FULL_CUTOFFS
from recbole_unisid.evaluation.ranks import ranks_from_scores

#: Names of columns that are tried, by what they hold.
_NAMES = {
    "user": ("user", "user_id"),
    "item": ("item", "item_id"),
    "rank": ("rank",),
    "score": ("score", "prediction"),
    "position": ("position",),
}
#: Scores (rows x columns) that are ranked at once.
_CELLS = 1 << 24


@dataclass(frozen=True)
class Rows:
    """Scores of items by row; `users` and `positions` [rows] say whose they are, and for which target (-1: all).

    Lists hold what they list, padded with item 0 and -inf to the longest; a score matrix all its items in each row.
    """

    users: NDArray[np.int64]  # 0-based
    positions: NDArray[np.int64]
    items: NDArray[np.int64]  # numbers from 1; [rows, longest] for lists, [columns] for a matrix
    scores: NDArray[np.floating[Any]]  # [rows, longest or columns]

    @property
    def listed(self) -> int | None:
        """The length of the longest list; None for a score matrix."""
        return self.items.shape[1] if self.items.ndim == 2 else None


@dataclass(frozen=True)
class Ranked:
    """Ranks of all test targets, and what is to be known of them."""

    ranks: dict[
        str, NDArray[np.int64]
    ]  # by candidate set, [cases]; of sets that the predictions do not allow none
    about: dict[str, Any]  # form, length, seen and missing, as in ``result.json``
    notes: list[str]  # what was done and what cannot be computed, a line each
    best: NDArray[np.int64]  # the first items that a user had not, of each case, [cases, 10]; 0: none


# --- from files ------------------------------------------------------------------------------------------


def read_predictions(source: str | Path | pd.DataFrame, sequences: UserSequences) -> Rows:
    """Read ranked lists (Parquet, CSV or a data frame) or scores (``.npz``: scores [rows, items], user, item).

    Raises UserError: a file or column that cannot be used, an id that the data set has not, an item twice in a list.
    """
    if isinstance(source, pd.DataFrame):
        return _lists(pa.Table.from_pandas(source, preserve_index=False), "The data frame", sequences)
    path = Path(source)
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    ending = path.suffix.lower()
    try:
        if ending == ".npz":
            return _matrix(path, sequences)
        if ending == ".parquet":
            return _lists(parquet.read_table(path), str(path), sequences)
        if ending == ".csv":
            texts = pa.string()
            types = {name: texts for role in ("user", "item") for name in _NAMES[role]}
            how = csv.ConvertOptions(column_types=types, strings_can_be_null=False)
            return _lists(csv.read_csv(path, convert_options=how), str(path), sequences)
    except (pa.ArrowException, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    raise UserError(f"{path} holds no predictions: use .parquet or .csv for lists, .npz for scores.")


def _column(table: pa.Table, role: str) -> pa.ChunkedArray | None:
    name = next((name for name in _NAMES[role] if name in table.column_names), None)
    return None if name is None else table[name].combine_chunks()


def _numbers_of(ids: Any, known: NDArray[np.str_], role: str, told: str) -> NDArray[np.int64]:
    """Where each id stands among the known ones; a UserError for one that does not, or is no text or whole number."""
    values = ids if isinstance(ids, (pa.Array, pa.ChunkedArray)) else pa.array(ids)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if not text and not pa.types.is_integer(values.type):
        raise UserError(
            f"{told}: {role}s are {values.type}; write ids as text, as the files of the split do."
        )
    found = pc.index_in(values.cast(pa.string()), value_set=pa.array(known.tolist(), pa.string()))
    if found.null_count:
        wrong = pc.unique(values.filter(pc.is_null(found)))
        raise UserError(
            f"{told}: {len(wrong):,} {role}s are not in the data set, the first is {str(wrong[0].as_py())!r}; leave "
            "them out, or name the data set that was split."
        )
    numbers: NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def _finite(column: Any, role: str, told: str) -> NDArray[np.float64]:
    try:
        values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        raise UserError(f"{told}: {role}s must be numbers, not {column.type}.") from None
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise UserError(f"{told}: the {role} of row {wrong[0] + 1:,} is no number; leave such rows out.")
    return values


def _lists(table: pa.Table, told: str, sequences: UserSequences) -> Rows:
    columns = {role: column for role in _NAMES if (column := _column(table, role)) is not None}
    missing = [role for role in ("user", "item") if role not in columns]
    if missing or not {"rank", "score"} & columns.keys():
        wanted = " and ".join(missing) or "rank or score"
        raise UserError(
            f"{told} has no column {wanted}, but {', '.join(table.column_names)[:200]}; lists have user, item and rank "
            "or score."
        )
    if not table.num_rows:
        raise UserError(f"{told} has no row.")
    users = _numbers_of(columns["user"], sequences.user_ids, "user", told)
    items = _numbers_of(columns["item"], sequences.item_ids[1:], "item", told) + 1
    positions = np.full(len(users), -1)
    if "position" in columns:
        positions = _finite(columns["position"], "position", told).astype(np.int64)
    values = {role: _finite(columns[role], role, told) for role in ("rank", "score") if role in columns}
    scores = values["score"] if "score" in values else -values["rank"]
    if "rank" in values and values["rank"].min() < 1:
        raise UserError(f"{told}: ranks begin at 1, not at {values['rank'].min():g}.")

    order = np.lexsort((items, positions, users))
    again = np.flatnonzero(_same_as_before(users[order], positions[order], items[order]))
    if len(again):
        row = order[again[0]]
        raise UserError(
            f"{told}: the list of user {str(sequences.user_ids[users[row]])!r} has item "
            f"{str(sequences.item_ids[items[row]])!r} twice; a list has an item once."
        )
    order = np.lexsort((values.get("rank", -scores), positions, users))
    users, positions, items, scores = users[order], positions[order], items[order], scores[order]
    follows = _same_as_before(users, positions)
    rising = np.flatnonzero(follows & (np.diff(scores, prepend=np.inf) > 0))
    if len(rising):
        name = str(sequences.user_ids[users[rising[0]]])
        raise UserError(
            f"{told}: rank and score order the list of user {name!r} differently; keep one column."
        )
    begins = np.flatnonzero(~follows)
    row = np.cumsum(~follows) - 1
    column = np.arange(len(row)) - begins[row]
    shape = (len(begins), int(column.max()) + 1)
    padded, filled = np.zeros(shape, np.int64), np.full(shape, -np.inf)
    padded[row, column], filled[row, column] = items, scores
    return Rows(users[begins], positions[begins], padded, filled)


def _same_as_before(*keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row has the keys of the row before it."""
    same = np.ones(len(keys[0]), dtype=bool)
    for key in keys:
        same &= np.append(False, key[1:] == key[:-1])
    return same


def _matrix(path: Path, sequences: UserSequences) -> Rows:
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in ("scores", "user", "item") if name not in file.files]
        if missing:
            raise UserError(
                f"{path} has no array {missing[0]}: it needs scores [rows, items], user and item."
            )
        users = _numbers_of(file["user"], sequences.user_ids, "user", str(path))
        items = _numbers_of(file["item"], sequences.item_ids[1:], "item", str(path)) + 1
        positions = file["position"].astype(np.int64) if "position" in file.files else np.full(len(users), -1)
        scores = file["scores"]
    if scores.shape != (len(users), len(items)) or scores.dtype.kind != "f":
        raise UserError(
            f"{path}: scores are {scores.dtype} {scores.shape}, for {len(users):,} users and {len(items):,} items "
            "wanted are decimal numbers [users, items]."
        )
    if len(np.unique(items)) < len(items):
        raise UserError(f"{path} has an item twice: a column is one item.")
    if len(np.unique(np.stack([users, positions]), axis=1).T) < len(users):
        raise UserError(f"{path} has a user twice: a row is one user, or one position of a user.")
    wrong = np.flatnonzero((np.isnan(scores) | np.isposinf(scores)).any(axis=1))
    if len(wrong):
        name = str(sequences.user_ids[users[wrong[0]]])
        raise UserError(
            f"{path}: a score of user {name!r} is no number; -inf means that an item is not listed."
        )
    return Rows(users, positions, items, scores)


# --- against a split -------------------------------------------------------------------------------------


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
    parts: list[dict[str, NDArray[np.int64]]] = []
    held = np.zeros(3, dtype=np.int64)  # listed of training, listed of what was had later, targets cut off
    trained = np.unique(_pairs(sequences, np.flatnonzero(split.phase <= TRAIN)))
    width = (rows.listed or sequences.n_items) + 2
    step = max(1, _CELLS // width)
    matrix = None if rows.listed else sampled_for(settings, sequences)
    for start in range(0, len(targets), step):
        chunk, its = targets[start : start + step], row_of[start : start + step]
        ranks, counted = _rank_chunk(rows, sequences, chunk, its, trained, matrix)
        parts.append(ranks)
        held += counted
    ranks = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if seen == "out" and held[0]:
        raise UserError(
            f"The predictions hold {held[0]:,} items of their users' training, so seen items are not left out: leave "
            "--seen=out out."
        )
    may_repeat = seen == "in" or (seen == "auto" and held[0] > 0)
    if may_repeat and held[2]:
        raise UserError(
            f"Without items that users had, {held[2]:,} lists of {rows.listed} end before place {FULL_CUTOFFS[-1]}, so "
            "full cannot be measured: list more, or leave out what a user had."
        )
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


def _notes(rows: Rows, held: NDArray[np.int64], may_repeat: bool, missing: int) -> Iterator[str]:
    if may_repeat:
        yield "Lists may hold what a user had: full leaves it out, full_unfiltered does not."
    else:
        yield "No list holds an item of its user's training: full is computed, full_unfiltered cannot be."
        if held[1]:
            yield f"{held[1]:,} listed items were had after training (validation): full leaves them out."
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
    """Ranks [cases], and the counts of :func:`rank_predictions`."""
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
