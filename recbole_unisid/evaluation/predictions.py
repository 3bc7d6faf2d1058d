"""Recommendations that were made elsewhere: ranked lists or scores, read and held against a data set."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.errors import UserError

#: Names of columns that are tried, by what they hold.
_NAMES = {
    "user": ("user", "user_id"),
    "item": ("item", "item_id"),
    "rank": ("rank",),
    "score": ("score", "prediction"),
    "position": ("position",),
}


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


def read_predictions(source: str | Path | pd.DataFrame, sequences: UserSequences) -> Rows:
    """Read ranked lists (Parquet, CSV or a data frame) or scores (``.npz``: scores [rows, items], user, item).

    Raises UserError: a file or column that cannot be used, an id that the data set has not, an item twice in a list.
    """
    if isinstance(source, pd.DataFrame):
        with _readable("The data frame"):
            return _lists(pa.Table.from_pandas(source, preserve_index=False), "The data frame", sequences)
    path = Path(source)
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    ending = path.suffix.lower()
    with _readable(str(path)):
        if ending == ".npz":
            return _matrix(path, sequences)
        if ending == ".parquet":
            return _lists(parquet.read_table(path), str(path), sequences)
        if ending == ".csv":
            texts = pa.string()
            types = {name: texts for role in ("user", "item") for name in _NAMES[role]}
            how = csv.ConvertOptions(column_types=types, strings_can_be_null=False)
            return _lists(csv.read_csv(path, convert_options=how), str(path), sequences)
    raise UserError(f"{path} holds no predictions: use .parquet or .csv for lists, .npz for scores.")


@contextmanager
def _readable(told: str) -> Iterator[None]:
    """Make one line of what a library raises at a file or a data frame."""
    try:
        yield
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{told} cannot be read: {' '.join(str(error).split())}") from error


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


def _positions(column: Any, told: str) -> NDArray[np.int64]:
    given = _finite(column, "position", told)
    positions = given.astype(np.int64)
    if (positions != given).any() or positions.min() < 0:
        raise UserError(f"{told}: positions are whole numbers from 0 on, as in test.parquet.")
    return positions


def _lists(table: pa.Table, told: str, sequences: UserSequences) -> Rows:
    columns = _list_columns(table, told)
    users = _numbers_of(columns["user"], sequences.user_ids, "user", told)
    items = _numbers_of(columns["item"], sequences.item_ids[1:], "item", told) + 1
    positions = np.full(len(users), -1)
    if "position" in columns:
        positions = _positions(columns["position"], told)
    values = {role: _finite(columns[role], role, told) for role in ("rank", "score") if role in columns}
    scores = values["score"] if "score" in values else -values["rank"]
    if "rank" in values and values["rank"].min() < 1:
        raise UserError(f"{told}: ranks begin at 1, not at {values['rank'].min():g}.")
    _check_no_item_twice(users, positions, items, sequences, told)
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
    return Rows(users[begins], positions[begins], *_padded(items, scores, follows))


def _list_columns(table: pa.Table, told: str) -> dict[str, pa.ChunkedArray]:
    """The columns of lists by what they hold; a UserError where one that is needed is not there, or all are empty."""
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
    return columns


def _check_no_item_twice(
    users: NDArray[np.int64],
    positions: NDArray[np.int64],
    items: NDArray[np.int64],
    sequences: UserSequences,
    told: str,
) -> None:
    order = np.lexsort((items, positions, users))
    again = np.flatnonzero(_same_as_before(users[order], positions[order], items[order]))
    if len(again):
        row = order[again[0]]
        raise UserError(
            f"{told}: the list of user {str(sequences.user_ids[users[row]])!r} has item "
            f"{str(sequences.item_ids[items[row]])!r} twice; a list has an item once."
        )


def _padded(
    items: NDArray[np.int64], scores: NDArray[np.float64], follows: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Items and scores of lists one after another as [lists, longest]; `follows` is False where a list begins."""
    begins = np.flatnonzero(~follows)
    row = np.cumsum(~follows) - 1
    column = np.arange(len(row)) - begins[row]
    shape = (len(begins), int(column.max()) + 1)
    padded, filled = np.zeros(shape, np.int64), np.full(shape, -np.inf)
    padded[row, column], filled[row, column] = items, scores
    return padded, filled


def _same_as_before(*keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row has the keys of the row before it."""
    same = np.ones(len(keys[0]), dtype=bool)
    for key in keys:
        same &= np.append(False, key[1:] == key[:-1])
    return same


def _matrix(path: Path, sequences: UserSequences) -> Rows:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no .npz file, as numpy.savez writes it.")
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in ("scores", "user", "item") if name not in file.files]
        if missing:
            raise UserError(
                f"{path} has no array {missing[0]}: it needs scores [rows, items], user and item."
            )
        users = _numbers_of(file["user"], sequences.user_ids, "user", str(path))
        items = _numbers_of(file["item"], sequences.item_ids[1:], "item", str(path)) + 1
        scores, positions = file["scores"], np.full(len(users), -1)
        if not scores.size:
            raise UserError(f"{path} has no score.")
        if "position" in file.files:
            positions = _positions(pa.array(file["position"]), str(path))
    if scores.shape != (len(users), len(items)) or scores.dtype.kind != "f":
        raise UserError(
            f"{path}: scores are {scores.dtype} {scores.shape}, for {len(users):,} users and {len(items):,} items "
            "wanted are decimal numbers [users, items]."
        )
    if len(positions) != len(users):
        raise UserError(f"{path} has {len(positions):,} positions for {len(users):,} users; give one a row.")
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
