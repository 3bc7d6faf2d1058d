"""The health report, against counts made by hand."""

import json

import numpy as np
import pytest

from recbole_unisid.tokens import tokenize_items
from recbole_unisid.tokens.health import (
    code_usage,
    collision_health,
    health_table,
    neighbours_kept,
    prefix_purity,
    reconstruction_error,
)


def test_usage():
    assert code_usage(np.array([0, 0, 2, 2]), 5) == (2, pytest.approx(2.0))
    assert code_usage(np.array([1, 1, 1]), 2) == (1, pytest.approx(1.0))
    assert code_usage(np.arange(8), 8) == (8, pytest.approx(8.0))


def test_collisions():
    codes = np.array([[1, 1], [1, 2], [1, 1], [3, 3], [1, 1], [3, 3]])
    health = collision_health(codes, list("abcdef"), ["A", "B", "C", "D", "E", "F"], listed=2)
    assert health["distinct_fraction"] == 3 / 6
    assert health["alone_fraction"] == 1 / 6
    assert health["largest_collision"] == 3
    expected = [{"item_id": "a", "title": "A"}, {"item_id": "c", "title": "C"}]
    assert health["largest_collision_items"] == expected
    assert "largest_collision_items" not in collision_health(codes[[0, 1, 3]], list("abc"))


def test_reconstruction_error_is_the_share_of_variance_lost():
    vectors = np.array([[0, 0], [2, 0], [4, 6]], dtype=np.float32)
    mean = np.broadcast_to(vectors.mean(axis=0), vectors.shape)
    assert reconstruction_error(vectors, vectors) == 0
    assert reconstruction_error(vectors, mean) == pytest.approx(1)
    assert reconstruction_error(vectors, (vectors + mean) / 2) == pytest.approx(0.25)
    assert reconstruction_error(np.ones((4, 2), dtype="f"), np.ones((4, 2), dtype="f")) == 0


def test_neighbours_kept_against_brute_force():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((40, 6)).astype("f")
    decoded = vectors + rng.standard_normal((40, 6)).astype("f")
    centred = [table - vectors.mean(axis=0) for table in (vectors, decoded)]
    shares = []
    for row in range(40):
        near = []
        for table in centred:
            cosine = table @ table[row] / np.linalg.norm(table, axis=1)
            near.append(set(np.argsort(-cosine)[1:6]))
        shares.append(len(near[0] & near[1]) / 5)
    assert neighbours_kept(vectors, decoded, rng, k=5) == pytest.approx(np.mean(shares))
    assert neighbours_kept(vectors, vectors, rng) == 1
    assert neighbours_kept(vectors[:1], vectors[:1], rng) == 1
    assert neighbours_kept(vectors[:3], vectors[:3], rng) == 1


def test_purity_against_shuffled_codes():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=400)
    categories = [f"c{label}" if row else "" for row, label in enumerate(labels)]
    codes = np.stack([labels, rng.integers(50, size=400)], axis=1)
    meaning = prefix_purity(codes, categories, rng)
    assert meaning[0]["purity"] == 1
    assert meaning[0]["shuffled"] < 0.4
    assert meaning[1]["shuffled"] > 0.6  # small groups are pure by chance
    nonsense = prefix_purity(codes[:, 1:], categories, rng)
    assert abs(nonsense[0]["purity"] - nonsense[0]["shuffled"]) < 0.05
    assert prefix_purity(codes, [""] * 400, rng) == []


@pytest.mark.parametrize("collisions", ["none", "suffix", "balanced"])
def test_the_report_has_the_contract_s_keys_and_a_table(collisions):
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.standard_normal((20, 5)).astype("f"), 2, axis=0)
    ids = [f"i{row}" for row in range(40)]
    health = tokenize_items(
        vectors, ids, codebook_sizes=[4, 4, 4], collisions=collisions, titles=[f"T{i}" for i in ids],
        categories=["x", "y"] * 20, show_progress=False,
    ).health  # fmt: skip
    assert json.loads(json.dumps(health, allow_nan=False)) == health
    assert {"name", "levels", "distinct_fraction", "alone_fraction", "largest_collision"} <= health.keys()
    assert {"size", "distance", "used", "perplexity"} <= health["levels"][0].keys()
    text = health_table(health)
    assert ("T0" in text or "Ti" in text) == (collisions == "none")
    assert f"collisions: {collisions}" in text
    assert all(len(line) < 120 for line in text.splitlines())


@pytest.mark.parametrize(("size", "said"), [(64, True), (8, False)])
def test_codes_that_are_hardly_shared_are_said(size: int, said: bool) -> None:
    """60 items with 64 codes a level have tokens that are no better than IDs."""
    vectors = np.random.default_rng(0).standard_normal((60, 5)).astype("f")
    ids = [str(row) for row in range(60)]
    made = tokenize_items(vectors, ids, codebook_sizes=[size, 4], collisions="none", show_progress=False)
    text = health_table(made.health)
    assert ("hardly any are shared" in text) == said
    assert all(len(line) < 120 for line in text.splitlines())
