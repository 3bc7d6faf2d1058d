"""A run folder that was damaged or trapped is refused in one line, and nothing in it runs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from serving_material import Trap

import recbole_unisid
from recbole_unisid.errors import UserError
from recbole_unisid.files import sealed, sha256_of


@pytest.fixture
def broken(served_runs: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a UniSID run, to be damaged."""
    shutil.copytree(served_runs("UniSID"), tmp_path / "run")
    return tmp_path / "run"


def change_result(folder: Path, **changes: Any) -> None:
    result = json.loads((folder / "result.json").read_text()) | changes
    result.pop("fingerprint", None)
    (folder / "result.json").write_text(json.dumps(sealed(result)))


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
    mark = broken.parent / "sprung"
    for write in (
        lambda path: path.write_bytes(pickle.dumps(Trap(mark))),
        lambda path: torch.save(Trap(mark), path),
    ):
        write(broken / name)
        if vouched and name not in {"serving.json", "result.json"}:
            vouch_for(broken, name)
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


def change_weights(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change the weights of floating point, and vouch for them."""
    weights = load_file(folder / "model.safetensors")
    changed = {name: change(one) if one.is_floating_point() else one for name, one in weights.items()}
    save_file(changed, folder / "model.safetensors")
    vouch_for(folder, "model.safetensors")


def vouch_for(folder: Path, name: str) -> None:
    """Put a file's hash into the manifest, and the manifest's own."""
    manifest = json.loads((folder / "serving.json").read_text())
    manifest["files"][name] = sha256_of(folder / name)
    del manifest["fingerprint"]
    (folder / "serving.json").write_text(json.dumps(sealed(manifest)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one * float("nan"), "not numbers"),
        (lambda one: one.masked_fill(torch.arange(one.numel()).view(one.shape) == 0, torch.inf), "finite"),
        (lambda one: one.half(), "float16"),
        (lambda one: one.to(torch.int64), "int64"),
    ],
)
def test_weights_that_cannot_be_right_are_refused(
    change: Callable[[torch.Tensor], torch.Tensor], words: str, broken: Path
) -> None:
    """Behind a right checksum: they would recommend nothing, or anything."""
    change_weights(broken, change)
    with pytest.raises(UserError, match=words):
        recbole_unisid.load(broken)


BOMB = "\n".join(
    ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
)


@pytest.mark.parametrize(
    "lines",
    [
        "n_layers: 1000000000",
        "n_layers: 1.0e+300",
        "MAX_ITEM_LIST_LENGTH: 1000000000",
        "inner_size: 1000000000",
        "semantic_dim: 1000000000",
        "id_dim: 1000000000",
        BOMB,
    ],
)
def test_settings_of_any_size_are_refused_in_seconds(lines: str, broken: Path) -> None:
    """Numbers that no weights bear out, and YAML that grows or nests without end."""
    settings = yaml.safe_load((broken / "config.yaml").read_text())
    settings.pop(lines.partition(":")[0], None)
    (broken / "config.yaml").write_text(yaml.safe_dump(settings) + lines + "\n")
    vouch_for(broken, "config.yaml")
    started = time.monotonic()
    with pytest.raises(UserError) as error:
        recbole_unisid.load(broken)
    assert time.monotonic() - started < 30
    assert "config.yaml" in str(error.value) or "n_layers" in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data", 3),
        ("data", {"users": "40"}),
        ("data", {"users": -1}),
        ("data", {"users": 10**18}),
        ("versions", 7),
        ("tokenizer", [1]),
        ("model", None),
        ("seed", "2020"),
    ],
)
def test_mistyped_results_are_one_line(key: str, value: object, broken: Path) -> None:
    """Every field that loading reads."""
    change_result(broken, **{key: value})
    with pytest.raises(UserError) as error:
        recbole_unisid.load(broken)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["config.yaml", "result.json", "serving.json", "items.tsv", "model.safetensors", "tokens.tsv"]
)
def test_pipes_and_devices_are_not_read(name: str, broken: Path, tmp_path: Path) -> None:
    """They would be read for ever."""
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "pipe", Path("/dev/zero")):
        (broken / name).unlink()
        (broken / name).symlink_to(target)
        started = time.monotonic()
        with pytest.raises(UserError, match=name):
            recbole_unisid.load(broken)
        assert time.monotonic() - started < 10


def test_codes_beyond_their_level_are_refused(broken: Path) -> None:
    """Behind a right checksum."""
    text = (broken / "tokens.tsv").read_text().splitlines()
    item, codes = text[1].split("\t")
    (broken / "tokens.tsv").write_text(
        "\n".join([text[0], f"{item}\t100000 {codes.partition(' ')[2]}", *text[2:]]) + "\n"
    )
    vouch_for(broken, "tokens.tsv")
    with pytest.raises(UserError, match=r"tokens\.tsv"):
        recbole_unisid.load(broken)


def test_a_changed_setting_is_seen(broken: Path) -> None:
    """A digit of config.yaml would make another model of the same weights."""
    text = (broken / "config.yaml").read_text()
    (broken / "config.yaml").write_text(
        text.replace("n_heads: 1", "n_heads: 2").replace("n_heads: 4", "n_heads: 2")
    )
    assert (broken / "config.yaml").read_text() != text
    with pytest.raises(UserError, match=r"config\.yaml is damaged"):
        recbole_unisid.load(broken)


@pytest.mark.parametrize("name", ["serving.json", "result.json"])
def test_a_changed_description_is_seen(name: str, broken: Path) -> None:
    """Of the right types, and still not what the run wrote."""
    content = json.loads((broken / name).read_text())
    content |= {"model": "ItemID"} if name == "serving.json" else {"epochs": 7}
    (broken / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"{name} is damaged"):
        recbole_unisid.load(broken)
    del content["fingerprint"]  # as an earlier version wrote it
    (broken / name).write_text(json.dumps(content))
    recbole_unisid.load(broken)


@pytest.mark.parametrize(
    "change",
    [
        {"text": 3},
        {"text": {"encoder": "lsa"}},
        {"text": {"encoder": "lsa", "key": "lsa", "width": 2**70}},
        {"tokens": {"codebook_sizes": [16, 16, 16]}},
        {"tokens": {"codebook_sizes": "16", "collisions": "none"}},
        {"files": {"model.safetensors": 1}},
        {"files": []},
        {"schema": "1"},
    ],
)
def test_a_mistyped_manifest_is_one_line(change: dict[str, Any], broken: Path) -> None:
    """Of an earlier version, whose manifest has no checksum of its own."""
    manifest = json.loads((broken / "serving.json").read_text())
    del manifest["fingerprint"]
    (broken / "serving.json").write_text(json.dumps(manifest | change))
    with pytest.raises(UserError, match=r"serving\.json is damaged"):
        recbole_unisid.load(broken)


def test_nesting_without_end_is_one_line(broken: Path) -> None:
    """In the manifest, too."""
    (broken / "serving.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"serving\.json is damaged"):
        recbole_unisid.load(broken)
