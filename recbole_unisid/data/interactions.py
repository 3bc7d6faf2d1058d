"""Interactions in compact arrays: collected, numbered, ordered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc

from recbole_unisid.data.atomic_text import LONGEST_ID, MISSING_WORDS, usable_id


@dataclass(frozen=True)
class Interactions:
    """Who met what, when; the arrays have the shape [interactions]."""

    users: NDArray[np.int32]  # positions in `user_ids`
    items: NDArray[np.int32]  # positions in `item_ids`
    times: NDArray[np.float64]  # seconds since 1970, or the source's own unit; all NaN where it has none
    ratings: NDArray[np.float64]  # NaN where there is none
    user_ids: list[str]  # names in the source, in order of first appearance
    item_ids: list[str]

    def __len__(self) -> int:
        return len(self.users)

    @property
    def timed(self) -> bool:
        """Whether there are times; False where the order of the rows is all that is known."""
        return bool(len(self)) and not math.isnan(self.times[0])

    @property
    def counts(self) -> tuple[int, int, int]:
        """Numbers of users, items and interactions."""
        users, items = (int(np.count_nonzero(np.bincount(numbers))) for numbers in (self.users, self.items))
        return users, items, len(self)

    @property
    def items_met(self) -> frozenset[str]:
        """Names of the items that occur."""
        return frozenset(self.item_ids[item] for item in self.items_present.tolist())

    @property
    def items_present(self) -> NDArray[np.int64]:
        """Positions of the items that occur, in order."""
        return np.flatnonzero(np.bincount(self.items))

    @property
    def tied_share(self) -> float:
        """Share of adjacent interactions of one user that have the same time; 0 where there are no times."""
        same_user = self.users[1:] == self.users[:-1]
        same_time = self.times[1:] == self.times[:-1]
        return float((same_user & same_time).sum() / max(int(same_user.sum()), 1))

    @property
    def positions(self) -> NDArray[np.float64]:
        """1-based position of every row among the adjacent rows of its user, shape [interactions]."""
        starts = np.flatnonzero(np.r_[True, self.users[1:] != self.users[:-1]])
        lengths = np.diff(np.r_[starts, len(self)])
        return (np.arange(len(self)) - np.repeat(starts, lengths) + 1).astype(np.float64)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Interactions:
        """Keep some rows (a mask) or reorder them (positions); the names stay as they are."""
        columns = {name: getattr(self, name)[rows] for name in ("users", "items", "times", "ratings")}
        return replace(self, **columns)

    def in_order(self) -> Interactions:
        """Order by user (first appearance), then time; ties stay in the order given."""
        first = np.full(len(self.user_ids), len(self), dtype=np.int64)
        first[self.users[::-1]] = np.arange(len(self) - 1, -1, -1)  # the last write is the first row
        by_time = stable_order(self.times) if self.timed else np.arange(len(self))
        return self.take(by_time[stable_order(first[self.users[by_time]])])


def stable_order(numbers: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.int64]:
    """As ``np.argsort(kind="stable")``; whole numbers are sorted with their places behind them, which is faster."""
    return stable_sort(numbers)[1]


def stable_sort(numbers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Sorted numbers, whole ones perhaps all less by one amount, and their :func:`stable_order`."""
    bits = len(numbers).bit_length()
    if len(numbers) and (np.issubdtype(numbers.dtype, np.integer) or (np.trunc(numbers) == numbers).all()):
        least = numbers.min()
        if float(numbers.max()) - float(least) < 2.0 ** (62 - bits):
            keys: NDArray[np.int64] = (numbers - least).astype(np.int64)
            keys <<= bits
            keys |= np.arange(len(numbers))
            keys.sort()
            order = keys & ((1 << bits) - 1)
            keys >>= bits
            return keys, order
    order = np.argsort(numbers, kind="stable")
    return numbers[order], order


_SCHEMA = pa.schema({"user": pa.string(), "item": pa.string(), "time": pa.float64(), "rating": pa.float64()})
_NUMBERS = ["time", "rating"]
#: Rows whose names are numbered together: few parts to unite, and not every name of a long log at once.
_ROWS_AT_ONCE = 1 << 22
#: An Arrow column, or a list of whatever stands in the source.
Column: TypeAlias = "pa.ChunkedArray | list[Any]"
#: Stands for a name that is no text; no usable name is like it.
_NO_TEXT = "\0no text"


