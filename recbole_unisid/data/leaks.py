"""Rules without content that should recommend nothing well: where they do, the data leaks its targets."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences, order_only, shuffle_ties
from recbole_unisid.data.split import TEST, Split
from recbole_unisid.data.tie_orders import other_lasts, over_orders

#: Length of the lists that the rules recommend.
LIST_LENGTH = 10
#: Share of new items that must be named above all earlier ones for the names to be a numbering.
#: Names that come from elsewhere set records with a frequency that falls to 0 (1 / n at item n).
_RENUMBERED = 0.9
#: Shuffles of ties that are averaged: seeds 0, 1, 2 ...
_SHUFFLES = 5


@dataclass(frozen=True)
class TieFacts:
    """What the order of ties is worth on the leave-one-out test items of data with times."""

    cases: int  # test items at the time of the item before
    #: recall@10 by which item of the test item's time comes last (:func:`.over_orders`), and ``shuffled``: the mean
    #: over shuffles of all ties
    next_id: dict[str, float]
    previous_id: dict[str, float]
    shuffled_spread: dict[str, float]  # standard deviation over the shuffles, by rule


@dataclass(frozen=True)
class LeakControls:
    """How often content-free rules hit the test item; recall@10 is over all items, none filtered out."""

    cases: int  # test items
    popularity: float  # recall@10 of the most frequent training items, ties against the rule
    repeat_last: float  # of the last item once more
    next_id: float  # of the ten items next higher in name order
    previous_id: float  # of the ten next lower
    next_higher: float  # share of higher names among test items unlike the item before; half is expected
    ids_from_source: bool  # False where items are numbered by first appearance: name order tells nothing then


def leak_controls(
    sequences: UserSequences, split: Split, ids_from_source: bool | None = None
) -> LeakControls:
    """Measure the content-free rules on the test items; whether the IDs are the source's is found out if not given."""
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
        next_id=_share(_within(steps)),
        previous_id=_share(_within(-steps)),
        next_higher=_share(moved > 0),
        ids_from_source=numbered_by_appearance(sequences) is None
        if ids_from_source is None
        else ids_from_source,
    )


def tie_facts(sequences: UserSequences, split: Split) -> TieFacts | None:
    """Measure what next-by-ID and previous-by-ID owe to the order of ties; None where the data has no times."""
    if order_only(sequences) is not None:
        return None
    positions, place = split.targets(TEST), identifier_places(sequences.item_ids)[sequences.items]
    case, lasts = other_lasts(sequences, positions)
    # The item of the file's last place then stands before what takes it.
    steps, moved = place[positions] - place[positions - 1], place[lasts] - place[positions[case]]
    shuffles = [
        leak_controls(shuffle_ties(sequences, seed), split, ids_from_source=True) for seed in range(_SHUFFLES)
    ]
    found, spread = {}, {}
    for name, sign in (("next_id", 1), ("previous_id", -1)):
        hits, of_others = (_within(sign * one).astype(np.float64) for one in (steps, moved))
        drawn = [getattr(one, name) for one in shuffles]
        found[name] = over_orders(hits, of_others, case) | {"shuffled": float(np.mean(drawn))}
        spread[name] = float(np.std(drawn, ddof=1))
    return TieFacts(len(np.unique(case)), found["next_id"], found["previous_id"], spread)


def _within(steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (steps > 0) & (steps <= LIST_LENGTH)


def at_least_as_popular(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of items, itself among them, that occur at least as often as each: its rank by popularity at worst.

    `counts` are occurrences in training, shape [n_items + 1] with padding first, as is the result.

    >>> at_least_as_popular(np.array([0, 5, 2, 5])).tolist()[1:]
    [2, 3, 2]
    """
    ahead: NDArray[np.int64] = len(counts) - 1 - np.searchsorted(np.sort(counts[1:]), counts)
    return ahead


def _share(marks: NDArray[np.bool_]) -> float:
    return float(marks.mean()) if len(marks) else 0.0


def identifier_places(item_ids: NDArray[np.str_]) -> NDArray[np.int64]:
    """Place 1 .. n_items of each item in the order of their names, 0 for padding; both shapes are [n_items + 1].

    Names that are one common prefix and a whole number (``17``, ``i17``) are ordered by the number, others as text,
    and so are numbers of more than 4,000 digits.

    >>> identifier_places(np.array(["[PAD]", "i10", "i9", "i11"]))
    array([0, 2, 1, 3])
    """
    names = item_ids[1:].tolist()
    parts = [re.fullmatch(r"(\D*)(\d{1,4000})", name) for name in names]
    numbered = [(part[1], int(part[2])) for part in parts if part is not None]
    if len(numbered) == len(names) and len({prefix for prefix, _ in numbered}) == 1:
        order = np.argsort(np.array([number for _, number in numbered]), kind="stable")
    else:
        order = np.argsort(item_ids[1:], kind="stable")
    places = np.zeros(len(item_ids), dtype=np.int64)
    places[order + 1] = np.arange(1, len(item_ids))
    return places


def numbered_by_appearance(sequences: UserSequences) -> str | None:
    """Why next- and previous-by-ID show no leak: names repeat the order of appearance; None where they do not."""
    places = identifier_places(sequences.item_ids)
    orders = [sequences.items]
    if sequences.times is not None:
        orders.append(sequences.items[np.argsort(sequences.times, kind="stable")])
    for items in orders:
        first = np.full(len(places), len(items))
        first[items[::-1]] = np.arange(len(items))[::-1]  # of equal indices the last one written stays
        appearing = places[items[np.sort(first[first < len(items)])]]  # [items that occur]
        records = appearing == np.maximum.accumulate(appearing)
        if len(records) > 1 and records.mean() > _RENUMBERED:
            return (
                "the items were numbered by first appearance, so next-by-ID and previous-by-ID "
                "say nothing about this data set's order"
            )
    return None
