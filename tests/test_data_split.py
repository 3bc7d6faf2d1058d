"""Splits and ties: rules written out by hand, for every length and for generated data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_unisid.data.sequences import group_by_user
from recbole_unisid.data.split import (
    CONTEXT,
    TEST,
    TRAIN,
    UNUSED,
    VALID,
    cold_items,
    global_time,
    leave_one_out,
)
from recbole_unisid.data.ties import order_only, shuffle_ties
from recbole_unisid.errors import UserError


def make(users, items, times=None, n_items=None, n_users=None):
    """Group loose interactions; users are rows 0 .. and items numbers 1 .."""
    n_users, n_items = n_users or max(users) + 1, n_items or max(items)
    return group_by_user(
        np.array(users, dtype=np.int64),
        np.array(items, dtype=np.int64),
        None if times is None else np.array(times, dtype=np.float64),
        np.array([f"u{user}" for user in range(n_users)]),
        np.array(["[PAD]", *(f"i{item}" for item in range(1, n_items + 1))]),
    )


def timed(seed, n_users=200, n_items=60, length=12, days=40):
    """Interactions whose times are whole days, so that many of a user's tie."""
    generator = np.random.default_rng(seed)
    users = np.repeat(np.arange(n_users), length)
    items = generator.integers(1, n_items + 1, len(users))
    return make(users, items, generator.integers(0, days, len(users)) * 86400.0, n_items)


# RecBole's rule, by hand: a sequence of n items becomes n - 1 prefix rows; of these, with three or
# more, the last two are held out; of two, the last is tested; one row is trained on.
BY_HAND = {
    1: [CONTEXT],
    2: [CONTEXT, TRAIN],
    3: [CONTEXT, TRAIN, TEST],
    4: [CONTEXT, TRAIN, VALID, TEST],
    5: [CONTEXT, TRAIN, TRAIN, VALID, TEST],
    6: [CONTEXT, TRAIN, TRAIN, TRAIN, VALID, TEST],
}


def test_leave_one_out_is_recboles_rule_at_every_length():
    users = [user for user, length in enumerate(BY_HAND) for _ in range(length)]
    split = leave_one_out(make(users, range(1, len(users) + 1)))
    assert split.phase.tolist() == [phase for phases in BY_HAND.values() for phase in phases]


def test_a_user_without_interactions_has_no_phase():
    split = leave_one_out(make([0, 2, 2, 2], [1, 1, 2, 3], n_users=5))
    assert split.phase.tolist() == [CONTEXT, *BY_HAND[3]]


def test_a_split_names_itself_and_the_numbers_it_depends_on():
    """A protocol's hash covers both, so two splits that differ must not be told alike."""
    sequences = timed(5)
    splits = [
        leave_one_out(sequences),
        global_time(sequences, 0.15, 0.25),
        global_time(sequences, 0.25, 0.15),
        cold_items(sequences, 0.2, 7),
        cold_items(sequences, 0.2, 8),
        cold_items(sequences, 0.3, 7),
    ]
    assert [split.name for split in splits] == ["leave_one_out"] + ["global_time"] * 2 + ["cold_items"] * 3
    assert len({split.description for split in splits}) == 6
    for split, told in zip(splits, ([], ["0.15", "0.25"], ["0.25", "0.15"], ["0.2", "seed 7"]), strict=False):
        assert split.description
        assert all(number in split.description for number in told)
        assert split.phase.dtype == np.int8


def test_the_shares_that_a_split_has_unless_told():
    sequences = timed(6)
    for plain, told in (
        (global_time(sequences), global_time(sequences, valid_share=0.1, test_share=0.1)),
        (cold_items(sequences), cold_items(sequences, share=0.1, seed=12345)),
    ):
        assert plain.description == told.description
        assert plain.phase.tolist() == told.phase.tolist()


