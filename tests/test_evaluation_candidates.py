"""Sampled candidates: what they must hold for every data set, and that they are uniform."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.evaluation.candidates import history_lengths, sample_negatives, seen_pairs


def of_lists(lists, n_items):
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
    items = np.array([item for one in lists for item in one], dtype=np.int64)
    users = np.array([f"u{row}" for row in range(len(lists))], dtype=str)
    names = np.array(["[PAD]", *(f"i{item}" for item in range(1, n_items + 1))])
    return UserSequences(items, offsets, None, users, names)


@st.composite
def data(draw):
    n_items = draw(st.integers(1, 30))
    lists = draw(st.lists(st.lists(st.integers(1, n_items), max_size=12), min_size=1, max_size=8))
    return of_lists(lists, n_items)


@settings(max_examples=150, deadline=None)
@given(data(), st.integers(1, 25), st.integers(1, 5))
def test_negatives_are_distinct_unseen_items_as_many_as_there_are(sequences, count, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recbole_unisid.evaluation.candidates._BLOCK", block)
        drawn = sample_negatives(sequences, count)
    assert drawn.shape == (sequences.n_users, count)
    for user, row in enumerate(drawn):
        others = set(range(1, sequences.n_items + 1)) - set(sequences.of(user).tolist())
        real = row[row > 0].tolist()
        assert len(real) == len(set(real)) == min(count, len(others))
        assert set(real) <= others
        assert row[count - len(real) :].tolist() == sorted(real)


@settings(max_examples=50, deadline=None)
@given(data(), st.data())
def test_asking_for_some_users_gives_the_rows_of_all(sequences, draw):
    some = draw.draw(st.sets(st.integers(0, sequences.n_users - 1)))
    some = np.array(sorted(some), dtype=np.int64)
    assert (sample_negatives(sequences, 5, users=some) == sample_negatives(sequences, 5)[some]).all()


def test_every_unseen_item_is_as_likely_as_every_other():
    seen = [2, 3, 9]
    drawn = sample_negatives(of_lists([seen] * 20_000, 12), count=4, seed=1)
    counts = np.bincount(drawn.ravel(), minlength=13)
    assert counts[[0, *seen]].tolist() == [0, 0, 0, 0]
    others = np.delete(counts, [0, *seen])
    # Drawing 4 of 9 without replacement: each count is binomial(20000, 4/9).
    assert np.abs(others - 20_000 * 4 / 9).max() < 4 * np.sqrt(20_000 * 4 / 9 * 5 / 9)
    pairs = np.zeros((13, 13))
    for one in range(4):
        for other in range(4):
            if one != other:
                np.add.at(pairs, (drawn[:, one], drawn[:, other]), 1)
    joint = pairs[pairs > 0]
    assert len(joint) == 9 * 8
    assert stats.chisquare(joint / 2, np.full(72, joint.sum() / 144)).pvalue > 1e-4


def test_the_protocols_numbers_never_change():
    sequences = of_lists([[1, 2], [3], [50, 4, 4]], 60)
    drawn = sample_negatives(sequences, 5)
    assert drawn.tolist() == [[8, 11, 12, 49, 58], [1, 18, 26, 31, 57], [18, 29, 48, 51, 57]]
    assert (sample_negatives(sequences, 5, seed=1) != drawn).any()


def test_users_out_of_order_are_refused():
    with pytest.raises(ValueError, match="ascending"):
        sample_negatives(of_lists([[1], [2]], 9), users=np.array([1, 0]))


@settings(max_examples=50, deadline=None)
@given(data(), st.data())
def test_histories_are_what_stands_before_the_targets(sequences, draw):
    places = draw.draw(st.sets(st.integers(0, max(0, len(sequences.items) - 1)), max_size=10))
    positions = np.array(sorted(p for p in places if p < len(sequences.items)), dtype=np.int64)
    rows, items = seen_pairs(sequences, positions)
    lengths = history_lengths(sequences, positions)
    flat = [(user, place) for user in range(sequences.n_users) for place in range(len(sequences.of(user)))]
    for case, position in enumerate(positions):
        user, place = flat[position]
        assert sequences.owners(positions)[case] == user
        assert lengths[case] == place
        assert items[rows == case].tolist() == sequences.of(user)[:place].tolist()
