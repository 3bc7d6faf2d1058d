"""Batches of whole sequences: every target once, little padding."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TRAIN, Split

#: Column of a training batch with the target of every position, shape [batch, length]; 0 where there is none.
TARGET_LIST = "target_list"


@dataclass(frozen=True)
class Windows:
    """Pieces of user sequences, each at most `max_len` inputs long.

    Window `w` reads ``items[start[w]:stop[w]]`` and is asked for ``items[start[w] + 1:stop[w] + 1]``; the
    answers before `first_target` (flat positions) are another window's, or no training targets.
    """

    items: NDArray[np.int64]  # sequences, flat (in training without what is held out)
    start: NDArray[np.int64]  # flat positions of every window, as are stop and first_target
    stop: NDArray[np.int64]
    first_target: NDArray[np.int64]
    user: NDArray[np.int64]  # 0-based, of every window

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of inputs of every window, shape [windows]."""
        return self.stop - self.start

    @property
    def asked(self) -> NDArray[np.int64]:
        """Number of targets of every window, shape [windows]."""
        return self.stop - self.first_target + 1

    def batch(self, index: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad some windows [batch] to the longest of them.

        Inputs and targets are item numbers, int64 [batch, longest]; 0 pads on the right, and marks positions
        without a target of this window.
        """
        start, stop = self.start[index, None], self.stop[index, None]
        position = start + np.arange((stop - start).max())  # [batch, longest]
        inside = position < stop
        asked = inside & (position + 1 >= self.first_target[index, None])
        inputs = np.where(inside, self.items[np.where(inside, position, 0)], 0)
        targets = np.where(asked, self.items[np.where(asked, position + 1, 0)], 0)
        return torch.from_numpy(inputs), torch.from_numpy(targets)


def training_windows(
    sequences: UserSequences, split: Split, max_len: int, stride: int | None = None
) -> Windows:
    """Cut the training part of every sequence into windows, so that every target is trained once.

    RecBole cuts a long history to its last `max_len` items for each target on its own. A window, which has `max_len`
    inputs at most, gives its first targets less context than that; the stride is the price (in computing) of more.
    It is the number of new targets that a further window brings (by default half of `max_len`), which starts with
    ``max_len - stride`` inputs whose answers an earlier window had.
    """
    step = max(1, max_len // 2 if stride is None else min(stride, max_len))
    items, lengths = _trained_on(sequences, split)
    ends = np.cumsum(lengths)
    users = np.flatnonzero(lengths >= 2)
    begin, end = (ends - lengths)[users], ends[users] - 1  # inputs begin .. end - 1, targets begin + 1 .. end
    inputs = end - begin
    extra = np.maximum(0, -(-(inputs - max_len) // step))  # windows after the first
    window_user = np.repeat(np.arange(len(users)), extra + 1)
    number = np.arange(len(window_user)) - np.repeat(np.cumsum(extra + 1) - extra - 1, extra + 1)
    stop = np.minimum(begin[window_user] + max_len + number * step, end[window_user])
    start = np.maximum(begin[window_user], stop - max_len)
    earlier_stop = begin[window_user] + max_len + (number - 1) * step
    first_target = np.where(number == 0, start + 1, earlier_stop + 1)
    return Windows(items, start, stop, first_target, users[window_user])


def training_rows(sequences: UserSequences, split: Split, max_len: int) -> Windows:
    """Windows that are asked for one training target each, after the at most `max_len` items before it."""
    items, lengths = _trained_on(sequences, split)
    user = np.repeat(np.arange(len(lengths)), np.maximum(lengths - 1, 0))
    begin = np.cumsum(lengths) - lengths
    later = np.ones(len(items), dtype=np.bool_)
    later[begin[lengths > 0]] = False  # a user's first item has nothing before it
    targets = np.flatnonzero(later)
    return Windows(items, np.maximum(begin[user], targets - max_len), targets, targets, user)


def _trained_on(sequences: UserSequences, split: Split) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Contexts and targets of training, flat, and how many each user has; what is held out is not even read."""
    kept = split.phase <= TRAIN
    return sequences.items[kept], np.bincount(sequences.users[kept], minlength=sequences.n_users)


def history_windows(sequences: UserSequences, targets: NDArray[np.int64], max_len: int) -> Windows:
    """Windows of the last `max_len` items before each of these flat positions [cases], none of them a user's first."""
    user = sequences.owners(targets)
    start = np.maximum(sequences.offsets[user], targets - max_len)
    return Windows(sequences.items, start, targets, targets, user)


def bucketed_batches(
    lengths: NDArray[np.int64],
    positions: int,
    generator: np.random.Generator,
    pool: int = 64,
    weights: NDArray[np.int64] | None = None,
) -> Iterator[NDArray[np.int64]]:
    """Shuffle windows, sort by length within pools of `pool` batches, shuffle the batches; yield each once.

    A batch holds a number of positions rather than of windows, as RecBole's holds a number of prefix
    rows: a step then weighs the same on short sequences and on long ones. A window longer than `positions` is
    a batch of its own. Larger pools pad less, smaller ones mix lengths more. `weights` are what windows count as, by
    default their lengths.
    """
    weights = lengths if weights is None else weights
    order = generator.permutation(len(lengths))
    pools = _cuts(weights[order], positions * pool)
    batches = []
    for begin, end in itertools.pairwise(pools):
        part = order[begin:end]
        part = part[np.argsort(lengths[part], kind="stable")]
        cuts = _cuts(weights[part], positions)
        batches += [part[i:j] for i, j in itertools.pairwise(cuts)]
    for number in generator.permutation(len(batches)):
        yield batches[number]


def _cuts(lengths: NDArray[np.int64], limit: int) -> list[int]:
    """Where to cut so that each piece sums to at most `limit`; the first cut is 0, the last the end."""
    ends = np.cumsum(lengths)
    cuts = [0]
    while cuts[-1] < len(lengths):
        before = ends[cuts[-1] - 1] if cuts[-1] else 0
        cuts.append(max(cuts[-1] + 1, int(np.searchsorted(ends, before + limit, side="right"))))
    return cuts