def test_training_counts_hold_contexts_and_no_held_out_item():
    sequences = make([0, 0, 0, 0, 1, 1], [1, 2, 3, 4, 1, 1])
    assert leave_one_out(sequences).training_counts(sequences).tolist() == [0, 3, 1, 0, 0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_shuffling_moves_only_what_is_tied(data_seed, seed):
    sequences = timed(data_seed, n_users=5)
    shuffled = shuffle_ties(sequences, seed)
    assert (shuffled.offsets == sequences.offsets).all()
    assert (shuffled.times == sequences.times).all()
    for user in range(5):
        place = slice(*sequences.offsets[user : user + 2])
        times = sequences.times[place]
        for time in set(times):
            before, after = sequences.of(user)[times == time], shuffled.of(user)[times == time]
            assert sorted(before) == sorted(after)
    assert shuffled.fingerprint() == shuffle_ties(sequences, seed).fingerprint()


def test_every_order_of_a_tie_is_as_likely():
    sequences = make(np.repeat(np.arange(6000), 3), np.tile([1, 2, 3], 6000), np.ones(18_000))
    shuffled = shuffle_ties(sequences, 1).items.reshape(-1, 3)
    _, counts = np.unique(shuffled, axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)
    assert shuffle_ties(sequences, 2).fingerprint() != shuffle_ties(sequences, 1).fingerprint()


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        (None, "no times"),
        ([1, 2, 3, 1, 2], "positions 1, 2, 3"),
        ([0, 1, 2, 0, 1], "positions 0, 1, 2"),
        ([1, 2, 3, 4, 5], "row numbers"),
        ([0, 1, 2, 3, 4], "row numbers"),
    ],
)
def test_data_that_is_an_order_alone_refuses_what_needs_times(times, reason):
    sequences = make([0, 0, 0, 1, 1], [1, 2, 3, 1, 2], times)
    assert reason in order_only(sequences)
    with pytest.raises(UserError, match=f"shuffling ties needs times.*{reason}"):
        shuffle_ties(sequences, 0)
    with pytest.raises(UserError, match=f"split global_time needs times.*{reason}"):
        global_time(sequences)


def test_real_times_are_not_taken_for_an_order():
    assert order_only(make([0, 0, 0, 1, 1], [1, 2, 3, 1, 2], [1, 2, 4, 1, 2])) is None
    assert order_only(make([0, 0, 1], [1, 2, 3], [86400, 86400, 86400])) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.3), st.floats(0.05, 0.3))
def test_global_time_has_the_same_moments_for_everyone(seed, valid_share, test_share):
    sequences = timed(seed)
    split = global_time(sequences, valid_share, test_share)
    times, phase = sequences.times, split.phase
    trained, valid, test = phase <= TRAIN, phase == VALID, phase == TEST
    assert times[trained].max() < times[valid].min() <= times[valid].max() < times[test].min()
    # A user's first interaction has nothing before it: context while trained on, else no target.
    first = np.zeros(len(phase), dtype=bool)
    first[sequences.offsets[:-1]] = True
    assert set(phase[first]) <= {CONTEXT, UNUSED}
    assert not np.isin(phase[~first], [CONTEXT, UNUSED]).any()
    assert (times >= times[test].min()).mean() >= test_share - 1e-9
    assert f"{times[test].min():.15g}" in split.description


def test_global_time_by_hand():
    """Validation from time 5 and test from time 7, for users of every kind; the last one has nothing."""
    sequences = make([0, 0, 0, 1, 1, 2, 3, 4], [1] * 8, [1, 5, 8, 2, 3, 6, 4, 7], n_users=6)
    split = global_time(sequences, 0.25, 0.25)
    expected = [CONTEXT, VALID, TEST, CONTEXT, TRAIN, UNUSED, CONTEXT, UNUSED]
    assert split.phase.tolist() == expected


