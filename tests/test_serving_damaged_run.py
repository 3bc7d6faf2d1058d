"""A run folder that was damaged or trapped is refused in one line, and nothing in it runs."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from serving_material import Trap

import recbole_unisid
from recbole_unisid.errors import UserError


@pytest.fixture
def broken(served_runs: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a UniSID run, to be damaged."""
    shutil.copytree(served_runs("UniSID"), tmp_path / "run")
    return tmp_path / "run"


def change_result(folder: Path, **changes: Any) -> None:
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | changes))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: shutil.rmtree(run), ["no run folder"]),
        (lambda run: (run / "result.json").unlink(), ["no finished run"]),
        (lambda run: cut(run / "result.json"), ["result.json", "damaged"]),
        (lambda run: change_result(run, status="running"), ["not complete"]),
        (lambda run: change_result(run, schema=2), ["schema 2"]),
        (lambda run: change_result(run, versions={"recbole_unisid": "9.4.1"}), ["recbole_unisid 9.4.1"]),
        (
            lambda run: change_result(
                run, versions={"recbole_unisid": recbole_unisid.__version__, "torch": "1.13.1"}
            ),
            ["torch 1.13.1"],
        ),
        (lambda run: (run / "serving.json").unlink(), ["serving.json", "nothing is trained twice"]),
        (lambda run: cut(run / "serving.json"), ["serving.json", "damaged"]),
        (lambda run: cut(run / "model.safetensors"), ["model.safetensors", "damaged"]),
        (lambda run: (run / "model.safetensors").unlink(), ["model.safetensors", "missing"]),
        (lambda run: cut(run / "items.tsv"), ["items.tsv", "damaged"]),
        (lambda run: cut(run / "tokens.tsv"), ["tokens.tsv", "damaged"]),
        (lambda run: cut(run / "tokenizer.safetensors"), ["tokenizer.safetensors", "damaged"]),
        (lambda run: (run / "config.yaml").unlink(), ["config.yaml"]),
        (lambda run: (run / "config.yaml").write_text("model: [UniSID"), ["config.yaml"]),
        (lambda run: (run / "config.yaml").write_text("epochs: 3\n"), ["config.yaml"]),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    damage: Callable[[Path], Any], words: list[str], broken: Path
) -> None:
    """Every damage is found before anything is computed, and the line names the file or the version."""
    damage(broken)
    with pytest.raises(UserError) as error:
        recbole_unisid.load(broken)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


def test_weights_of_another_run_are_refused(broken: Path, served_runs: Callable[[str], Path]) -> None:
    """Even a whole file of the right kind is not taken for the run's own."""
    shutil.copy(served_runs("ItemID") / "model.safetensors", broken / "model.safetensors")
    with pytest.raises(UserError, match="has changed"):
        recbole_unisid.load(broken)


def test_the_trap_works(tmp_path: Path) -> None:
    """What the next test relies on: unpickling the trap springs it."""
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "items.tsv", "tokens.tsv", "tokenizer.safetensors", "serving.json", "result.json"],
)
@pytest.mark.parametrize("vouched", [True, False])
def test_booby_trapped_files_are_refused_and_nothing_served_runs(
    name: str, vouched: bool, broken: Path
) -> None:
    """A pickle in the place of any file is not loaded, even where the manifest vouches for it."""
    from recbole_unisid.files import sha256_of

    mark = broken.parent / "sprung"
    for write in (
        lambda path: path.write_bytes(pickle.dumps(Trap(mark))),
        lambda path: torch.save(Trap(mark), path),
    ):
        write(broken / name)
        if vouched and name not in {"serving.json", "result.json"}:
            manifest = json.loads((broken / "serving.json").read_text())
            manifest["files"][name] = sha256_of(broken / name)
            (broken / "serving.json").write_text(json.dumps(manifest))
        with pytest.raises(UserError):
            recbole_unisid.load(broken)
        assert not mark.exists()


def test_booby_trapped_settings_are_refused_and_nothing_served_runs(broken: Path) -> None:
    """YAML that asks for Python objects, and settings that would have RecBole load pickles."""
    mark = broken.parent / "sprung"
    settings = (broken / "config.yaml").read_text()
    for line in (
        f"MODEL_TYPE: !!python/object/apply:os.system ['touch {mark}']",
        f"dataset_save_path: {broken / 'checkpoint' / 'trap.pth'}",
        f"topk: \"__import__('os').system('touch {mark}')\"",
    ):
        (broken / "checkpoint" / "trap.pth").write_bytes(pickle.dumps(Trap(mark)))
        (broken / "config.yaml").write_text(settings.replace("MODEL_TYPE", "#") + line + "\n")
        with pytest.raises(UserError):
            recbole_unisid.load(broken)
        assert not mark.exists()


def test_nothing_is_unpickled_on_the_way(
    served_runs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading, reading the data set and scoring work where no pickle can be loaded at all."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was unpickled")

    folder = served_runs("UniSID")
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    run = recbole_unisid.load(folder)
    assert run.sequences is not None
    run.scores([run.sequences.of(0)])
