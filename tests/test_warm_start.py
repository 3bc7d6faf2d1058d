"""A run that starts from another on data that has grown (``run --from``)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import recbole_unisid
from recbole_unisid.errors import UserError
from recbole_unisid.files import sha256_of
from recbole_unisid.recbole_adapter.trainer import RunTrainer
from recbole_unisid.runs import after_training
from recbole_unisid.serving.add_items import add_items
from recbole_unisid.tokens.tokens_file import read_codes

#: Steps so small that no weight moves.
STILL = {"learning_rate": 1e-30, "epochs": 1}


@pytest.fixture(scope="module")
def grown(
    served_runs: Callable[[str], Path], ml_mini: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A data path with `ml-grown`: ml-mini turned round, with a new user and two new items, an old item gone."""
    served_runs("UniSID")
    folder = tmp_path_factory.mktemp("grown") / "ml-grown"
    folder.mkdir()
    head, *rows = (ml_mini / "ml-mini" / "ml-mini.inter").read_text().splitlines()
    known = {row.split("\t")[1] for row in rows}
    items = (ml_mini / "ml-mini" / "ml-mini.item").read_text().splitlines()
    new = [line.split("\t")[0] for line in items[1:] if line.split("\t")[0] not in known][:2]
    gone = min(known)
    rows = [row for row in reversed(rows) if row.split("\t")[1] != gone]
    rows += [f"someone\t{item}\t4\t{10**9 + at}" for at, item in enumerate([*sorted(known)[1:5], *new])]
    (folder / "ml-grown.inter").write_text("\n".join([head, *rows]) + "\n")
    (folder / "ml-grown.item").write_text("\n".join(items) + "\n")
    (folder.parent / "new").write_text(json.dumps([new, gone]))
    return folder.parent


def warm(run: Path, grown: Path, output: Path, **more: Any) -> dict[str, Any]:
    """Start from a run on the grown data."""
    places = {"from": str(run), "data_path": str(grown), "output_dir": str(output)}
    settings = places | {"show_progress": False} | more
    result: dict[str, Any] = recbole_unisid.run(dataset="ml-grown", config_dict=settings, verbose=False)
    return result


