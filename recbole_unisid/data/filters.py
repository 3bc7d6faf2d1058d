"""What is left out of a log of interactions: repeats, what lies outside a time span, rare users and items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.interactions import Interactions, stable_sort
from recbole_unisid.errors import UserError, did_you_mean

#: What becomes of several interactions of one user with one item: ``first`` or ``last`` keeps one of them,
#: ``exact`` drops only those with the same time too, ``all`` keeps everything.
Duplicates = Literal["first", "last", "exact", "all"]


@dataclass(frozen=True)
class Policy:
    """What is left out: first what lies outside the time span, then repeats, then the rare."""

    duplicates: Duplicates
    core: int  # least number of interactions of every user and item; 1 keeps all
    since: float | None = None  # in the unit of the times
    until: float | None = None  # is itself left out

    def apply(
        self, log: Interactions, dropped: Counter[str], skipped: Mapping[str, int], notes: Sequence[str] = ()
    ) -> Interactions:
        """Filter interactions and order them by user (first appearance), then time, ties as in the source.

        How many each step leaves out is counted in `dropped`. `skipped` (rows that could not be read, by reason) and
        `notes` are told by the ``UserError`` where nothing is left.
        """
        rows_read = len(log)
        steps: dict[str, Callable[[Interactions], NDArray[np.bool_]]] = {
            "outside the time span": lambda rows: _in_span(rows, self.since, self.until),
            f"repeats ({self.duplicates})": lambda rows: _without_duplicates(rows, self.duplicates),
            f"rare ({self.core}-core)": lambda rows: _in_core(rows, self.core),
        }
        for reason, kept_by in steps.items():
            before = len(log)
            log = log.take(kept_by(log))
            if before > len(log):
                dropped[reason] += before - len(log)
        if not len(log):
            reasons = ", ".join(f"{reason}: {number:,}" for reason, number in {**skipped, **dropped}.items())
            raise UserError(
                f"Nothing is left to prepare: {rows_read:,} usable interactions were read"
                + (f"; skipped or dropped: {reasons}." if reasons else " from an empty file.")
                + "".join(f" {note}." for note in notes)
            )
        return log.in_order()


def checked_duplicates(policy: str) -> Duplicates:
    """Return `policy` if it is one of `Duplicates`; else a ``UserError`` names the nearest."""
    known = get_args(Duplicates)
    if policy in known:
        return cast(Duplicates, policy)
    raise UserError(
        f"Unknown duplicates policy {policy!r}: use one of {', '.join(known)}." + did_you_mean(policy, known)
    )


def _without_duplicates(log: Interactions, policy: Duplicates) -> NDArray[np.bool_]:
    keep = np.ones(len(log), dtype=bool)
    if policy == "all" or not len(log):
        return keep
    pairs = log.users * np.int64(len(log.item_ids)) + log.items
    ordered, order = stable_sort(pairs)
    same = ordered[1:] == ordered[:-1]
    several = order[np.r_[False, same] | np.r_[same, False]]
    # Stable: equal times stay in the order of the source.
    rows = several[np.lexsort((log.times[several], pairs[several]))]
    repeats = pairs[rows[1:]] == pairs[rows[:-1]]
    if policy == "exact":
        # Without times (NaN) nothing is known to be the same event.
        repeats &= log.times[rows[1:]] == log.times[rows[:-1]]
    keep[rows[:-1][repeats] if policy == "last" else rows[1:][repeats]] = False
    return keep


def _in_core(log: Interactions, least: int) -> NDArray[np.bool_]:
    """Mark the k-core: drop users and items with fewer than `least` interactions until none is left."""
    keep = np.ones(len(log), dtype=bool)
    user_counts, item_counts = np.bincount(log.users), np.bincount(log.items)
    while len(
        rare := np.flatnonzero(
            keep & ~((user_counts >= least)[log.users] & (item_counts >= least)[log.items])
        )
    ):
        keep[rare] = False
        user_counts -= np.bincount(log.users[rare], minlength=len(user_counts))
        item_counts -= np.bincount(log.items[rare], minlength=len(item_counts))
    return keep


def _in_span(log: Interactions, since: float | None, until: float | None) -> NDArray[np.bool_]:
    after = True if since is None else log.times >= since
    before = True if until is None else log.times < until
    return np.ones(len(log), dtype=bool) & after & before