def test_global_time_begins_where_the_shares_say():
    """1 - .05 - .15 of 100 is 79.99... in floating point: validation begins after 80, not after 79."""
    sequences = make([0] * 100, range(1, 101), range(1000, 1100))
    split = global_time(sequences, 0.15, 0.05)
    assert np.flatnonzero(split.phase == VALID).tolist() == list(range(80, 95))
    assert (split.phase == TEST).sum() == 5
    # .8 and .95 of 97 are 77.6 and 92.15: the interactions at these places, counted from 0, begin the periods.
    split = global_time(make([0] * 97, range(1, 98), range(1000, 1097)), 0.15, 0.05)
    assert np.flatnonzero(split.phase == VALID).tolist() == list(range(77, 92))


def test_global_time_refuses_shares_and_data_that_leave_a_period_empty():
    for shares in ((0.5, 0.5), (0.0, 0.2), (0.2, 0.0), (-0.1, 0.2)):
        with pytest.raises(UserError, match="both must be above 0"):
            global_time(timed(1), *shares)
    with pytest.raises(UserError, match="leaves no training target"):
        global_time(make([0, 0, 0, 1], [1, 2, 3, 4], [1, 5, 9, 2]), 0.25, 0.25)
    with pytest.raises(UserError, match="leaves no test target"):
        global_time(make([0, 0, 0, 1], [1, 2, 3, 4], [1, 2, 5, 9]), 0.25, 0.25)
    with pytest.raises(UserError, match="leaves no validation target"):
        global_time(make([0] * 8, range(1, 9), [1, 2, 3, 9, 9, 9, 9, 9]), 0.1, 0.5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.5))
def test_cold_items_are_never_trained_and_are_all_that_is_tested(seed, share):
    sequences = timed(seed)
    split, plain = cold_items(sequences, share, seed), leave_one_out(sequences)
    trained = set(sequences.items[split.phase <= TRAIN])
    tested = set(sequences.items[split.phase == TEST])
    assert tested
    assert not trained & tested
    assert not set(sequences.items[split.phase == VALID]) & tested
    # What leave-one-out trains on and this does not is cold, and nothing else is.
    removed = sequences.items[(plain.phase <= TRAIN) & (split.phase == UNUSED)]
    assert not set(removed) & trained
    assert (split.phase == TEST)[plain.phase != TEST].sum() == 0
    for user in range(sequences.n_users):
        phases = split.phase[slice(*sequences.offsets[user : user + 2])]
        kept = phases[phases <= TRAIN].tolist()
        assert kept == [CONTEXT, *[TRAIN] * (len(kept) - 1)][: len(kept)]


def test_the_share_of_cold_items_is_the_share_asked_for():
    sequences = timed(3, n_users=2000)
    split = cold_items(sequences, 0.2, seed=1)
    assert (split.training_counts(sequences)[1:] == 0).sum() == 12
    again, other = cold_items(sequences, 0.2, seed=1), cold_items(sequences, 0.2, seed=2)
    assert (again.phase == split.phase).all()
    assert (other.phase != split.phase).any()
    assert other.description != split.description


def test_the_smallest_share_is_one_item_and_it_may_be_any():
    """Of four items a tenth is none: one is cold all the same, and none is spared."""
    sequences = timed(4, n_items=4)
    cold = [
        np.flatnonzero(cold_items(sequences, 0.1, seed).training_counts(sequences) == 0) for seed in range(40)
    ]
    assert {tuple(items) for items in cold} == {(0, item) for item in range(1, 5)}  # 0 is padding


def test_the_first_item_that_is_left_to_a_user_is_a_context():
    """User 0 has nothing, so what is trained on begins with user 1."""
    items = np.random.default_rng(8).integers(1, 21, 240)
    sequences = make(np.repeat(np.arange(1, 41), 6), items, n_items=20)
    split = cold_items(sequences, 0.2, seed=3)
    for user in range(1, 41):
        phases = split.phase[slice(*sequences.offsets[user : user + 2])]
        assert phases[phases <= TRAIN].tolist()[:1] == [CONTEXT]


def test_cold_items_refuses_impossible_shares():
    for share in (1.0, 0.0, -0.1):
        with pytest.raises(UserError, match="between 0 and 1"):
            cold_items(timed(1), share)
    with pytest.raises(UserError, match="leaves no"):
        cold_items(timed(1), 0.999)
