"""An export that was damaged, mixed or trapped is refused in one line, and nothing in it runs."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file
from serving_material import FILES, WIDTH, Trap, UntrainedRun, write_export

from recbole_unisid.serving.export import export
from recbole_unisid.serving.recommender import Recommender, RecommenderError, digest_of


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
    """Put a file's size and hash into the manifest, and the manifest's own."""
    content = (folder / name).read_bytes()
    about = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    files = json.loads((folder / "manifest.json").read_text())["files"]
    write_manifest(folder, files=files | {name: about})


def write_manifest(folder: Path, **changes: object) -> None:
    """Change entries of the manifest and vouch for them."""
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    del manifest["sha256"]
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": digest_of(manifest)}))


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
        {"model": 3},
        {"max_length": 1 << 40},
        {"width": True},
        {"note": "no export has one"},
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copy: Path, change: dict[str, object]) -> None:
    """Other versions, other sizes, missing parts."""
    write_manifest(copy, **change)
    with pytest.raises(RecommenderError):
        Recommender(copy)


def test_files_of_two_exports_are_not_mixed(copy: Path, tmp_path: Path) -> None:
    """An index of another catalogue, even if vouched for."""
    other = export(UntrainedRun(n_items=30), tmp_path / "other")
    shutil.copyfile(other / "index.faiss", copy / "index.faiss")
    vouch_for(copy, "index.faiss")
    with pytest.raises(RecommenderError, match="belong together"):
        Recommender(copy)


def test_no_flipped_bit_goes_unseen(copy: Path) -> None:
    """Anywhere in any file; a letter of the data set's name too."""
    draw = random.Random(0)
    for name in FILES:
        content = (copy / name).read_bytes()
        places = (
            range(len(content))
            if name == "manifest.json"
            else [draw.randrange(len(content)) for _ in range(20)]
        )
        for place in places:
            changed = bytearray(content)
            changed[place] ^= 1 << draw.randrange(8)
            (copy / name).write_bytes(changed)
            try:
                Recommender(copy)
            except RecommenderError:
                continue
            assert name == "manifest.json"
            assert json.loads(changed) == json.loads(content), "white space may change"
        (copy / name).write_bytes(content)
    assert len(Recommender(copy).recommend(["i1"])) == 10


def test_an_older_export_is_read(copy: Path) -> None:
    """Its manifest has no checksum of its own."""
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["sha256"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert len(Recommender(copy).recommend(["i1"])) == 10


def other_vectors(path: Path, how: str) -> None:
    tensors = load_file(path)
    if how == "NaN":
        tensors["vectors"][3, 1] = np.nan
    elif how == "infinite":
        tensors["vectors"][0, 0] = np.inf
    elif how == "half precision":
        tensors["vectors"] = tensors["vectors"].astype(np.float16)
    else:
        tensors["vectors"] = tensors["vectors"] * 2
    save_file(tensors, path)


@pytest.mark.parametrize("how", ["NaN", "infinite", "half precision", "other numbers"])
def test_vectors_that_cannot_be_right_are_refused(copy: Path, how: str) -> None:
    """Behind a right checksum: not finite, of another type, or not those of the index."""
    other_vectors(copy / "vectors.safetensors", how)
    vouch_for(copy, "vectors.safetensors")
    with pytest.raises(RecommenderError):
        Recommender(copy)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_encoder_whose_states_are_not_numbers_is_refused(copy: Path, value: float) -> None:
    """Weights that are NaN, behind a right checksum, would rank nothing."""
    model = onnx.load(copy / "encoder.onnx")
    for weights in model.graph.initializer:
        array = numpy_helper.to_array(weights)
        if array.dtype == np.float32 and array.ndim == 2:
            weights.CopyFrom(numpy_helper.from_array(np.full_like(array, value), weights.name))
    onnx.save(model, copy / "encoder.onnx")
    vouch_for(copy, "encoder.onnx")
    with pytest.raises(RecommenderError):
        Recommender(copy)


@pytest.mark.parametrize("name", FILES[:-1])
def test_pipes_and_devices_are_not_read(copy: Path, tmp_path: Path, name: str) -> None:
    """They would be read for ever."""
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        (copy / name).unlink()
        (copy / name).symlink_to(target)
        started = time.monotonic()
        with pytest.raises(RecommenderError, match=name):
            Recommender(copy)
        assert time.monotonic() - started < 10
