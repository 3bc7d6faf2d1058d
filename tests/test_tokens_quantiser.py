"""The quantiser against a brute-force oracle in float64 that shares no code with it, and its properties."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recbole_unisid.tokens.quantiser import (
    code_distances,
    decode,
    directions,
    fitted_lengths,
    nearest_codes,
    quantise,
)
from recbole_unisid.tokens.residual_kmeans import KMeans

PATTERNS = list(itertools.product(["cosine", "euclidean"], repeat=3))


def oracle_distance(residual, code, distance):
    """What a level minimises, with Python's exactly rounded sums."""
    if distance == "cosine":
        lengths = [math.sqrt(math.fsum(x * x for x in vector)) for vector in (residual, code)]
        residual, code = (
            [x / length if length > 0 else 0.0 for x in vector]
            for vector, length in zip((residual, code), lengths, strict=True)
        )
    return math.fsum((x - y) ** 2 for x, y in zip(residual, code, strict=True))


def assert_right(vectors, codebooks, distances):
    """Every code of every level is the oracle's, or as near within 1e-6; exact ties take the lowest index."""
    parts = quantise(torch.from_numpy(vectors), [torch.from_numpy(book) for book in codebooks], distances)
    for row, codes in enumerate(parts.codes.tolist()):
        for level, (code, book, distance) in enumerate(zip(codes, codebooks, distances, strict=True)):
            residual = parts.residuals[row, level].tolist()
            found = [oracle_distance(residual, candidate, distance) for candidate in book.tolist()]
            best = min(found)
            assert found[code] <= best * (1 + 1e-6) + 1e-30, (row, level, code)
            if found[code] == best:
                assert code == found.index(best), (row, level, code)


@pytest.mark.parametrize("distances", PATTERNS)
def test_random_vectors(distances):
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((60, 12)).astype(np.float32)
    books = [rng.standard_normal((size, 12)).astype(np.float32) for size in (17, 1, 9)]
    assert_right(vectors, books, distances)


@pytest.mark.parametrize("distances", PATTERNS)
def test_adversarial_vectors(distances):
    """Zero vectors, duplicated points and codes, codes one rounding apart, points on codes, tiny and huge."""
    rng = np.random.default_rng(2)
    book = rng.standard_normal((8, 6)).astype(np.float32)
    book[3], book[5], book[6] = book[1], np.nextafter(book[1], np.float32(9)), 0
    vectors = np.concatenate(
        [np.zeros((2, 6)), book, book, book * 1e-8, book * 1e8, (book[:1] + book[1:]) / 2]
    )
    assert_right(vectors.astype(np.float32), [book, book * np.float32(1e-4), book], distances)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_ties_take_the_lowest_index(distance):
    codes = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = torch.tensor([[1.0, 1.0], [3.0, 3.0], [2.0, 0.0], [0.0, 5.0], [0.0, 0.0]])
    assert nearest_codes(points, codes, distance).tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_small_distances_beside_large_norms(shift):
    """Far from the origin |p|^2 - 2<p,c> + |c|^2 has no correct digit; the choice is right all the same."""
    rng = np.random.default_rng(3)
    book = (rng.standard_normal((32, 4)) * 1e-3 + shift).astype(np.float32)
    points = (rng.standard_normal((50, 4)) * 1e-3 + shift).astype(np.float32)
    assert_right(points, [book], ["euclidean"])


def test_chunks_do_not_change_codes():
    rng = np.random.default_rng(4)
    points = torch.from_numpy(rng.standard_normal((20_000, 3)).astype(np.float32))
    book = torch.from_numpy(rng.standard_normal((5, 3)).astype(np.float32))
    whole = nearest_codes(points, book, "euclidean")
    assert torch.equal(whole[12_345:], nearest_codes(points[12_345:], book, "euclidean"))


finite = st.floats(-100, 100, width=32)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (5, 4), elements=finite), arrays(np.float32, (3, 6, 4), elements=finite))
def test_residuals_telescope(vectors, books):
    books = [torch.from_numpy(book) for book in books]
    parts = quantise(torch.from_numpy(vectors), books, ["cosine", "cosine", "euclidean"])
    total = decode(parts.codes, books).double() + parts.residuals[:, -1].double()
    np.testing.assert_allclose(total.numpy(), vectors, atol=1e-3)
    assert torch.equal(parts.residuals[:, 0], torch.from_numpy(vectors))


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float32, (6, 4), elements=finite),
    arrays(np.float32, (7, 4), elements=finite),
    st.floats(2.0**-20, 2.0**20),
)
def test_a_cosine_level_does_not_see_scale(vectors, book, factor):
    points, codes = torch.from_numpy(vectors).double(), torch.from_numpy(book)
    before = nearest_codes(points, codes, "cosine")
    assert torch.equal(before, nearest_codes(points * factor, codes, "cosine"))
    assert torch.equal(before, nearest_codes(points, codes * 4, "cosine"))


def squared_error(points, book, distance):
    return float(quantise(points, [book], [distance]).residuals[:, -1].double().square().sum())


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=finite),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.05, 1.0]),
)
def test_a_fitted_level_never_raises_the_error(points, size, balance):
    tensor = torch.from_numpy(points)
    before = float(tensor.double().square().sum())
    engine = KMeans(iterations=10, balance=balance)
    euclidean = torch.from_numpy(engine.fit(points, size, "euclidean", np.random.default_rng(0)))
    assert squared_error(tensor, euclidean, "euclidean") <= before * (1 + 1e-6) + 1e-12
    directions = torch.from_numpy(engine.fit(points, size, "cosine", np.random.default_rng(0)))
    fitted = fitted_lengths(tensor, directions)
    assert squared_error(tensor, fitted, "cosine") <= before * (1 + 1e-6) + 1e-12


