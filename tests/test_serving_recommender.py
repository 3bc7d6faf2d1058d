"""What an export answers, and a run served live: the model's own items, similar ones, search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from serving_material import HOSTILE, MAX_LENGTH, N_ITEMS, UntrainedRun, write_export

from recbole_unisid.serving.recommend import RunRecommender
from recbole_unisid.serving.recommender import Recommender, RecommenderError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder that no test changes."""
    return write_export(tmp_path_factory.mktemp("export") / "toys")


def histories(count: int, longest: int, seed: int = 1) -> list[NDArray[np.int64]]:
    """Random item numbers, 1 to `longest` of them."""
    generator = np.random.default_rng(seed)
    return [generator.integers(1, N_ITEMS + 1, generator.integers(1, longest + 1)) for _ in range(count)]


def expected_items(scores: NDArray[np.float32], seen: NDArray[np.int64], k: int) -> list[str]:
    """The best items by one row of scores over all item numbers."""
    allowed = scores.copy()
    allowed[[0, *seen.tolist()]] = -np.inf
    return [f"i{number}" for number in np.argsort(-allowed, kind="stable")[:k]]


def names(history: NDArray[np.int64]) -> list[str]:
    return [f"i{number}" for number in history]


@pytest.mark.parametrize("index", ["exact", "hnsw", "ivf"])
def test_an_export_recommends_what_the_model_does(index: str, tmp_path: Path) -> None:
    """Any length of history, shorter and longer than the model reads, alone and in batches; scores too."""
    run, recommender = UntrainedRun(), Recommender(write_export(tmp_path / "export", index))
    asked = histories(50, 2 * MAX_LENGTH)
    scores = run.scores(asked)
    expected = [expected_items(row, history, 10) for row, history in zip(scores, asked, strict=True)]
    found = recommender.recommend_many([names(history) for history in asked])
    alike = [len(set(a) & {item.id for item in b}) / 10 for a, b in zip(expected, found, strict=True)]
    # Of so small a catalogue the approximate ones look at nearly all.
    assert np.mean(alike) >= (1 if index == "exact" else 0.95)
    for history, row, items in zip(asked, scores, found, strict=True):
        assert recommender.recommend(names(history)) == [
            item._replace(score=pytest.approx(item.score, abs=1e-5)) for item in items
        ]
        listed = [row[int(item.id[1:])] for item in items]
        np.testing.assert_allclose([item.score for item in items], listed, atol=1e-5)


def test_a_run_served_live_answers_as_its_export_does(folder: Path) -> None:
    """Same items and scores, seen ones left out or not, similar items."""
    live, exported = RunRecommender(UntrainedRun()), Recommender(folder)
    for history in histories(20, 9):
        for seen in (False, True):
            one, other = (each.recommend(names(history), 8, seen) for each in (live, exported))
            assert [item.id for item in one] == [item.id for item in other]
            np.testing.assert_allclose(
                [item.score for item in one], [item.score for item in other], atol=1e-5
            )
    assert [item.id for item in live.similar("i9")] == [item.id for item in exported.similar("i9")]


def test_a_model_without_item_vectors_has_no_similar_items_but_recommends() -> None:
    """TIGER's kind: live, from its scores alone."""
    run = UntrainedRun()
    fixed = run.scores([np.array([1])])
    run.config["model"], run.item_vectors, run.codes = "TIGER", None, None
    run.scores = lambda asked: np.repeat(fixed, len(asked), axis=0)
    live = RunRecommender(run)
    assert [item.id for item in live.recommend(["i1"])] == expected_items(fixed[0], np.array([1]), 10)
    with pytest.raises(RecommenderError, match="TIGER has no item vectors"):
        live.similar("i1")


