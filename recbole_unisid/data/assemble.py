"""From collected interactions to a finished data set: filters, file order, account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.filters import Duplicates, in_core, in_span, without_duplicates
from recbole_unisid.data.interactions import Interactions
from recbole_unisid.data.summary import Summary
from recbole_unisid.errors import UserError

#: Whole numbers above this are not exact as float64, the type of times in RecBole's files.
_EXACT_WHOLE_NUMBERS = 2.0**53


@dataclass(frozen=True)
class Policy:
    """What is left out of a log of interactions.

    Attributes
    ----------
    duplicates : Duplicates
        What becomes of repeats.
    core : int
        Least number of interactions of every user and item; 1 keeps all.
    since, until : float or None
        Time span, in the unit of the times; `until` is left out.
    """

    duplicates: Duplicates
    core: int
    since: float | None = None
    until: float | None = None


def apply_policy(
    interactions: Interactions,
    policy: Policy,
    dropped: Counter[str],
    skipped: Mapping[str, int],
    notes: Sequence[str] = (),
) -> Interactions:
    """Filter and order interactions.

    Parameters
    ----------
    interactions : Interactions
        In the order of the source.
    policy : Policy
        What to leave out: first what lies outside the span, then repeats, then the rare.
    dropped : Counter
        How many each step leaves out is added here.
    skipped : mapping of str to int
        Why other rows could not be read; told when nothing is left, as `notes` are.

    Returns
    -------
    Interactions
        By user in order of first appearance, then by time, ties in the order of the source.

    Raises
    ------
    UserError
        When nothing is left.
    """
    rows_read = len(interactions)
    steps: tuple[tuple[str, Callable[[Interactions], NDArray[np.bool_]]], ...] = (
        ("outside the time span", lambda rows: in_span(rows, policy.since, policy.until)),
        (f"repeats ({policy.duplicates})", lambda rows: without_duplicates(rows, policy.duplicates)),
        (f"rare ({policy.core}-core)", lambda rows: in_core(rows, policy.core)),
    )
    for reason, kept_by in steps:
        before = len(interactions)
        interactions = interactions.take(kept_by(interactions))
        if before > len(interactions):
            dropped[reason] += before - len(interactions)
    if not len(interactions):
        reasons = ", ".join(f"{reason}: {number:,}" for reason, number in {**skipped, **dropped}.items())
        raise UserError(
            f"Nothing is left to prepare: {rows_read:,} usable interactions were read"
            + (f"; skipped or dropped: {reasons}." if reasons else " from an empty file.")
            + "".join(f" {note}." for note in notes)
        )
    return interactions.in_order()


def counts_of(interactions: Interactions) -> tuple[int, int, int]:
    """Numbers of users, items and interactions."""
    users, items = (np.bincount(numbers) for numbers in (interactions.users, interactions.items))
    return int(np.count_nonzero(users)), int(np.count_nonzero(items)), len(interactions)


def items_in(interactions: Interactions) -> frozenset[str]:
    """Names of the items that occur."""
    return frozenset(interactions.item_ids[item] for item in np.unique(interactions.items).tolist())


def tied_share(interactions: Interactions) -> float:
    """Share of adjacent interactions of one user that have the same time; 0 where there are no times."""
    same_user = interactions.users[1:] == interactions.users[:-1]
    same_time = interactions.times[1:] == interactions.times[:-1]
    return float((same_user & same_time).sum() / max(int(same_user.sum()), 1))


def notes_on(interactions: Interactions) -> Iterable[str]:
    """Things about the times and lengths that a person should know before a run."""
    lengths = np.bincount(interactions.users)
    short = int(((lengths > 0) & (lengths < 3)).sum())
    if short:
        yield f"{short:,} users have fewer than 3 interactions: they are trained on, never tested"
    if not interactions.timed:
        yield "no times: timestamp is the position, so tie shuffling and time splits do not apply"
        return
    largest = float(np.abs(interactions.times).max())
    if largest > _EXACT_WHOLE_NUMBERS:
        yield "times beyond 2**53 are rounded: give seconds or milliseconds to keep them exact"
    if bool((interactions.times % 86_400 == 0).all()):
        yield "times are whole days: the order within a day is the source's, often by item name"


def summarise(
    folder: Path,
    interactions: Interactions,
    *,
    read: Mapping[str, int],
    skipped: Mapping[str, int],
    dropped: Mapping[str, int],
    coverage: Mapping[str, float],
    dry_run: bool = False,
    notes: Sequence[str] = (),
) -> Summary:
    """Make the account of a preparation; the parameters are the attributes of :class:`Summary`."""
    users, items, number = counts_of(interactions)
    return Summary(
        name=folder.name,
        folder=folder,
        dry_run=dry_run,
        read=dict(read),
        skipped=dict(skipped),
        dropped=dict(dropped),
        users=users,
        items=items,
        interactions=number,
        tied=tied_share(interactions),
        timed=interactions.timed,
        coverage=dict(coverage),
        notes=(*notes, *notes_on(interactions)),
    )
