"""What is left out of a log of interactions: repeats, what lies outside a time span, rare users and items."""

from __future__ import annotations

from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.interactions import Interactions
from recbole_unisid.errors import UserError, did_you_mean

#: What becomes of several interactions of one user with one item: ``first`` or ``last`` keeps one of them,
#: ``exact`` drops only those with the same time too, ``all`` keeps everything.
Duplicates = Literal["first", "last", "exact", "all"]


def checked_duplicates(policy: str) -> Duplicates:
    """Return `policy` if it is one of `Duplicates`.

    Raises
    ------
    UserError
        With the nearest known name, if it is not.
    """
    known = get_args(Duplicates)
    if policy in known:
        return cast(Duplicates, policy)
    raise UserError(
        f"Unknown duplicates policy {policy!r}: use one of {', '.join(known)}." + did_you_mean(policy, known)
    )


def without_duplicates(interactions: Interactions, policy: Duplicates) -> NDArray[np.bool_]:
    """Mark the interactions that a policy for repeats keeps.

    Returns
    -------
    ndarray of bool, shape [interactions]
        True for what stays.
    """
    keep = np.ones(len(interactions), dtype=bool)
    if policy == "all" or not len(interactions):
        return keep
    pairs = interactions.users * np.int64(len(interactions.item_ids)) + interactions.items
    ordered = np.sort(pairs)
    several = np.flatnonzero(np.isin(pairs, ordered[1:][ordered[1:] == ordered[:-1]]))
    # Stable: equal times stay in the order of the source.
    rows = several[np.lexsort((interactions.times[several], pairs[several]))]
    repeats = pairs[rows[1:]] == pairs[rows[:-1]]
    if policy == "exact":
        # Without times (NaN) nothing is known to be the same event.
        repeats &= interactions.times[rows[1:]] == interactions.times[rows[:-1]]
    keep[rows[:-1][repeats] if policy == "last" else rows[1:][repeats]] = False
    return keep


def in_core(interactions: Interactions, least: int) -> NDArray[np.bool_]:
    """Mark the k-core: drop users and items with fewer than `least` interactions until none is left.

    Returns
    -------
    ndarray of bool, shape [interactions]
        True for what stays.
    """
    keep = np.ones(len(interactions), dtype=bool)
    while least > 1:
        user_counts = np.bincount(interactions.users[keep], minlength=len(interactions.user_ids))
        item_counts = np.bincount(interactions.items[keep], minlength=len(interactions.item_ids))
        often = (user_counts[interactions.users] >= least) & (item_counts[interactions.items] >= least)
        if not (keep & ~often).any():
            break
        keep &= often
    return keep


def in_span(interactions: Interactions, since: float | None, until: float | None) -> NDArray[np.bool_]:
    """Mark the interactions at or after `since` and before `until`, both in the unit of the times."""
    keep = np.ones(len(interactions), dtype=bool)
    if since is not None:
        keep &= interactions.times >= since
    if until is not None:
        keep &= interactions.times < until
    return keep