def test_a_live_run_keeps_to_the_catalogue_in_ties_and_to_what_the_model_lists() -> None:
    """Of items that score the same the first come; what has no score (beyond a beam) never does."""
    run = UntrainedRun()
    tied = np.full((1, N_ITEMS + 1), 1.0, dtype=np.float32)
    tied[0, N_ITEMS] = 2.0
    run.scores = lambda asked: np.repeat(tied, len(asked), axis=0)
    found = RunRecommender(run).recommend(["i2"], 5)
    assert [item.id for item in found] == [f"i{N_ITEMS}", "i1", "i3", "i4", "i5"]
    listed = np.full((1, N_ITEMS + 1), -np.inf, dtype=np.float32)
    listed[0, [3, 5, 7]] = [1.0, 3.0, 2.0]
    run.scores = lambda asked: np.repeat(listed, len(asked), axis=0)
    assert [item.id for item in RunRecommender(run).recommend(["i7"], 10)] == ["i5", "i3"]


def test_similar_items_that_tie_come_in_the_order_of_the_catalogue() -> None:
    """Items of one vector (SemanticID's, say) are all equally near."""
    run = UntrainedRun()
    run.item_vectors = np.ones_like(run.item_vectors)
    assert [item.id for item in RunRecommender(run).similar("i2", 4)] == ["i1", "i3", "i4", "i5"]


def test_similar_items_are_those_of_the_highest_cosine(folder: Path) -> None:
    """Against all cosines, computed otherwise."""
    vectors = UntrainedRun().item_vectors[1:].astype(np.float64)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units[4]
    cosines[4] = -2
    found = Recommender(folder).similar("i5", 6)
    assert [item.id for item in found] == [f"i{row + 1}" for row in np.argsort(-cosines)[:6]]
    np.testing.assert_allclose([item.score for item in found], -np.sort(-cosines)[:6], atol=1e-6)


def test_questions_at_the_edges(folder: Path) -> None:
    """More items than there are, all of them seen, one item over and over, and what is no question."""
    recommender = Recommender(folder)
    assert len(recommender.recommend(["i1"], k=10**9)) == N_ITEMS - 1
    assert len(recommender.recommend(["i1"], k=10**9, seen=True)) == N_ITEMS
    assert recommender.recommend([f"i{k}" for k in range(1, N_ITEMS + 1)]) == []
    assert len(recommender.recommend(["i1"] * 5000)) == 10
    assert recommender.recommend_many([]) == []
    assert "i1" in recommender
    assert "i0" not in recommender
    for history, k in (([], 1), ("i1", 1), (["i1"], 0), (["i1"], True), (["i1"], 1.5), (["i0"], 1), ([1], 1)):
        with pytest.raises(RecommenderError):
            recommender.recommend(history, k)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("lavender sham", "lavender shampoo 72"),
        ("SHAMPOO lavender", "shampoo lavender 65"),
        ("creme brulee", "Crème brûlée de Müller"),
        ("i77", "cream shampoo 77"),
        ("i2", HOSTILE[1]),
        ("עולם", "שלום עולם \u202eright-to-left override"),
        ("wwwwwwww", "W" * 10_000),
        ("onerror='window.hacked", "</script><img src=x onerror='window.hacked = 2'>"),
    ],
)
def test_search_finds_titles(folder: Path, text: str, first: str) -> None:
    """Words in any order, without case and accents, names of items, any script."""
    run, found = UntrainedRun(), Recommender(folder).search(text)
    assert found[0].title == first
    if "creme" not in text:
        lines = [f"{title} {item}".lower() for title, item in zip(run.titles, run.item_ids, strict=True)]
        matching = sum(all(word in line for word in text.lower().split()) for line in lines[1:])
        assert len(found) == min(20, matching)


def test_search_ranks_beginnings_first_and_knows_when_to_stop(folder: Path) -> None:
    """Titles that begin with the text, then words that do; nothing for nothing."""
    recommender = Recommender(folder)
    titles = [item.title for item in recommender.search("brush", 100)]
    begin = [title.startswith("brush") for title in titles]
    assert begin == sorted(begin, reverse=True)
    assert any(begin)
    assert not all(begin)
    assert recommender.search("no such title") == []
    assert len(recommender.search("", 7)) == 7
    assert recommender.search("brush", 0) == []
