"""Splits: which interactions are trained on, which are validated and tested on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences

#: What an interaction is for. CONTEXT is seen in training but is no target (a user's first item).
CONTEXT, TRAIN, VALID, TEST, UNUSED = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class Split:
    """The phase of every interaction of a :class:`UserSequences`.

    Attributes
    ----------
    phase : ndarray of int8, shape [interactions]
        One of `CONTEXT`, `TRAIN`, `VALID`, `TEST`, `UNUSED`. The history of a target is all that
        stands before it in its user's sequence (validation items included, for a test target);
        a target always has one.
    name : str
        ``leave_one_out``, ``global_time`` or ``cold_items``.
    """

    phase: NDArray[np.int8]
    name: str

    def targets(self, phase: int) -> NDArray[np.int64]:
        """Flat positions of the interactions of one phase, ascending."""
        return np.flatnonzero(self.phase == phase)

    def training_counts(self, sequences: UserSequences) -> NDArray[np.int64]:
        """How often each item occurs in training (contexts counted), shape [n_items + 1]."""
        trained = self.phase <= TRAIN
        return np.bincount(sequences.items[trained], minlength=sequences.n_items + 1)


def leave_one_out(sequences: UserSequences) -> Split:
    """Hold out each user's last item for test and the one before it for validation.

    Users are treated as RecBole treats them after it has turned a sequence of n items into n - 1
    prefix rows: with 4 items or more both are held out, with 3 only the test item, with 2 or 1 none.

    Parameters
    ----------
    sequences : UserSequences
        All interactions.

    Returns
    -------
    Split
        Named ``leave_one_out``.

    Notes
    -----
    RecBole's ``LS: valid_and_test`` on augmented rows: ``legal_leave_one_num = min(2, rows - 1)``.
    """
    phase = np.full(len(sequences.items), TRAIN, dtype=np.int8)
    first, last, lengths = sequences.offsets[:-1], sequences.offsets[1:] - 1, sequences.lengths
    phase[first[lengths > 0]] = CONTEXT
    phase[last[lengths >= 3]] = TEST
    phase[last[lengths >= 4] - 1] = VALID
    return Split(phase, "leave_one_out")
