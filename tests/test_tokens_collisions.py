"""Collision strategies: what they promise, and what they leave alone."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_unisid.errors import UserError
from recbole_unisid.tokens import tokenize_items
from recbole_unisid.tokens.collisions import balance, occurrence_numbers


def clustered(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((6, 5))[rng.integers(6, size=n)] + 0.05 * rng.standard_normal((n, 5))).astype(
        "f"
    )


def tokenized(vectors, collisions, sizes=(4, 4, 8), **options):
    ids = [f"i{row}" for row in range(len(vectors))]
    return tokenize_items(
        vectors, ids, codebook_sizes=list(sizes), collisions=collisions, show_progress=False, **options
    )


def distinct(codes):
    return len({tuple(row) for row in codes.tolist()})


def test_none_keeps_collisions():
    result = tokenized(clustered(), "none")
    assert distinct(result.codes) < 60
    assert result.health["collisions"] == {"strategy": "none"}


def test_suffix_counts_through_a_tuple():
    plain, result = tokenized(clustered(), "none"), tokenized(clustered(), "suffix")
    assert np.array_equal(result.codes[:, :3], plain.codes)
    assert distinct(result.codes) == 60
    assert result.codes[:, 3].max() + 1 == plain.health["largest_collision"]
    assert len(result.codebooks) == 4
    assert not result.codebooks[3].any()
    assert result.health["levels"][3]["distance"] == "suffix"


def test_occurrence_numbers():
    codes = np.array([[1, 2], [0, 0], [1, 2], [1, 2], [0, 0]])
    assert occurrence_numbers(codes).tolist() == [0, 0, 1, 2, 1]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 64), st.integers(0, 1000))
def test_balanced_tuples_are_distinct_up_to_the_last_one(n, seed):
    """Even with as many items as tuples (4 * 4 * 4), all equal."""
    vectors = clustered(n, seed) if seed % 2 else np.ones((n, 5), dtype="f")
    result = tokenized(vectors, "balanced", sizes=(4, 4, 4))
    assert distinct(result.codes) == n
    assert (result.codes >= 0).all()
    assert (result.codes < 4).all()


def test_balanced_refuses_more_items_than_tuples():
    with pytest.raises(UserError, match="65 items but 64 code tuples"):
        tokenized(np.ones((65, 5), dtype="f"), "balanced", sizes=(4, 4, 4))


def test_balanced_leaves_prefixes_without_collision_alone():
    plain, result = tokenized(clustered(), "none"), tokenized(clustered(), "balanced")
    prefixes = [tuple(row[:2]) for row in plain.codes.tolist()]
    for prefix in set(prefixes):
        rows = [row for row, own in enumerate(prefixes) if own == prefix]
        if distinct(plain.codes[rows]) == len(rows):
            moved_in = {tuple(row[:2]) for row in np.delete(result.codes, rows, axis=0).tolist()}
            assert np.array_equal(result.codes[rows], plain.codes[rows]) or prefix in moved_in


def test_balanced_shares_out_codes_at_the_least_error():
    """One level against every permutation."""
    rng = np.random.default_rng(1)
    vectors, book = rng.standard_normal((4, 3)).astype("f"), rng.standard_normal((5, 3)).astype("f")
    codes = balance(lambda rows: vectors[rows], np.zeros((4, 1), dtype=np.int64), [book], ["euclidean"])
    errors = ((vectors[:, None] - book[None]) ** 2).sum(axis=2)
    least = min(errors[range(4), list(choice)].sum() for choice in itertools.permutations(range(5), 4))
    assert errors[range(4), codes[:, 0]].sum() == pytest.approx(least)


def test_the_worst_fitting_leave_a_full_prefix():
    """Five items want prefix 0, which has two last codes: the three furthest go to the next-best prefix."""
    books = [np.array([[0.0], [10.0], [30.0]], dtype="f"), np.array([[0.0], [0.5]], dtype="f")]
    vectors = np.array([[0.0], [0.1], [2.0], [1.0], [3.0]], dtype="f")
    codes = np.zeros((5, 2), dtype=np.int64)
    result = balance(lambda rows: vectors[rows], codes, books, ["euclidean", "euclidean"])
    assert distinct(result) == 5
    assert result[[0, 1], 0].tolist() == [0, 0]
    assert sorted(result[[2, 3, 4], 0].tolist()) == [1, 1, 2]


@pytest.mark.parametrize("collisions", ["none", "suffix", "balanced"])
def test_new_items(collisions):
    """Codes for unseen vectors: deterministic, known items keep theirs, the strategy holds on."""
    vectors = clustered()
    result = tokenized(vectors, collisions)
    before = result.codes.copy()
    new = result.encode(np.concatenate([vectors[:7], clustered(5, seed=9)]))
    assert np.array_equal(new, result.encode(np.concatenate([vectors[:7], clustered(5, seed=9)])))
    assert np.array_equal(before, result.codes)
    assert new.shape == (12, result.codes.shape[1])
    sizes = [len(book) for book in result.codebooks]
    assert (new < sizes).all()
    if collisions == "none":
        assert np.array_equal(new[:7], before[:7])
    if collisions == "balanced":
        assert distinct(np.concatenate([before, new])) == 72


def test_unknown_strategy():
    with pytest.raises(UserError, match="Did you mean balanced"):
        tokenized(clustered(), "balance")
