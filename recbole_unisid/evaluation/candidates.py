"""What a target is ranked against: the items that its user already had, and the phases' cases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences


def history_lengths(sequences: UserSequences, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count what stands before each target in its user's sequence.

    Parameters
    ----------
    sequences : UserSequences
        All interactions.
    positions : ndarray of int64, shape [cases]
        Flat positions of the targets.

    Returns
    -------
    ndarray of int64, shape [cases]
        Interactions, repeats counted.
    """
    return positions - sequences.offsets[sequences.owners(positions)]


def seen_pairs(
    sequences: UserSequences, positions: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List what stands before each target: the items that the filter of `full` takes out.

    Parameters
    ----------
    sequences : UserSequences
        All interactions.
    positions : ndarray of int64, shape [cases]
        Flat positions of the targets. Pass them in chunks: the answer is as long as all histories.

    Returns
    -------
    rows : ndarray of int64, shape [pairs]
        The case (0 .. cases - 1), ascending.
    items : ndarray of int64, shape [pairs]
        An item of its history; one that was had twice stands here twice.
    """
    counts = history_lengths(sequences, positions)
    rows = np.repeat(np.arange(len(positions)), counts)
    # Pair p of case r is the (p - pairs before r)-th of the counts[r] items that end at the target.
    ends = np.cumsum(counts)
    items = sequences.items[np.arange(len(rows)) + np.repeat(positions - ends, counts)]
    return rows, items
