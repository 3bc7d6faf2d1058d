"""What a target is ranked against: all items but those its user had, or a few sampled ones."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences, had_before


def history_lengths(sequences: UserSequences, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count what stands before each target [cases] in its user's sequence, repeats counted."""
    return positions - sequences.offsets[sequences.owners(positions)]


def seen_pairs(
    sequences: UserSequences, positions: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List what stands before each target: the items that the filter of `full` takes out.

    Of targets by flat position [cases] come the case (0 .. cases - 1, ascending) and an item of its history, both
    [pairs]; an item that was had twice stands here twice. The answer is as long as all histories: ask in chunks.
    """
    counts = history_lengths(sequences, positions)
    rows = np.repeat(np.arange(len(positions)), counts)
    # Pair p of case r is the (p - pairs before r)-th of the counts[r] items that end at the target.
    ends = np.cumsum(counts)
    items = sequences.items[np.arange(len(rows)) + np.repeat(positions - ends, counts)]
    return rows, items


def repeated(sequences: UserSequences, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the user had each target [cases] before."""
    return had_before(sequences)[positions]


#: The seed of the sampled candidates (setting ``protocol_seed``): it belongs to the protocol, not to the run.
PROTOCOL_SEED = 12345

#: Users whose random numbers come from one generator; changing it changes the protocol.
_BLOCK = 4096


def sample_negatives(
    sequences: UserSequences,
    count: int = 99,
    seed: int = PROTOCOL_SEED,
    users: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Draw each user's negatives [users, count], ascending: uniform, distinct, outside the user's whole sequence.

    A user has one set for validation and for test. The set depends on `seed`, on the user's row and
    on the user's items only: asking for some users gives the rows that asking for all would give.
    The protocol is S3-Rec's (Zhou et al., CIKM 2020); sampling without replacement is Floyd's
    algorithm (Bentley and Floyd, "A sample of brilliance", CACM 1987). A user with fewer than `count` other items gets
    all of them after zeros: 0 is padding, no candidate, and ranking passes over it. `users` [n] are 0-based rows to
    draw for, ascending and distinct; all by default.
    """
    rows = np.arange(sequences.n_users) if users is None else np.asarray(users, dtype=np.int64)
    if len(rows) and (rows[0] < 0 or rows[-1] >= sequences.n_users or (np.diff(rows) <= 0).any()):
        raise ValueError(f"users must be ascending, distinct rows below {sequences.n_users}")
    negatives = np.zeros((len(rows), count), dtype=np.int64)
    edges = np.searchsorted(rows, np.arange(0, sequences.n_users + _BLOCK, _BLOCK))
    for block, (start, stop) in enumerate(itertools.pairwise(edges)):
        if start == stop:
            continue
        wanted = rows[start:stop]
        # Raw words rather than Generator.integers: NumPy promises the bit stream across versions.
        words = np.random.PCG64(np.random.SeedSequence([seed, block])).random_raw(count * _BLOCK)
        bits = words.reshape(count, _BLOCK)[:, wanted - block * _BLOCK]  # [count, wanted]
        owner, gaps = _others_before_seen(sequences, wanted)
        others = sequences.n_items - np.bincount(owner, minlength=len(wanted))
        places = _distinct_below(others, bits).T  # [wanted, count], -1 where nothing is left
        negatives[start:stop] = _place_to_item(places, owner, gaps, sequences.n_items)
    return negatives


def negatives_in(candidates: str) -> int:
    """How many negatives a set of sampled candidates is named after.

    >>> negatives_in("sampled99")
    99
    """
    return int(candidates.removeprefix("sampled"))


def sampled_for(settings: Any, sequences: UserSequences) -> NDArray[np.int64]:
    """The negatives [users, count] of a protocol, by its settings `candidates` (``sampled99``) and `protocol_seed`."""
    return sample_negatives(sequences, negatives_in(settings["candidates"]), settings["protocol_seed"])


def _others_before_seen(
    sequences: UserSequences, users: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each distinct item of each user: the index of the user, and how many items that the user
    never had are numbered below it. Both [seen], ordered by user, then item."""
    lengths = sequences.lengths[users]
    owner = np.repeat(np.arange(len(users)), lengths)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    items = sequences.items[sequences.offsets[users][owner] + within]
    width = sequences.n_items + 1
    keys = np.unique(owner * width + items)
    owner, items = keys // width, keys % width
    before = np.searchsorted(owner, owner)  # index of the owner's first item
    return owner, items - 1 - (np.arange(len(owner)) - before)


def _distinct_below(bounds: NDArray[np.int64], bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Draw, for each column, distinct numbers in [0, bound) by Floyd's algorithm; [count, columns].

    Where `bound` is below count the column holds 0 .. bound - 1 and then -1.
    """
    count, columns = bits.shape
    chosen = np.full((count, columns), -1, dtype=np.int64)
    plenty = bounds >= count
    for step in range(count):
        top = bounds - count + step  # the largest number that may be drawn in this step
        drawn = (bits[step] % np.maximum(top + 1, 1).astype(np.uint64)).astype(np.int64)
        taken = (chosen[:step] == drawn).any(axis=0)
        chosen[step] = np.where(taken, top, drawn)
    chosen[:, ~plenty] = np.arange(count)[:, None]
    chosen[chosen >= bounds] = -1
    return chosen


def _place_to_item(
    places: NDArray[np.int64], owner: NDArray[np.int64], gaps: NDArray[np.int64], n_items: int
) -> NDArray[np.int64]:
    """Turn the p-th item that a user never had into its number; -1 becomes 0; [users, count]."""
    rows = np.arange(len(places))[:, None]
    ordered = np.sort(places, axis=1)  # neighbouring look-ups then touch neighbouring memory
    keys = owner * (n_items + 1) + gaps
    skipped = np.searchsorted(keys, rows * (n_items + 1) + ordered, side="right")
    skipped -= np.searchsorted(owner, rows)
    items: NDArray[np.int64] = np.where(ordered < 0, 0, ordered + 1 + skipped)
    return items
