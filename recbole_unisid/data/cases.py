"""What is tested: in which periods, how much of it is repeated, tied or unseen in training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences, had_before, order_only
from recbole_unisid.data.split import TEST, TRAIN, VALID, Split

#: Shares of the test targets, in words.
SHARES = {
    "repeated": "had before by their user",
    "same_time": "at the time of the item before",
    "unseen_users": "of users unseen in training",
    "unseen_items": "items unseen in training",
    "rare_items": "items seen 1 to 5 times",
}


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
        "repeated": float(had_before(sequences)[targets].mean()),
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


def users_of_items(sequences: UserSequences) -> NDArray[np.int64]:
    """How many users have each item, in training or later, shape [n_items + 1]; padding has none."""
    width = sequences.n_items + 1
    pairs = np.unique(sequences.users.astype(np.int64) * width + sequences.items)
    return np.bincount(pairs % width, minlength=width)


#: Share of the items, those with the most users, that is head where no threshold is given.
_HEAD_ITEMS = 0.2


def tail_threshold(users: NDArray[np.int64]) -> int:
    """Find how many users an item needs to be among the fifth with the most, ties within; entry 0 is padding."""
    counts = np.sort(users[1:])[::-1]
    return int(counts[max(0, int(_HEAD_ITEMS * len(counts)) - 1)])
