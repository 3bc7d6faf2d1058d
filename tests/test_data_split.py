"""Splits and ties: rules written out by hand, for every length and for generated data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_unisid.data.sequences import group_by_user, order_only, shuffle_ties
from recbole_unisid.data.split import (
    CONTEXT,
    TEST,
    TRAIN,
    UNUSED,
    VALID,
    Split,
    cold_items,
    global_time,
    leave_one_out,
    random_order,
    ratio,
)
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
    unvalidated = leave_one_out(sequences, validate=False)
    assert splits[0].description == "leave-one-out: each user's last item tested, the one before validated"
    assert unvalidated.description == "leave-one-out: each user's last item tested, nothing validated"
    assert splits[3].description == (
        "strict cold items: 12 items (0.2, seed 7) never trained on, tested where they are a user's last item"
    )


def test_what_is_not_validated_is_trained_on():
    plain, unvalidated = leave_one_out(timed(5)), leave_one_out(timed(5), validate=False)
    assert unvalidated.phase.tolist() == np.where(plain.phase == VALID, TRAIN, plain.phase).tolist()


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
        with pytest.raises(UserError, match=r": both must be above 0 and together below 1$"):
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


def parts_of(total, shares):
    """How RecBole's ``split_by_ratio`` cuts so many rows."""
    shares = [share / sum(shares) for share in shares]
    counts = [int(total * share) for share in shares]
    counts[0] = total - sum(counts[1:])
    for last in (2, 1):
        if counts[0] > 1 and 0 < shares[last] * total < 1:
            counts[last] += 1
            counts[0] -= 1
    return [phase for phase, count in zip((TRAIN, VALID, TEST), counts, strict=True) for _ in range(count)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(lambda lengths: max(lengths) > 3),
    st.tuples(st.floats(0.5, 8), st.floats(0.0, 2), st.floats(0.1, 2)),
)
def test_a_ratio_by_user_cuts_each_users_targets_as_recbole_does(lengths, shares):
    users = [user for user, length in enumerate(lengths) for _ in range(length)]
    sequences = make(users, [1] * len(users), n_users=len(lengths))
    cut = [[CONTEXT, *parts_of(length - 1, shares)] for length in lengths if length]
    expected = [phase for phases in cut for phase in phases]
    if not {TRAIN, TEST} <= set(expected):
        return
    split = ratio(sequences, shares, by_user=True)
    assert split.phase.tolist() == expected
    assert split.phase.dtype == np.int8


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.tuples(st.floats(0.5, 8), st.floats(0.0, 2), st.floats(0.1, 2)))
def test_a_ratio_in_time_cuts_all_targets_by_when_they_were(seed, shares):
    sequences = timed(seed, n_users=9, length=5)
    split = ratio(sequences, shares, by_user=False)
    targets = np.flatnonzero(np.arange(45) % 5)
    in_time = sorted(targets, key=lambda position: sequences.times[position])  # stable: ties by position
    assert split.phase[in_time].tolist() == parts_of(36, shares)
    assert (split.phase[::5] == CONTEXT).all()


def test_a_ratio_of_one_target_and_of_few():
    """A part that rounds to nothing gets a row while more than one is left to train, the test first."""
    for length, phases in (
        (2, [TRAIN]),
        (3, [TRAIN, TEST]),
        (4, [TRAIN, VALID, TEST]),
        (11, [TRAIN] * 8 + [VALID, TEST]),
        (21, [TRAIN] * 16 + [VALID] * 2 + [TEST] * 2),
    ):
        split = ratio(make([0] * length + [1] * 4, [1] * (length + 4)), (0.8, 0.1, 0.1), by_user=True)
        assert split.phase.tolist() == [CONTEXT, *phases, CONTEXT, TRAIN, VALID, TEST]
    nothing_validated = ratio(make([0] * 6, [1] * 6), (8, 0, 2), by_user=True)
    assert nothing_validated.phase.tolist() == [CONTEXT, *[TRAIN] * 4, TEST]


