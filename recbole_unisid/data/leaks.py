"""Rules without any content that should recommend nothing well: where they do, the data leaks its targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.identifiers import identifier_places, numbered_by_appearance
from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TEST, Split

#: Length of the lists that the rules recommend.
LIST_LENGTH = 10


@dataclass(frozen=True)
class LeakControls:
    """How often content-free rules hit the test item; recall@10 is over all items, none filtered out."""

    cases: int  # test items
    popularity: float  # recall@10 of the most frequent training items, ties against the rule
    repeat_last: float  # of the last item once more
    next_id: float  # of the ten items next higher in name order
    previous_id: float  # of the ten next lower
    next_higher: (
        float  # share of higher names among test items that differ from the item before; half is expected
    )
    ids_from_source: bool  # False where items are numbered by first appearance: name order tells nothing then


def leak_controls(sequences: UserSequences, split: Split) -> LeakControls:
    """Measure the content-free rules on the test items."""
    place = identifier_places(sequences.item_ids)
    positions = split.targets(TEST)
    target, last = sequences.items[positions], sequences.items[positions - 1]
    steps = place[target] - place[last]
    moved = steps[steps != 0]
    popularity = at_least_as_popular(split.training_counts(sequences))[target]
    return LeakControls(
        cases=len(positions),
        popularity=_share(popularity <= LIST_LENGTH),
        repeat_last=_share(steps == 0),
        next_id=_share((steps > 0) & (steps <= LIST_LENGTH)),
        previous_id=_share((steps < 0) & (steps >= -LIST_LENGTH)),
        next_higher=_share(moved > 0),
        ids_from_source=numbered_by_appearance(sequences) is None,
    )


def at_least_as_popular(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of items, itself among them, that occur at least as often as each: its rank by popularity at worst.

    `counts` are occurrences in training, shape [n_items + 1] with padding first, as is the result.

    Examples
    --------
    >>> at_least_as_popular(np.array([0, 5, 2, 5])).tolist()[1:]
    [2, 3, 2]
    """
    ahead: NDArray[np.int64] = len(counts) - 1 - np.searchsorted(np.sort(counts[1:]), counts)
    return ahead


def _share(marks: NDArray[np.bool_]) -> float:
    return float(marks.mean()) if len(marks) else 0.0
