"""Interactions in compact arrays: collected one by one, filtered, ordered."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
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


class InteractionCollector:
    """Collects interactions from a stream in about 24 bytes each, beside one copy of every name.

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
        self._user_numbers: dict[str, int] = {}
        self._item_numbers: dict[str, int] = {}
        self._users, self._items = array("i"), array("i")
        self._times, self._ratings = array("d"), array("d")

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
        user_number = self._number(self._user_numbers, user, "user")
        if user_number is None:
            return  # one reason a row
        item_number = self._number(self._item_numbers, item, "item")
        if item_number is None:
            return
        moment = finite_number(time) if self._timed else math.nan
        if moment is None:
            self._counts["no time" if time is None else "time is no number"] += 1
            return
        score = finite_number(rating)
        self._users.append(user_number)
        self._items.append(item_number)
        self._times.append(moment)
        self._ratings.append(math.nan if score is None else score)

    def _number(self, numbers: dict[str, int], name: object, what: str) -> int | None:
        """Number of a name; new usable names get the next one."""
        if not isinstance(name, str):
            self._counts[f"no {what}" if name is None else f"{what} of the wrong type"] += 1
            return None
        number = numbers.get(name)
        if number is None:
            if not usable_id(name):
                self._counts[f"unusable {what} name"] += 1
                return None
            number = numbers[name] = len(numbers)
        return number

    def collected(self) -> Interactions:
        """Everything taken so far."""
        return Interactions(
            users=np.frombuffer(self._users, dtype=np.int32) if self._users else np.empty(0, np.int32),
            items=np.frombuffer(self._items, dtype=np.int32) if self._items else np.empty(0, np.int32),
            times=np.frombuffer(self._times, dtype=np.float64) if self._times else np.empty(0),
            ratings=np.frombuffer(self._ratings, dtype=np.float64) if self._ratings else np.empty(0),
            user_ids=list(self._user_numbers),
            item_ids=list(self._item_numbers),
        )


def finite_number(value: object) -> float | None:
    """The value as a float where it is a finite number (truth values are none), else None."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
