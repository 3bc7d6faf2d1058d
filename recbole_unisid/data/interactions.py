"""Interactions in compact arrays: collected one by one, filtered, ordered."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recbole_unisid.data.atomic_text import usable_id


@dataclass(frozen=True)
class Interactions:
    """Who met what, when.

    Attributes
    ----------
    users, items : ndarray of int32, shape [interactions]
        Positions in `user_ids` and `item_ids`.
    times : ndarray of float64, shape [interactions]
        Seconds since 1970, or the source's own unit; all NaN where the source gives an order alone.
    ratings : ndarray of float64, shape [interactions]
        NaN where there is none.
    user_ids, item_ids : list of str
        Names in the source, in order of first appearance.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.float64]
    ratings: NDArray[np.float64]
    user_ids: list[str]
    item_ids: list[str]

    def __len__(self) -> int:
        return len(self.users)

    @property
    def timed(self) -> bool:
        """Whether there are times; False where the order of the rows is all that is known."""
        return bool(len(self)) and not math.isnan(self.times[0])

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Interactions:
        """Keep some rows (a mask) or reorder them (positions); the names stay as they are."""
        return replace(
            self,
            users=self.users[rows],
            items=self.items[rows],
            times=self.times[rows],
            ratings=self.ratings[rows],
        )

    def in_order(self) -> Interactions:
        """Order by user (first appearance), then time; ties stay in the order given."""
        first = np.full(len(self.user_ids), len(self), dtype=np.int64)
        first[self.users[::-1]] = np.arange(len(self) - 1, -1, -1)  # the last write is the first row
        keys = (self.times, first[self.users]) if self.timed else (first[self.users],)
        return self.take(np.lexsort(keys))


_SCHEMA = pa.schema(
    {
        "user": pa.dictionary(pa.int32(), pa.string()),
        "item": pa.dictionary(pa.int32(), pa.string()),
        "time": pa.float64(),
        "rating": pa.float64(),
    }
)
#: Stands for a name that is no text; no usable name is like it.
_NO_TEXT = "\0no text"


class InteractionCollector:
    """Collects interactions from a stream, one by one or many at once; numbered when all are there.

    Parameters
    ----------
    counts : Counter
        Interactions that are not taken are counted here under the reason.
    timed : bool
        Whether every interaction must have a time.
    """

    def __init__(self, counts: Counter[str], *, timed: bool = True) -> None:
        self._counts = counts
        self._timed = timed
        self._chunks: list[pa.Table] = []
        self._loose: tuple[list[Any], ...] = ([], [], [], [])

    def add(self, user: object, item: object, time: object, rating: object = None) -> None:
        """Take one interaction, or count why not.

        Parameters
        ----------
        user, item : object
            Names; anything but a usable text (:func:`usable_id`) is not taken.
        time : object
            A finite number. None is right where the collector is not `timed`.
        rating : object
            A finite number; anything else is taken for "none".
        """
        row = (storable_name(user), storable_name(item), storable_number(time), finite_number(rating))
        for column, value in zip(self._loose, row, strict=True):
            column.append(value)
        if len(self._loose[0]) == _LOOSE_ROWS:
            self._gather()

    def add_columns(
        self,
        users: pa.ChunkedArray,
        items: pa.ChunkedArray,
        times: pa.ChunkedArray | None = None,
        ratings: pa.ChunkedArray | None = None,
    ) -> None:
        """Take many interactions, each as :meth:`add` would.

        Parameters
        ----------
        users, items : pyarrow.ChunkedArray of str
            Names; null where there is none.
        times, ratings : pyarrow.ChunkedArray of float64, or None
            Null where there is none, NaN or infinite where it is no number.
        """
        self._gather()
        columns = [
            pa.nulls(len(users)) if column is None else column for column in (users, items, times, ratings)
        ]
        self._chunks.append(pa.table(columns, _SCHEMA.names).cast(_SCHEMA))

    def _gather(self) -> None:
        """Make the interactions that came one by one a chunk."""
        loose, self._loose = self._loose, ([], [], [], [])
        if loose[0]:
            types = (pa.string(), pa.string(), pa.float64(), pa.float64())
            self.add_columns(
                *(pa.chunked_array([pa.array(*pair)]) for pair in zip(loose, types, strict=True))
            )

    def collected(self) -> Interactions:
        """Everything taken so far."""
        self._gather()
        table = pa.concat_tables(self._chunks) if self._chunks else _SCHEMA.empty_table()
        self._chunks = [table]
        users, user_ids = _numbered(table["user"])
        items, item_ids = _numbered(table["item"])
        times, ratings = table["time"].to_numpy(), table["rating"].to_numpy()
        taken = np.ones(len(table), dtype=bool)
        for what, numbers in (("user", users), ("item", items)):  # one reason a row
            for reason, text in _REASONS.items():
                self._leave_out(taken, numbers == reason, text.format(what))
        if self._timed:
            self._leave_out(taken, table["time"].is_null().to_numpy(), "no time")
            self._leave_out(taken, ~np.isfinite(times), "time is no number")
        else:
            times = np.full(len(table), math.nan)
        return Interactions(
            users=users[taken],
            items=items[taken],
            times=times[taken],
            ratings=np.where(np.isfinite(ratings), ratings, math.nan)[taken],
            user_ids=user_ids,
            item_ids=item_ids,
        )

    def _leave_out(self, taken: NDArray[np.bool_], rows: NDArray[np.bool_], reason: str) -> None:
        number = int((taken & rows).sum())
        if number:
            self._counts[reason] += number
            taken &= ~rows


_LOOSE_ROWS = 65_536
#: Why a name has no number.
_REASONS = {-1: "no {}", -2: "{} of the wrong type", -3: "unusable {} name"}


def storable_name(name: object) -> str | None:
    """A name as the collector's columns hold it: what is no text, or half a character, is no usable name there."""
    if not isinstance(name, str):
        return None if name is None else _NO_TEXT
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair
        return "\1"
    return name


def _numbered(names: pa.ChunkedArray) -> tuple[NDArray[np.int32], list[str]]:
    """Numbers of names in order of first appearance, a reason for those that are not usable; the usable names."""
    unified = names.unify_dictionaries()
    distinct = unified.chunk(0).dictionary.to_pylist() if unified.num_chunks else []
    usable = [name for name in distinct if usable_id(name)]
    numbers = {name: number for number, name in enumerate(usable)}
    of_distinct = [numbers.get(name, -2 if name == _NO_TEXT else -3) for name in distinct]
    indices = [chunk.indices.fill_null(len(distinct)).to_numpy() for chunk in unified.chunks]
    found = np.array([*of_distinct, -1], dtype=np.int32)
    return found[np.concatenate(indices)] if indices else np.empty(0, np.int32), usable


def finite_number(value: object) -> float | None:
    """The value as a float where it is a finite number (truth values are none), else None."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def storable_number(value: object) -> float | None:
    """A number as the collector's columns hold it: None stays, what is no finite number is NaN."""
    number = finite_number(value)
    return math.nan if number is None and value is not None else number
