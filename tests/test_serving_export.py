"""The exported folder: whole, described by its manifest, free of torch, refused where it cannot be made."""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from kills import end_with, killed_at
from serving_material import FILES, MAX_LENGTH, N_ITEMS, WIDTH, UntrainedRun, write_export

from recbole_unisid.errors import UserError
from recbole_unisid.files import scratch_folder
from recbole_unisid.serving import export as export_module
from recbole_unisid.serving.export import build_index, choose_kind, export
from recbole_unisid.serving.recommender import Recommender


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder that no test changes."""
    return write_export(tmp_path_factory.mktemp("export") / "toys")


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


def test_an_export_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop in the middle leaves what was there before; another folder is never replaced."""
    place = tmp_path / "export"
    with monkeypatch.context() as patch:
        patch.setattr(export_module, "build_index", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
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


def test_a_link_is_followed_and_kept(tmp_path: Path) -> None:
    """What it leads to is written, be it an export, an empty folder, or not there; nothing else is replaced."""
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "store" / "one", target_is_directory=True)
    for n_items in (30, 40):
        assert export(UntrainedRun(n_items=n_items), link) == link
        assert link.is_symlink()
        assert len(Recommender(link)) == len(Recommender(tmp_path / "store" / "one")) == n_items
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "file").write_text("years of work")
    (tmp_path / "to file").symlink_to(tmp_path / "file")
    for refused in ("round", "to file"):
        with pytest.raises(UserError, match=refused) as raised:
            write_export(tmp_path / refused)
        assert "\n" not in str(raised.value)
        assert (tmp_path / refused).is_symlink()
    assert (tmp_path / "file").read_text() == "years of work"


def test_what_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    """By the next one; what another process is writing stays."""
    code = """
import os, signal, sys
from pathlib import Path
from serving_material import write_export
from recbole_unisid.serving import export
export.build_index = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_export(Path(sys.argv[1]))
"""
    place = tmp_path / "exp"
    command = [sys.executable, "-c", code, str(place)]
    assert (
        subprocess.run(
            command, cwd=Path(__file__).parent, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ).returncode
        == -9
    )
    assert len(list(tmp_path.iterdir())) == 1
    with scratch_folder(place) as alive:
        write_export(place)
        assert set(tmp_path.iterdir()) == {alive, place}


# Where folders cannot change places in one step, as on some network's disks, the export is absent for a moment.
@pytest.mark.parametrize("at_once", [True, False])
def test_a_kill_at_any_step_leaves_an_export_old_or_new(
    at_once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a mixture of two; and the next export leaves itself alone."""
    place, shelf = tmp_path / "shop" / "exp", {}
    for n_items in (30, 40):
        shelf[n_items] = export(UntrainedRun(n_items=n_items), tmp_path / str(n_items))
    old, new = (contents(shelf[n_items]) for n_items in (30, 40))
    monkeypatch.setattr(
        "recbole_unisid.serving.export._write",
        lambda _, part, *__: shutil.copytree(shelf[40], part, dirs_exist_ok=True),
    )
    if not at_once:
        monkeypatch.setattr("recbole_unisid.files.ctypes.CDLL", lambda _: SimpleNamespace())
    run, states = UntrainedRun(n_items=40), []
    for step in itertools.count(1):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(shelf[30], place)
        killed = killed_at(step, lambda: export(run, place), ("open", "os.", "shutil.", "ctypes."))
        states.append(contents(place) if place.exists() else None)
        export(run, place)
        assert contents(place) == new
        assert [path.name for path in place.parent.iterdir()] == ["exp"]
        if not killed:
            break
    assert states[0] == old
    assert states[-1] == new
    assert len(states) > 20
    assert states.count(None) == (0 if at_once else 1)
    assert all(state in (old, new, None) for state in states)
    assert list(dict.fromkeys(map(str, states))) == [str(old), *([] if at_once else ["None"]), str(new)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("there", [True, False])
def test_exports_to_one_place_at_once_end_well(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them is there, whole, and nothing beside it."""
    place = tmp_path / "shop" / "exp"
    shelf = [export(UntrainedRun(n_items=n_items), tmp_path / str(n_items)) for n_items in (30, 40)]
    if there:
        export(UntrainedRun(n_items=50), place)
    monkeypatch.setattr(
        "recbole_unisid.serving.export._write",
        lambda run, part, *_: shutil.copytree(shelf[len(run.item_ids) == 41], part, dirs_exist_ok=True),
    )
    children = []
    for n_items in (30, 40):
        children.append(os.fork())
        if not children[-1]:
            run = UntrainedRun(n_items=n_items)
            end_with(lambda run=run: [export(run, place) for _ in range(40)])
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert contents(place) in [contents(folder) for folder in shelf]
    assert [path.name for path in place.parent.iterdir()] == ["exp"]
