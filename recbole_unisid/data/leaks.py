"""Rules without any content that should recommend nothing well: where they do, the data leaks its targets."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TEST, Split

#: Length of the lists that the rules recommend.
LIST_LENGTH = 10

# Share of neighbours in name order that first appear in that order too, from which on names are taken for
# numbers that a preparation gave out, not for the source's own.
_NUMBERED_BY_APPEARANCE = 0.95


_NUMBERED = re.compile(r"(.*?)(?:0|[1-9][0-9]*)")


@dataclass(frozen=True)
class LeakControls:
    """How often content-free rules hit the test item.

    Attributes
    ----------
    cases : int
        Number of test items.
    popularity, repeat_last, next_id, previous_id : float
        Recall@10 over all items (none filtered out) of: the most frequent training items, ties against the
        rule; the last item once more; the ten items next higher, and next lower, in name order.
    next_higher : float
        Share of test items whose name is the higher one, among those that differ from the item before; one
        half is expected.
    ids_from_source : bool
        False where items are numbered by first appearance: name order says nothing about the source then.
    """

    cases: int
    popularity: float
    repeat_last: float
    next_id: float
    previous_id: float
    next_higher: float
    ids_from_source: bool


def leak_controls(sequences: UserSequences, split: Split) -> LeakControls:
    """Measure the content-free rules on the test items.

    Parameters
    ----------
    sequences : UserSequences
        All interactions.
    split : Split
        Says which are test items; each must have an item before it.

    Returns
    -------
    LeakControls
        All zero without test items.
    """
    rank = name_ranks(sequences.item_ids[1:])  # [n_items], for item numbers from 1
    targets = split.targets(TEST)
    target, previous = sequences.items[targets], sequences.items[targets - 1]
    steps = rank[target - 1] - rank[previous - 1]
    moved = steps[steps != 0]
    return LeakControls(
        cases=len(targets),
        popularity=_share(_popularity_rank(sequences, split)[target] <= LIST_LENGTH),
        repeat_last=_share(steps == 0),
        next_id=_share((steps > 0) & (steps <= LIST_LENGTH)),
        previous_id=_share((steps < 0) & (steps >= -LIST_LENGTH)),
        next_higher=_share(moved > 0),
        ids_from_source=not _numbered_by_appearance(sequences, rank),
    )


def name_ranks(names: NDArray[np.str_]) -> NDArray[np.int64]:
    """Position of every name in name order, shape [names]; numbers, with a common prefix or none, by value.

    Examples
    --------
    >>> name_ranks(np.array(["i10", "i9", "i100"])).tolist()
    [1, 0, 2]
    """
    parts = [_NUMBERED.fullmatch(name) for name in names.tolist()]
    stems = {part[1] if part else None for part in parts}
    # Of numbers without leading zeros the longer one is the larger one.
    numbered = len(stems) == 1 and None not in stems
    order = np.lexsort((names, np.char.str_len(names))) if numbered else np.argsort(names, kind="stable")
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return rank


def _popularity_rank(sequences: UserSequences, split: Split) -> NDArray[np.int64]:
    """1 + number of other items that occur at least as often in training, shape [n_items + 1]."""
    counts = split.training_counts(sequences)
    ascending = np.sort(counts[1:])
    at_least: NDArray[np.int64] = len(ascending) - np.searchsorted(ascending, counts, side="left")
    return at_least  # the item itself is among them: the 1


def _numbered_by_appearance(sequences: UserSequences, rank: NDArray[np.int64]) -> bool:
    """Whether name order is the order of first appearance, but for a few."""
    first = np.full(sequences.n_items, len(sequences.items), dtype=np.int64)
    first[sequences.items[::-1] - 1] = np.arange(len(sequences.items) - 1, -1, -1)
    in_name_order = first[np.argsort(rank)]
    return len(first) > 1 and _share(np.diff(in_name_order) > 0) > _NUMBERED_BY_APPEARANCE


def _share(marks: NDArray[np.bool_]) -> float:
    return float(marks.mean()) if len(marks) else 0.0
