"""What is tested: in which periods, how much of it is repeated, tied or unseen in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_unisid.data.sequences import UserSequences, order_only
from recbole_unisid.data.split import TEST, TRAIN, VALID, Split
from recbole_unisid.evaluation.candidates import repeated


def tested(sequences: UserSequences, split: Split) -> dict[str, Any]:
    """Shares of the test targets, and the first and last time of each phase: ``data`` of ``result.json``.

    A user is unseen who has no interaction in training, an item that nobody has there. ``same_time`` (as the item
    before) and ``periods`` are None where the data has no times.
    """
    targets = split.targets(TEST)
    owners, counts = sequences.owners(targets), split.training_counts(sequences)[sequences.items[targets]]
    known = np.bincount(sequences.users[split.phase <= TRAIN], minlength=sequences.n_users)
    facts: dict[str, Any] = {
        "test_cases": len(targets),
        "test_users": len(np.unique(owners)),
        "repeated": float(repeated(sequences, targets).mean()),
        "unseen_users": float((known[owners] == 0).mean()),
        "unseen_items": float((counts == 0).mean()),
        "rare_items": float(((counts > 0) & (counts <= 5)).mean()),
        "same_time": None,
        "periods": None,
    }
    times = sequences.times
    if times is not None and order_only(sequences) is None:
        phases = {
            "training": split.phase <= TRAIN,
            "validation": split.phase == VALID,
            "test": split.phase == TEST,
        }
        facts["same_time"] = float((times[targets] == times[targets - 1]).mean())
        facts["periods"] = {
            name: [float(times[of].min()), float(times[of].max())] for name, of in phases.items() if of.any()
        }
    return facts