def test_a_ratio_says_what_it_is():
    told = "ratio 0.8 : 0.1 : 0.1 of {} interactions (training, validation, test)"
    for by_user, whose in ((True, "each user's"), (False, "all users'")):
        split = ratio(timed(1), (8, 1, 1), by_user)
        assert (split.name, split.description) == ("ratio", told.format(whose))


def test_a_ratio_refuses_what_leaves_nothing_and_an_order_without_times():
    with pytest.raises(UserError, match="ratio leaves no test target"):
        ratio(make([0, 0, 1, 1], [1, 2, 1, 2]), (8, 1, 1), by_user=True)
    with pytest.raises(UserError, match="ratio leaves no training target"):
        ratio(make([0] * 41, [1] * 41), (0, 1, 1), by_user=True)
    with pytest.raises(UserError, match=r"^eval_args: RS with group_by none"):
        ratio(make([0] * 40, [1] * 40), (8, 1, 1), by_user=False)


def test_a_random_order_trains_on_what_stands_before():
    """Every interaction is drawn as likely; a user's training comes first, in time, then what is held out."""
    sequences, cuts = timed(2), []

    def cut(drawn):
        cuts.append(drawn)
        return leave_one_out(drawn)

    order, split = random_order(sequences, 7, cut)
    assert sorted(order) == list(range(len(sequences.items)))
    assert (sequences.users[order] == sequences.users).all()
    assert (np.bincount(split.phase)[[CONTEXT, TRAIN, VALID, TEST]] == [200, 1800, 200, 200]).all()
    for user in range(sequences.n_users):
        rows = slice(*sequences.offsets[user : user + 2])
        assert split.phase[rows].tolist() == [CONTEXT, *[TRAIN] * 9, VALID, TEST]
        assert (np.diff(order[rows][:10]) > 0).all()
    # The cut sees each user's interactions in the order of random numbers that stand for times.
    (drawn,) = cuts
    assert (drawn.offsets == sequences.offsets).all()
    assert all((np.diff(drawn.times[row : row + 12]) > 0).all() for row in drawn.offsets[:-1])
    held_out = order[split.phase == TEST]
    assert (drawn.items[drawn.offsets[1:] - 1] == sequences.items[held_out]).all()
    assert len(set((held_out % 12).tolist())) == 12
    assert (random_order(sequences, 8, cut)[0] != order).any()
    assert (random_order(sequences, 7, cut)[0] == order).all()


def test_a_random_order_says_its_seed_and_its_cut():
    sequences = timed(2, n_users=4)
    _, split = random_order(sequences, 7, leave_one_out)
    plain = leave_one_out(sequences)
    assert split.name == plain.name
    assert split.description == f"in random order (seed 7), {plain.description}"


def test_what_is_held_out_in_a_random_order_goes_behind_the_training():
    """The first that is left to a user is a context; what was one in the drawn order is trained on."""
    sequences = make([0, 0, 0, 2, 2, 2, 3], [1, 2, 3, 1, 2, 3, 1], range(7), n_users=5)
    phases = np.array([CONTEXT, TEST, TRAIN, CONTEXT, VALID, TRAIN, CONTEXT], dtype=np.int8)
    drawn_items = []

    def cut(drawn):
        drawn_items.extend(drawn.items.tolist())
        return Split(phases, "made", "up")

    order, split = random_order(sequences, 3, cut)
    assert split.phase.tolist() == [CONTEXT, TRAIN, TEST, CONTEXT, TRAIN, VALID, CONTEXT]
    assert sequences.items[order][[2, 5]].tolist() == [drawn_items[1], drawn_items[4]]
    assert sequences.items[order][:2].tolist() == sorted({1, 2, 3} - {drawn_items[1]})
    assert sequences.items[order][3:5].tolist() == sorted({1, 2, 3} - {drawn_items[4]})
