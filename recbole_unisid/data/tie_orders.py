"""Other orders of a tie: which item of a target's time could as well have come last."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences, tie_starts

#: Items of one tie that are tried in a target's place at most: the last ones before it.
_MOST = 20


def other_lasts(
    sequences: UserSequences, positions: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List what stands before each target at the target's own time, and could as well have come last.

    Of targets by flat position [cases] come the case (ascending) and the flat position of the other, both [orders].
    """
    tied = np.minimum(positions - tie_starts(sequences)[positions], _MOST)
    case = np.repeat(np.arange(len(positions)), tied)
    within = np.arange(len(case)) - np.repeat(np.cumsum(tied) - tied, tied)
    return case, positions[case] - tied[case] + within


def reordered(
    sequences: UserSequences, targets: NDArray[np.int64], lasts: NDArray[np.int64]
) -> UserSequences:
    """Make a sequence for each order: a user's interactions up to a target, one of them moved behind it.

    Targets and what is moved are flat positions [orders]; nothing else changes its place. The times are left out.
    """
    owners = sequences.owners(targets)
    begin = sequences.offsets[owners]
    lengths = targets - begin + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    order = np.repeat(np.arange(len(targets)), lengths)
    place = np.arange(len(order)) - offsets[order] + begin[order]
    source = np.where(place == targets[order], lasts[order], place + (place >= lasts[order]))
    return UserSequences(
        sequences.items[source], offsets, None, sequences.user_ids[owners], sequences.item_ids
    )


def over_orders(
    of_file: NDArray[np.float64], of_others: NDArray[np.float64], case: NDArray[np.int64]
) -> dict[str, float]:
    """Means over all cases of a metric: in the file's order, and with the least, any or the most favourable item last.

    `of_file` [cases] has the targets' values, `of_others` [orders] those of :func:`other_lasts`, `case` their targets.
    """
    worst, best = of_file.copy(), of_file.copy()
    np.minimum.at(worst, case, of_others)
    np.maximum.at(best, case, of_others)
    tied = np.bincount(case, minlength=len(of_file))
    mean = (of_file + np.bincount(case, of_others, len(of_file))) / (1 + tied)
    kinds = {"file": of_file, "worst": worst, "mean": mean, "best": best}
    return {kind: float(values.mean()) for kind, values in kinds.items()}