def digests(folder: Path) -> dict[str, str]:
    return {str(path): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("model", ["UniSID", "SemanticID", "ItemID", "DenseText"])
def test_the_run_is_the_start(
    model: str,
    served_runs: Callable[[str], Path],
    grown: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights are the run's, items are found by name, and the run stays as it was."""
    monkeypatch.setattr(after_training, "_mean_and_error", lambda _: (0.0, 0.0))  # items move
    run = served_runs(model)
    before = digests(run)
    result = warm(run, grown, tmp_path, **STILL)
    assert digests(run) == before
    new, gone = json.loads((grown / "new").read_text())
    assert {key: result["from"][key] for key in ("new_items", "gone_items")} == {
        "new_items": 2,
        "gone_items": 1,
    }
    assert result["from"]["run"] == f"ml-mini/{model}/{run.name}"
    assert result["cpu_seconds"]["training"] > 0
    assert [epoch["valid"] for epoch in result["history"]] == [None]
    assert result["valid"] is None
    assert set(result["controls"]) == {"popularity", "next_id", "previous_id", "repeat_last"}

    old, found = recbole_unisid.load(run), recbole_unisid.load(result["run_dir"])
    assert set(new) <= set(found.item_ids)
    assert gone not in found.item_ids
    untrained = old.model.items.untrained  # these start as new ones do
    trained = np.ones(old.n_items + 1, bool) if untrained is None else ~untrained.numpy()
    assert (model == "UniSID") == (not trained.all())
    common = [item for item in found.item_ids[1:] if item not in new and trained[old.item_ids.index(item)]]
    was, are = ([one.item_ids.index(item) for item in common] for one in (old, found))
    assert was != are  # the same number would be no test
    if model == "UniSID":  # other data, other counts: other items move, by other shares
        counts = np.maximum(found.items.training_counts[are], old.items.training_counts[was])
        moved = found.model.items.new_items.shift[are].any(1).numpy()
        assert (moved == (counts < 18)).all()
        assert moved.any()
        assert not moved.all()
        for one in (old, found):
            one.model.items.new_items.shift = None
            one.model.train().eval()
    assert old.item_vectors is not None
    assert found.item_vectors is not None
    np.testing.assert_allclose(found.item_vectors[are], old.item_vectors[was], atol=1e-6)
    states = old.states([np.array(was[:5])]), found.states([np.array(are[:5])])
    np.testing.assert_allclose(*states, atol=1e-5)
    if model == "UniSID":  # what the run trained is not new where the grown data trains nothing of it
        assert (found.items.training_counts[are] == 0).any()
        assert not found.model.items.untrained[are].any()
        levels = found.model.terms["popularity"].level[are][found.items.training_counts[are] == 0]
        assert (levels < found.model.terms["popularity"].usual).all()
    if old.codes is not None:
        assert found.codes is not None
        assert np.array_equal(found.codes[are], old.codes[was])
    ids = load_file(Path(result["run_dir"]) / "model.safetensors").get("items.ids.weight")
    if ids is not None:
        mean = load_file(run / "model.safetensors")["items.ids.weight"][1:][trained[1:]].mean(0)
        torch.testing.assert_close(ids[[found.item_ids.index(item) for item in new]], mean.expand(2, -1))
        assert not ids[0].any()


def test_day_after_day(served_runs: Callable[[str], Path], grown: Path, tmp_path: Path) -> None:
    """A warm start from a warm start, with an item added between: codes and the encoder's terms are the first run's."""
    run = served_runs("UniSID")
    first = warm(run, grown, tmp_path / "first")
    table = tmp_path / "new.csv"
    table.write_text("item_id,movie_title,class\nX1,Star Wars Again,Sci-Fi\n")
    unlike = first["from"]["fingerprint"]
    added = add_items(first["run_dir"], table, show_progress=False)
    folder = tmp_path / "data" / "ml-grown"
    shutil.copytree(grown / "ml-grown", folder)
    with (folder / "ml-grown.inter").open("a") as rows:
        rows.writelines(f"later\t{item}\t5\t{at}\n" for at, item in enumerate(["X1", "50", "100", "181"]))
    head = (folder / "ml-grown.item").read_text().splitlines()[0].split("\t")
    cells = {"item_id:token": "X1", "movie_title:token_seq": "Star Wars Again", "class:token_seq": "Sci-Fi"}
    with (folder / "ml-grown.item").open("a") as rows:
        rows.write("\t".join(cells.get(name, "") for name in head) + "\n")
    second = warm(Path(first["run_dir"]), folder.parent, tmp_path / "second")
    assert second["from"]["fingerprint"] != unlike
    configs = [
        yaml.safe_load((Path(place) / "config.yaml").read_text())
        for place in (run, first["run_dir"], second["run_dir"])
    ]
    rates = [config["learning_rate"] for config in configs]
    assert rates[2] == rates[1] == rates[0] / 2 > 0
    for key, values in (("hidden_dropout_prob", [0.3, 0, 0]), ("figures", ["all", "test", "test"])):
        assert [config[key] for config in configs] == values
    assert second["from"]["known_items"] == first["data"]["items"]
    codes = {}
    for place in (run, first["run_dir"], added.path, second["run_dir"]):
        read = read_codes(Path(place) / "tokens.tsv")
        for item, code in zip(read.item_ids, read.codes.tolist(), strict=True):
            assert codes.setdefault(item, code) == code, item
    assert "X1" in codes


def test_stopped_and_called_again(
    served_runs: Callable[[str], Path], grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on to the weights of an undisturbed one, not from the run's again."""
    run, check = served_runs("UniSID"), RunTrainer._check_nan
    whole = warm(run, grown, tmp_path / "whole", checkpoint_minutes=0)

    def stop_in_the_second_epoch(self: Any, loss: torch.Tensor) -> None:
        if self.history:
            raise KeyboardInterrupt
        check(self, loss)

    monkeypatch.setattr(RunTrainer, "_check_nan", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        warm(run, grown, tmp_path / "parts", checkpoint_minutes=0)
    monkeypatch.setattr(RunTrainer, "_check_nan", check)
    parts = warm(run, grown, tmp_path / "parts", checkpoint_minutes=0)
    weights = [load_file(Path(one["run_dir"]) / "model.safetensors") for one in (whole, parts)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert parts["test"] == whole["test"]


def test_the_hash_covers_the_start(served_runs: Callable[[str], Path], grown: Path, tmp_path: Path) -> None:
    """Another start is another run, the same start elsewhere the same run, and a finished one is not run again."""
    run = served_runs("ItemID")
    found = warm(run, grown, tmp_path, **STILL)
    moved = tmp_path / "ItemID" / run.name
    shutil.copytree(run, moved)
    again = warm(moved, grown, tmp_path, **STILL)
    assert again["run_dir"] == found["run_dir"]
    other = warm(Path(found["run_dir"]), grown, tmp_path, **STILL)
    assert other["run_dir"] != found["run_dir"]
    whole = {"data_path": str(grown), "output_dir": str(tmp_path), "epochs": 1, "show_progress": False}
    cold = recbole_unisid.run("ItemID", "ml-grown", whole | {"from": None}, verbose=False)
    assert "from" not in cold


@pytest.mark.parametrize(
    ("model", "more", "told"),
    [
        ("UniSID", {"model": "ItemID"}, "is of the model UniSID, not ItemID"),
        ("UniSID", {"semantic_dim": 32}, "semantic_dim=32, but the weights of .* are for 64"),
        ("UniSID", {"text_encoder": "offline"}, "text_encoder=offline, but the weights of .* are for lsa"),
        ("ItemID", {"MAX_ITEM_LIST_LENGTH": 20}, "MAX_ITEM_LIST_LENGTH=20, but"),
        ("ItemID", {"recipe": "plain"}, "recipe=plain, but the weights of .* are for default"),
        ("SASRec", {}, "SASRec cannot be started from a run"),
        ("UniSID", {"tune": 2}, "--tune trains from the beginning"),
        ("UniSID", {"from": ""}, "--from= names no run"),
        ("UniSID", {"from": "nowhere"}, "There is no run folder nowhere"),
        ("UniSID", {"dataset": "others"}, "No item of 'others' is one of"),
    ],
)
def test_refusals(
    model: str,
    more: dict[str, Any],
    told: str,
    served_runs: Callable[[str], Path],
    grown: Path,
    tmp_path: Path,
) -> None:
    """One line, before anything is trained."""
    others = grown / "others"
    if not others.is_dir():
        others.mkdir()
        for kind in ("inter", "item"):
            lines = (grown / "ml-grown" / f"ml-grown.{kind}").read_text().splitlines()
            at = 1 if kind == "inter" else 0
            rows = [line.split("\t") for line in lines[1:]]
            renamed = ["\t".join([*row[:at], f"x{row[at]}", *row[at + 1 :]]) for row in rows]
            (others / f"others.{kind}").write_text("\n".join([lines[0], *renamed]) + "\n")
    settings = {"from": str(served_runs(model)), "data_path": str(grown), "output_dir": str(tmp_path)} | more
    dataset = settings.pop("dataset", "ml-grown")
    with pytest.raises(UserError, match=told) as refusal:
        recbole_unisid.run(dataset=dataset, config_dict=settings, verbose=False)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.rglob("result.json"))
