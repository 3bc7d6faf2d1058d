"""Every user's items in order, as three flat arrays; interactions at one time have no order in time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.files import fingerprint


@dataclass(frozen=True)
class UserSequences:
    """Interactions grouped by user and ordered in time (compressed-row form)."""

    #: numbers 1 .. n_items, shape [interactions]; 0 is kept for padding, as in RecBole
    items: NDArray[np.int64]
    offsets: NDArray[np.int64]  # user u owns items[offsets[u]:offsets[u + 1]], oldest first; [users + 1]
    times: NDArray[np.float64] | None  # seconds since 1970, or the file's unit; None for an order alone
    user_ids: NDArray[np.str_]  # names in the files, shape [users]
    item_ids: NDArray[np.str_]  # names in the files, shape [n_items + 1]; entry 0 is ``[PAD]``

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    @property
    def n_items(self) -> int:
        """Number of items, padding not counted."""
        return len(self.item_ids) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of interactions of every user, shape [users]."""
        return np.diff(self.offsets)

    @property
    def firsts(self) -> NDArray[np.int64]:
        """Flat position of the first interaction of every user who has one."""
        return self.offsets[:-1][self.lengths > 0]

    @property
    def users(self) -> NDArray[np.int64]:
        """The user (0-based row) of every interaction, shape [interactions]."""
        return np.repeat(np.arange(self.n_users), self.lengths)

    def owners(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The users (0-based rows) of some interactions, flat positions [cases] to [cases]."""
        return (np.searchsorted(self.offsets, positions, side="right") - 1).astype(np.int64)

    def of(self, user: int) -> NDArray[np.int64]:
        """The items of one user (0-based row), oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def fingerprint(self) -> str:
        """Hash of everything here: another order, time, user or item gives another hash."""
        times = np.empty(0) if self.times is None else self.times
        names = "\n".join([*self.user_ids.tolist(), "", *self.item_ids.tolist()])
        return fingerprint(self.items, self.offsets, times, names)


def group_by_user(
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    times: NDArray[np.float64] | None,
    user_ids: NDArray[np.str_],
    item_ids: NDArray[np.str_],
) -> UserSequences:
    """Group loose interactions by user and order them by time, ties in the order given, which no times keep.

    `users` are 0-based rows and `items` numbers from 1, shape [interactions]; `item_ids` begin with padding.
    """
    # lexsort is stable: interactions of one user at one time stay in the order of the file.
    order = np.argsort(users, kind="stable") if times is None else np.lexsort((times, users))
    counts = np.bincount(users, minlength=len(user_ids))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ordered_times = None if times is None else times[order]
    return UserSequences(items[order], offsets, ordered_times, user_ids, item_ids)


def order_only(sequences: UserSequences) -> str | None:
    """Why a data set's times are none: absent, users' positions or the file's row numbers; None where they are."""
    times = sequences.times
    if times is None:
        return "it has no times"
    rows = np.arange(len(times))
    position = rows - np.repeat(sequences.offsets[:-1], sequences.lengths)
    for first in (0, 1):
        if np.array_equal(times, position + first):
            return f"its times are only each user's positions {first}, {first + 1}, {first + 2} ..."
        if np.array_equal(times, rows + first):
            return "its times are only the row numbers of the file"
    return None


def require_times(sequences: UserSequences, purpose: str) -> NDArray[np.float64]:
    """The times of every interaction; a ``UserError`` for data that is :func:`order_only`."""
    reason = order_only(sequences)
    if sequences.times is None or reason is not None:
        raise UserError(
            f"{purpose} needs times, and this data set gives an order alone ({reason}); "
            "use split leave_one_out with ties raw, or a source with timestamps"
        )
    return sequences.times


def had_before(sequences: UserSequences) -> NDArray[np.bool_]:
    """Whether each interaction's user had its item before, shape [interactions]."""
    pairs = sequences.users.astype(np.int64) * (sequences.n_items + 1) + sequences.items
    order = np.argsort(pairs, kind="stable")
    again = np.zeros(len(pairs), dtype=bool)
    again[order[1:]] = pairs[order[1:]] == pairs[order[:-1]]
    return again


def tie_starts(sequences: UserSequences) -> NDArray[np.int64]:
    """Find where the interactions of each one's user and time begin, flat positions [interactions].

    >>> ids = np.array(["u"]), np.array(["[PAD]", "a", "b", "c"])
    >>> tie_starts(UserSequences(np.array([1, 2, 3]), np.array([0, 3]), np.array([5.0, 8, 8]), *ids))
    array([0, 1, 1])
    """
    times = require_times(sequences, "the order of ties")
    begins = np.append(True, times[1:] != times[:-1])
    begins[sequences.firsts] = True
    return np.maximum.accumulate(np.where(begins, np.arange(len(times)), 0))


def shuffle_ties(sequences: UserSequences, seed: int) -> UserSequences:
    """Put each user's interactions of one time into a random order. Do it before any split.

    The seed is the protocol's; data that gives an order alone is a ``UserError``.
    """
    require_times(sequences, "shuffling ties")
    chance = np.random.default_rng(seed).random(len(sequences.items))
    group = tie_starts(sequences)  # the interactions of one user and time share a number
    follows = group[1:] == group[:-1]
    tied = np.flatnonzero(np.append(False, follows) | np.append(follows, False))
    items = sequences.items.copy()
    items[tied] = items[tied[np.lexsort((chance[tied], group[tied]))]]
    return replace(sequences, items=items)