def test_fitted_length_is_the_best_length():
    rng = np.random.default_rng(5)
    points = torch.from_numpy(rng.standard_normal((200, 5)).astype(np.float32))
    unit = torch.from_numpy(KMeans().fit(points.numpy(), 4, "cosine", rng))
    np.testing.assert_allclose(unit.norm(dim=1), 1, atol=1e-6)
    fitted = fitted_lengths(points, unit)
    assert torch.equal(nearest_codes(points, unit, "cosine"), nearest_codes(points, fitted, "cosine"))
    least = squared_error(points, fitted, "cosine")
    for factor in (0.9, 1.1):
        for code in range(4):
            other = fitted.clone()
            other[code] *= factor
            assert squared_error(points, other, "cosine") > least


@pytest.mark.parametrize("balance", [0.0, 0.05])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_kmeans_uses_every_code(distance, balance):
    rng = np.random.default_rng(6)
    blob = rng.standard_normal((1, 8)) + 0.01 * rng.standard_normal((500, 8))
    outliers = 50 * rng.standard_normal((6, 8))
    points = np.concatenate([blob, outliers]).astype(np.float32)
    book = torch.from_numpy(KMeans(balance=balance).fit(points, 32, distance, rng))
    assert len(nearest_codes(torch.from_numpy(points), book, distance).unique()) == 32


def test_fewer_points_than_codes_become_codes():
    points = np.array([[1, 0], [0, 2], [1, 0]], dtype=np.float32)
    book = torch.from_numpy(KMeans().fit(points, 5, "euclidean", np.random.default_rng(0)))
    assert book.shape == (5, 2)
    assert squared_error(torch.from_numpy(points), book, "euclidean") == 0


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_directions_have_length_one_at_any_scale(scale):
    """Neither the largest nor the smallest numbers overflow or vanish; zero stays zero; the last axis counts."""
    vectors = torch.tensor([[[3.0, 4.0, 0.0], [0.0, -2.0, 0.0]], [[0.0, 0.0, 0.0], [1.0, 2.0, 2.0]]]).double()
    expected = torch.tensor([[[0.6, 0.8, 0], [0, -1, 0]], [[0, 0, 0], [1 / 3, 2 / 3, 2 / 3]]]).double()
    assert torch.allclose(directions(vectors * scale), expected, rtol=1e-6, atol=0)
    beside = torch.cat([vectors * scale, vectors * 1e200])  # each by itself, whatever stands beside it
    assert torch.allclose(directions(beside), torch.cat([expected, expected]), rtol=1e-6, atol=0)


def test_distances_of_a_level_are_the_oracles():
    """Squared distances, between directions at a cosine level."""
    rng = np.random.default_rng(5)
    points, book = rng.standard_normal((6, 4)), rng.standard_normal((3, 4))
    for distance in ("cosine", "euclidean"):
        found = code_distances(torch.from_numpy(points), torch.from_numpy(book), distance)
        expected = [[oracle_distance(p, c, distance) for c in book.tolist()] for p in points.tolist()]
        assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64))


def test_two_codes_that_only_rounding_parts():
    """At a distance of 1e8 from the origin the fast formula is off by whole units; the nearer code is chosen."""
    rng = np.random.default_rng(6)
    points = 1e8 + rng.uniform(-1, 1, (200, 3))
    book = 1e8 + np.array([[0.0, 0.0, 0.0], [0.25, 0.25, 0.25]])
    chosen = nearest_codes(torch.from_numpy(points), torch.from_numpy(book), "euclidean")
    expected = ((points[:, None] - book) ** 2).sum(-1).argmin(1)
    assert chosen.tolist() == expected.tolist()
    assert 0 < chosen.sum() < 200


def test_the_parts_have_their_shapes():
    """Levels stand in the middle: [n, levels, width], residuals with the input before and the rest after."""
    rng = np.random.default_rng(7)
    vectors = torch.from_numpy(rng.standard_normal((5, 3)))
    books = [torch.from_numpy(rng.standard_normal((4, 3))) for _ in range(2)]
    parts = quantise(vectors, books, ["cosine", "euclidean"])
    assert parts.codes.shape == (5, 2)
    assert parts.quantised.shape == (5, 2, 3)
    assert parts.residuals.shape == (5, 3, 3)
    assert torch.allclose(parts.quantised.sum(dim=1), decode(parts.codes, books))
    with pytest.raises(ValueError, match="zip"):
        quantise(vectors, books, ["cosine"])


def test_lengths_of_codes_with_one_member_with_none_and_with_an_opposite_one():
    """One member: its projection. None: the mean of all projections. A negative one keeps the direction."""
    residuals = torch.tensor([[4.0, 0.0], [6.0, 0.0], [0.0, 3.0]], requires_grad=True)
    book = torch.tensor([[2.0, 0.0], [0.0, 5.0], [0.0, -1.0]])
    fitted = fitted_lengths(residuals, book)
    assert torch.allclose(fitted, torch.tensor([[5.0, 0.0], [0.0, 3.0], [0.0, -13 / 3]]))
    assert not fitted.requires_grad
    alone = fitted_lengths(torch.tensor([[-2.0, 0.5]]), torch.tensor([[1.0, 0.0]]))
    assert torch.equal(directions(alone), torch.tensor([[1.0, 0.0]]))
    assert 1e-12 < float(alone.norm()) < 1e-6