class InteractionCollector:
    """Collects interactions from a stream of columns; the names are numbered when all are there.

    Interactions that cannot be used are counted in `counts` by reason; they need a time only where they are `timed`.
    """

    def __init__(self, counts: Counter[str], *, timed: bool = True) -> None:
        self._counts = counts
        self._timed = timed
        self._threads = ThreadPoolExecutor(2)
        self._users: list[Future[_Encoded]] = []
        self._items: list[Future[_Encoded]] = []
        self._numbers: list[pa.Table] = [_SCHEMA.empty_table().select(_NUMBERS)]
        self._texts: list[pa.Table] = []  # names not yet encoded
        self._rows = 0  # of them

    def add(
        self, users: Column, items: Column, times: Column | None = None, ratings: Column | None = None
    ) -> None:
        """Take interactions: Arrow columns, or lists of whatever the source has.

        Every name must be a usable text (:func:`usable_id`), every time a finite number; a rating that is no finite
        number counts as none. In Arrow columns null stands for what is missing.
        """
        takers = (storable_name, storable_name, storable_number, storable_number)
        types = (pa.string(), pa.string(), pa.float64(), pa.float64())
        columns = [
            pa.array(map(taker, column), kind) if isinstance(column, list) else column
            for taker, kind, column in zip(takers, types, (users, items, times, ratings), strict=True)
        ]
        columns = [pa.nulls(len(users)) if column is None else column for column in columns]
        table = pa.table(columns, _SCHEMA.names)
        table = table if table.schema == _SCHEMA else table.cast(_SCHEMA)
        self._numbers.append(table.select(_NUMBERS))
        self._texts.append(table)
        self._rows += len(users)
        if self._rows >= _ROWS_AT_ONCE:
            self._encode()

    def _encode(self) -> None:
        texts = pa.concat_tables([_SCHEMA.empty_table(), *self._texts])
        for name, parts in (("user", self._users), ("item", self._items)):
            parts.append(self._threads.submit(_encoded, texts[name]))
        self._texts, self._rows = [], 0

    def collected(self) -> Interactions:
        """Everything taken so far."""
        self._encode()
        numbered = [self._threads.submit(_numbered, parts) for parts in (self._users, self._items)]
        table = pa.concat_tables(self._numbers)
        times, ratings = table["time"].to_numpy(), table["rating"].to_numpy()
        (users, user_ids), (items, item_ids) = (names.result() for names in numbered)
        taken = np.ones(len(table), dtype=bool)
        for what, numbers in (("user", users), ("item", items)):  # one reason a row
            for reason, text in _REASONS.items() if numbers.min(initial=0) < 0 else ():
                self._leave_out(taken, numbers == reason, text.format(what))
        if self._timed:
            self._leave_out(taken, table["time"].is_null().to_numpy(), "no time")
            self._leave_out(taken, ~np.isfinite(times), "time is no number")
        else:
            times = np.full(len(table), math.nan)
        ratings = np.where(np.isfinite(ratings), ratings, math.nan)
        log = Interactions(users, items, times, ratings, user_ids, item_ids)
        return log if taken.all() else log.take(taken)

    def _leave_out(self, taken: NDArray[np.bool_], rows: NDArray[np.bool_], reason: str) -> None:
        number = int((taken & rows).sum())
        if number:
            self._counts[reason] += number
            taken &= ~rows


class _Encoded(NamedTuple):
    """Names as places in a dictionary; -1 where there is none."""

    places: NDArray[np.int32]
    dictionary: pa.Array


def _encoded(names: pa.ChunkedArray) -> _Encoded:
    if not len(names):
        return _Encoded(np.empty(0, np.int32), pa.array([], pa.string()))
    chunks = names.dictionary_encode().chunks  # all with one dictionary
    places = [chunk.indices.fill_null(-1).to_numpy() for chunk in chunks]
    return _Encoded(np.concatenate(places), chunks[-1].dictionary)


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


def _numbered(parts: Sequence[Future[_Encoded]]) -> tuple[NDArray[np.int32], list[str]]:
    """Numbers of names in order of first appearance, a reason for those that are not usable; the usable names."""
    places, dictionaries = zip(*(part.result() for part in parts), strict=True)
    united = _encoded(pa.chunked_array(dictionaries))
    numbers, usable = _numbers_of_distinct(united.dictionary)
    starts = np.cumsum([0, *map(len, dictionaries)])
    of_parts = [np.append(numbers[united.places[slice(*ends)]], np.int32(-1)) for ends in pairwise(starts)]
    return np.concatenate([of[part] for of, part in zip(of_parts, places, strict=True)]), usable


def _numbers_of_distinct(names: pa.Array) -> tuple[NDArray[np.int32], list[str]]:
    """The number of each usable name, a reason for each other; the usable names."""
    short = pc.less_equal(pc.binary_length(names), LONGEST_ID)
    plain = pc.and_(pc.ascii_is_alnum(names), pc.and_not(short, pc.is_in(names, pa.array([*MISSING_WORDS]))))
    usable = plain.to_numpy(zero_copy_only=False).copy()
    reasons = np.full(len(names), -3, np.int32)
    for place in np.flatnonzero(~usable).tolist():
        name = names[place].as_py()
        usable[place] = usable_id(name)
        reasons[place] = -2 if name == _NO_TEXT else -3
    numbers = np.where(usable, np.cumsum(usable, dtype=np.int32) - np.int32(1), reasons)
    return numbers, names.filter(pa.array(usable)).to_pylist()


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
