"""The exported folder: whole, checked, free of torch, and with the model's own answers."""

from __future__ import annotations

import ast
import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from serving_material import HOSTILE, MAX_LENGTH, N_ITEMS, WIDTH, UntrainedRun, write_export

from recbole_unisid.errors import UserError
from recbole_unisid.serving import export as export_module
from recbole_unisid.serving.export import export
from recbole_unisid.serving.index import build_index, choose_kind
from recbole_unisid.serving.live import RunRecommender
from recbole_unisid.serving.recommender import Recommender, RecommenderError

FILES = (
    "manifest.json",
    "items.json",
    "vectors.safetensors",
    "index.faiss",
    "encoder.onnx",
    "recommender.py",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder that no test changes."""
    return write_export(tmp_path_factory.mktemp("export") / "toys")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


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


def test_the_folder_alone_recommends_without_torch_and_without_this_package(
    folder: Path, tmp_path: Path
) -> None:
    """A copy elsewhere, an isolated interpreter, recommender.py from the folder."""
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    code = f"""
import sys
sys.path.insert(0, {str(moved)!r})
import recommender
found = recommender.Recommender({str(moved)!r}).recommend(["i1", "i2"], 5)
print([item.id for item in found])
print([name for name in ("torch", "recbole", "recbole_unisid", "pandas", "scipy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    recommended, loaded = done.stdout.splitlines()
    assert ast.literal_eval(recommended) == [
        item.id for item in Recommender(folder).recommend(["i1", "i2"], 5)
    ]
    assert loaded == "[]"


def test_the_manifest_tells_what_is_there(folder: Path) -> None:
    """Sizes, and a SHA-256 of every other file."""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert (manifest["schema"], manifest["items"], manifest["width"]) == (1, N_ITEMS, WIDTH)
    assert (manifest["max_length"], manifest["index"]) == (MAX_LENGTH, {"kind": "exact"})
    for name in FILES[1:]:
        content = (folder / name).read_bytes()
        about = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert manifest["files"][name] == about


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", FILES[:-1])
def test_a_pickle_in_any_files_place_is_refused_and_not_run(copy: Path, tmp_path: Path, name: str) -> None:
    """Even where the manifest vouches for it."""
    mark = tmp_path / "it ran"
    trap = pickle.dumps(Trap(mark))
    pickle.loads(trap)
    assert mark.exists(), "the trap works"
    mark.unlink()
    (copy / name).write_bytes(trap)
    if name != "manifest.json":
        vouch_for(copy, name)
    with pytest.raises(RecommenderError):
        Recommender(copy)
    assert not mark.exists()


def vouch_for(folder: Path, name: str) -> None:
    """Put a file's hash into the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name]["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", FILES[:-1])
def test_a_damaged_or_missing_file_is_one_line(copy: Path, name: str) -> None:
    """One byte changed, cut short, gone: the file is named."""
    content = (copy / name).read_bytes()
    half = len(content) // 2
    changed = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    for damaged in (changed, content[:half], b"", None):
        if damaged is None:
            (copy / name).unlink()
        else:
            (copy / name).write_bytes(damaged)
        if (name, damaged) == ("manifest.json", changed):
            continue  # it may have hit a note that nothing reads
        with pytest.raises(RecommenderError) as raised:
            Recommender(copy)
        assert str(copy) in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"width": WIDTH + 1},
        {"width": "12"},
        {"max_length": 0},
        {"index": {"kind": "other"}},
        {"index": {"kind": "hnsw"}},
        {"files": {"../index.faiss": {}}},
        {"files": []},
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copy: Path, change: dict[str, object]) -> None:
    """Other versions, other sizes, missing parts."""
    manifest = json.loads((copy / "manifest.json").read_text()) | change
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RecommenderError):
        Recommender(copy)


def test_files_of_two_exports_are_not_mixed(copy: Path, tmp_path: Path) -> None:
    """An index of another catalogue, even if vouched for."""
    other = export(UntrainedRun(n_items=30), tmp_path / "other")
    shutil.copyfile(other / "index.faiss", copy / "index.faiss")
    vouch_for(copy, "index.faiss")
    with pytest.raises(RecommenderError, match="belong together"):
        Recommender(copy)


def test_an_export_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop in the middle leaves what was there before; another folder is never replaced."""
    place = tmp_path / "export"
    with monkeypatch.context() as patch:
        patch.setattr(export_module, "write_index", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_export(place)
        assert list(tmp_path.iterdir()) == []
    export(UntrainedRun(n_items=40), place)
    assert len(Recommender(place)) == 40
    export(UntrainedRun(n_items=50), place)
    assert len(Recommender(place)) == 50
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    (place / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="no export"):
        write_export(place)
    assert (place / "thesis.tex").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_one_line(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install, and no folder."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"needs {package}.*pip install"):
        write_export(tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_other_models_are_refused_in_one_line(tmp_path: Path) -> None:
    """With the names of those that can be exported."""
    run = SimpleNamespace(path=Path("runs/x"), config={"model": "TIGER"}, item_vectors=None)
    with pytest.raises(UserError, match=r"TIGER, which has no item vectors.*UniSID") as raised:
        export(run, tmp_path / "export")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_the_index_is_chosen_by_size_or_named() -> None:
    """auto, the three kinds, and no other."""
    kinds = [choose_kind("auto", size) for size in (10, 100_000, 100_001, 2_000_000, 2_000_001)]
    assert kinds == ["exact", "exact", "hnsw", "hnsw", "ivf"]
    with pytest.raises(UserError, match="Did you mean hnsw"):
        choose_kind("hnws", 10)
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    for kind in ("exact", "hnsw", "ivf"):  # fewer items than a list wants
        index, about = build_index(vectors, kind)
        assert (index.ntotal, about["kind"]) == (3, kind)
        assert index.search(vectors[:1], 1)[1][0, 0] == (vectors @ vectors[0]).argmax()
