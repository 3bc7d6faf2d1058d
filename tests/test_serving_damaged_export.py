"""An export that was damaged, mixed or trapped is refused in one line, and nothing in it runs."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
from serving_material import FILES, WIDTH, Trap, UntrainedRun, write_export

from recbole_unisid.serving.export import export
from recbole_unisid.serving.recommender import Recommender, RecommenderError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder that no test changes."""
    return write_export(tmp_path_factory.mktemp("export") / "toys")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


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
