"""Interactions of one user at one time: their order in a file is no order in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.errors import UserError


def order_only(sequences: UserSequences) -> str | None:
    """Why a data set's times are none; None where they are times.

    They may be absent, every user's positions (0, 1, 2 ... or 1, 2, 3 ...), or row numbers of the file.
    """
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


def require_times(sequences: UserSequences, purpose: str) -> None:
    """Refuse data that is :func:`order_only` with a ``UserError``."""
    reason = order_only(sequences)
    if reason is not None:
        raise UserError(
            f"{purpose} needs times, and this data set gives an order alone ({reason}); "
            "use split leave_one_out with ties raw, or a source with timestamps"
        )


def shuffle_ties(sequences: UserSequences, seed: int) -> UserSequences:
    """Put each user's interactions of one time into a random order. Do it before any split.

    The seed is the protocol's; data that gives an order alone is a ``UserError``.
    """
    require_times(sequences, "shuffling ties")
    chance = np.random.default_rng(seed).random(len(sequences.items))
    follows = _ties_with_previous(sequences)
    group = np.cumsum(~follows)  # the interactions of one user and time share a number
    tied = np.flatnonzero(follows | np.append(follows[1:], False))
    items = sequences.items.copy()
    items[tied] = items[tied[np.lexsort((chance[tied], group[tied]))]]
    return replace(sequences, items=items)


def _ties_with_previous(sequences: UserSequences) -> NDArray[np.bool_]:
    """Does an interaction have the user and the time of the one before it? [interactions]"""
    if sequences.times is None:
        return np.zeros(len(sequences.items), dtype=bool)
    follows = np.concatenate([[False], sequences.times[1:] == sequences.times[:-1]])[: len(sequences.items)]
    follows[sequences.offsets[:-1][sequences.lengths > 0]] = False
    return follows
