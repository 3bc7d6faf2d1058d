"""Splits: which interactions are trained on, which are validated and tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences, require_times
from recbole_unisid.errors import UserError

#: What an interaction is for. CONTEXT is seen in training but is no target (a user's first item);
#: UNUSED is neither trained on nor a target, though it stands in the history of later targets.
CONTEXT, TRAIN, VALID, TEST, UNUSED = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class Split:
    """The phase of every interaction of a :class:`UserSequences`.

    The history of a target is all that stands before it in its user's sequence (validation items included, for a
    test target); a target always has one.
    """

    phase: NDArray[np.int8]  # CONTEXT, TRAIN, VALID, TEST or UNUSED, shape [interactions]
    name: str  # leave_one_out, ratio, global_time, cold_items, or benchmark_files (split by others)
    description: str = ""  # a line with every number that the split depends on: what tables show and compare

    def targets(self, phase: int) -> NDArray[np.int64]:
        """Flat positions of the interactions of one phase, ascending."""
        return np.flatnonzero(self.phase == phase)

    def training_counts(self, sequences: UserSequences) -> NDArray[np.int64]:
        """How often each item occurs in training (contexts counted), shape [n_items + 1]."""
        trained = self.phase <= TRAIN
        return np.bincount(sequences.items[trained], minlength=sequences.n_items + 1)


def leave_one_out(sequences: UserSequences, validate: bool = True) -> Split:
    """Hold out each user's last item for test and, where wanted, the one before it for validation.

    Users are treated as RecBole treats them after it has turned a sequence of n items into n - 1
    prefix rows: with 4 items or more both are held out, with 3 only the test item, with 2 or 1 none.

    RecBole's ``LS: valid_and_test`` (or ``test_only``) on augmented rows: ``legal_leave_one_num = min(2, rows - 1)``.
    """
    phase = np.full(len(sequences.items), TRAIN, dtype=np.int8)
    last, lengths = sequences.offsets[1:] - 1, sequences.lengths
    phase[sequences.firsts] = CONTEXT
    phase[last[lengths >= 3]] = TEST
    if validate:
        phase[last[lengths >= 4] - 1] = VALID
    before = "the one before validated" if validate else "nothing validated"
    return Split(phase, "leave_one_out", f"leave-one-out: each user's last item tested, {before}")


def ratio(sequences: UserSequences, shares: Sequence[float], by_user: bool) -> Split:
    """Train on the first share of the interactions, validate on the next and test on the last.

    `shares` are for training, validation and test, and need not add up to 1. With `by_user` each user's targets are
    cut by them, otherwise the targets of all users in the order of their times; a first interaction is never a target.
    Nothing left to train or to test on, or no times for an order of all users, is a ``UserError``.

    RecBole's ``RS`` on its prefix rows (``Dataset.split_by_ratio``): parts but the first are rounded down, a part
    that rounds to nothing gets one row while more than one is left to train.
    """
    parts = np.asarray(shares, dtype=np.float64) / sum(shares)
    targets = np.delete(np.arange(len(sequences.items)), sequences.firsts)
    if by_user:
        owner, total = sequences.users[targets], np.maximum(sequences.lengths - 1, 0)
        place = targets - sequences.offsets[owner] - 1
    else:
        times = require_times(sequences, "eval_args: RS with group_by none")
        targets = targets[np.argsort(times[targets], kind="stable")]
        owner, total = np.zeros(len(targets), np.int64), np.array([len(targets)])
        place = np.arange(len(targets))
    valid, test = (parts[1:, None] * total).astype(np.int64)
    train = total - valid - test
    for held_out, share in ((test, parts[2]), (valid, parts[1])):
        one_more = (train > 1) & (share * total > 0) & (share * total < 1)
        held_out += one_more
        train = train - one_more
    phase = np.full(len(sequences.items), TRAIN, dtype=np.int8)
    phase[sequences.firsts] = CONTEXT
    phase[targets[place >= train[owner]]] = VALID
    phase[targets[place >= (train + valid)[owner]]] = TEST
    words = " : ".join(f"{part:.6g}" for part in parts)
    whose = "each user's" if by_user else "all users'"
    description = f"ratio {words} of {whose} interactions (training, validation, test)"
    return _with_targets(Split(phase, "ratio", description), (TRAIN, TEST))


def random_order(
    sequences: UserSequences, seed: int, cut: Callable[[UserSequences], Split]
) -> tuple[NDArray[np.int64], Split]:
    """Split interactions that are drawn at random instead of taken in time.

    `cut` gets sequences in random order, with random numbers for times. The seed of the draw belongs to the protocol.
    The split is of the interactions in the order given with it, shape [interactions]: a user's training comes first,
    in time, then what is held out, so that every history is what was trained on, as for a model without order.
    """
    drawn = np.random.default_rng(seed).random(len(sequences.items))
    shuffled = np.lexsort((drawn, sequences.users))
    found = cut(replace(sequences, items=sequences.items[shuffled], times=drawn[shuffled]))
    phase = np.empty_like(found.phase)
    phase[shuffled] = np.maximum(found.phase, TRAIN)
    order = np.lexsort((np.arange(len(phase)), phase, sequences.users))
    phase = phase[order]
    phase[sequences.firsts] = CONTEXT
    return order, Split(phase, found.name, f"in random order (seed {seed}), {found.description}")


def global_time(sequences: UserSequences, valid_share: float = 0.1, test_share: float = 0.1) -> Split:
    """Train before one moment, validate between it and a second one, test from the second on.

    The moments are the same for all users, so that no model has seen the future of others. Every interaction of a
    period with something before it in its user's sequence is a target. Interactions of one time are in one period, so
    coarse times make the two later periods somewhat longer than their shares.
    Data that gives an order alone, or a period without a target, is a ``UserError``.
    """
    if not (valid_share > 0 and test_share > 0 and valid_share + test_share < 1):
        raise UserError(
            f"split global_time cannot have valid_share {valid_share} and test_share {test_share}: "
            "both must be above 0 and together below 1"
        )
    times = require_times(sequences, "split global_time")
    shares = [1 - test_share - valid_share, 1 - test_share]
    # The interaction at this place in time begins the period, and all of its own time come with it.
    ordered = np.sort(times)
    # Rounded first: 1 - .05 - .15 of ten interactions is 7.999... in floating point.
    places = np.round(np.array(shares) * len(ordered), 6).astype(np.int64)
    valid_from, test_from = ordered[places]
    phase = np.full(len(sequences.items), TRAIN, dtype=np.int8)
    phase[times >= valid_from] = VALID
    phase[times >= test_from] = TEST
    first = sequences.firsts
    phase[first] = np.where(phase[first] == TRAIN, CONTEXT, UNUSED)
    description = (
        f"global time: validation from {valid_from:.15g} ({valid_share:g} of interactions), "
        f"test from {test_from:.15g} ({test_share:g})"
    )
    return _with_targets(Split(phase, "global_time", description))


def cold_items(sequences: UserSequences, share: float = 0.1, seed: int = 12345) -> Split:
    """Keep a share of the items, drawn uniformly, out of training altogether, and test on them.

    The test targets are the last items of :func:`leave_one_out` that are cold; its validation targets that are not
    cold choose the model, so that nothing is known of cold items before the test. Cold items stand in histories,
    where a model may know them by their text alone. They are those with a training count of 0 (an item that
    leave-one-out never trains either may be among them). The seed of the draw belongs to the protocol.
    A share that leaves nothing to train or to test on is a ``UserError``.

    TIGER's study of unseen items (Rajput et al., NeurIPS 2023, section 4.3) takes 5 % of the test items out of
    training.
    """
    if not 0 < share < 1:
        raise UserError(f"split cold_items cannot have share {share}: it must be between 0 and 1")
    count = max(1, round(share * sequences.n_items))
    drawn = np.random.default_rng(seed).permutation(sequences.n_items)[:count]
    cold = np.isin(sequences.items, drawn + 1)
    phase = leave_one_out(sequences).phase
    phase[np.where(phase == TEST, ~cold, cold)] = UNUSED
    # The first item that remains to a user in training is what CONTEXT means.
    trained = np.flatnonzero(phase <= TRAIN)
    owners = sequences.users[trained]
    begins = np.flatnonzero(np.diff(owners, prepend=-1))
    phase[trained] = TRAIN
    phase[trained[begins]] = CONTEXT
    description = (
        f"strict cold items: {count} items ({share:g}, seed {seed}) never trained on, "
        "tested where they are a user's last item"
    )
    return _with_targets(Split(phase, "cold_items", description))


def _with_targets(split: Split, phases: Sequence[int] = (TRAIN, VALID, TEST)) -> Split:
    for phase, name in ((TRAIN, "training"), (VALID, "validation"), (TEST, "test")):
        if phase in phases and not (split.phase == phase).any():
            raise UserError(f"split {split.name} leaves no {name} target in this data: change its shares")
    return split
