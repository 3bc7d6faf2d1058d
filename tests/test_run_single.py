"""One run from the command to its folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
import yaml
from conftest import read_by

import recbole_unisid
from recbole_unisid.evaluation.metrics import protocol_metrics
from recbole_unisid.models import shards
from recbole_unisid.recbole_adapter.trainer import RunTrainer
from recbole_unisid.runs import machine

QUICK: dict[str, Any] = {
    "epochs": 3,
    "text_encoder": "lsa",
    "codebook_sizes": [16, 16, 16],
    "show_progress": False,
}


def quick_run(root: Path, model: str = "UniSID", **more: Any) -> dict[str, Any]:
    settings = read_by(model, {"data_path": str(root)} | QUICK | more)
    result: dict[str, Any] = recbole_unisid.run(model, "ml-mini", settings, verbose=False)
    return result


@pytest.mark.parametrize("model", ["UniSID", "SemanticID", "ItemID", "DenseText"])
def test_run_folder_is_complete(model: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """Every file of the contract is there, and the figures follow from the ranks."""
    result = quick_run(ml_mini, model)
    folder = Path(result.pop("run_dir"))
    assert json.loads((folder / "result.json").read_text()) == result
    files = {"config.yaml", "log.txt", "ranks.npz", "model.safetensors", "checkpoint", "tensorboard"}
    assert files <= {path.name for path in folder.iterdir()}
    assert (folder / "tokens.tsv").is_file() == (model in {"UniSID", "SemanticID"})
    assert result["status"] == "complete"
    assert result["data"]["users"] == 40
    with np.load(folder / "ranks.npz", allow_pickle=False) as ranks:
        names = ("full", "full_unfiltered", "sampled99")
        found = protocol_metrics({name: ranks[f"rank_{name}"] for name in names})
        assert len(ranks["user"]) == len(ranks["target"]) == len(ranks["rank_full"])
        assert (ranks["rank_full"] <= ranks["rank_full_unfiltered"]).all()
    assert {name: result["test"][name] for name in names} == found


def test_our_figures_reach_tensorboard(ml_mini: Path, in_empty_folder: Path) -> None:
    """The events of a run hold the protocol's figures beside RecBole's loss and validation score."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = quick_run(ml_mini, "ItemID")
    events = EventAccumulator(str(Path(result["run_dir"]) / "tensorboard"))
    events.Reload()
    assert {"Loss/Train", "Vaild_score"} <= set(events.Tags()["scalars"])  # RecBole's spelling
    logged = events.Scalars("test/full/ndcg_10")[0].value
    assert logged == pytest.approx(result["test"]["full"]["ndcg@10"], abs=1e-6)


def test_token_parameters_are_as_in_the_paper(ml_mini: Path, in_empty_folder: Path) -> None:
    """N d_ID + sum of K times 64."""
    items = quick_run(ml_mini, "ItemID", epochs=1)["data"]["items"]
    unified = quick_run(ml_mini, "UniSID", epochs=1, id_dim=8)["parameters"]["tokens"]
    assert unified == items * 8 + 3 * 16 * 64


def test_finished_run_is_not_run_again(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call finds the folder by its hash; another setting is another run."""
    first = quick_run(ml_mini)
    monkeypatch.setattr(RunTrainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert quick_run(ml_mini) == first
    assert quick_run(ml_mini, output_dir="runs", use_gpu=False) == first
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        quick_run(ml_mini, learning_rate=0.03)


def test_written_settings_run_to_the_same_result(ml_mini: Path, in_empty_folder: Path) -> None:
    """``config.yaml`` is a config file of the same run, with the same hash."""
    first = quick_run(ml_mini)
    folder = Path(first["run_dir"])
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    again = recbole_unisid.run(
        settings.pop("model"), settings.pop("dataset"), settings | {"output_dir": "again"}, verbose=False
    )
    assert Path(again["run_dir"]).name == folder.name
    ours, theirs = np.load(folder / "ranks.npz"), np.load(Path(again["run_dir"]) / "ranks.npz")
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours.files)


@pytest.mark.parametrize("model", ["UniSID", "SASRec", "BPR"])
def test_stopped_run_goes_on_bit_for_bit(
    model: str, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within the third epoch and called again: the ranks of an undisturbed run."""
    own = QUICK if model == "UniSID" else {"show_progress": False, "MAX_ITEM_LIST_LENGTH": 8}
    settings = read_by(model, own | {"data_path": str(ml_mini), "epochs": 4})
    whole = recbole_unisid.run(model, "ml-mini", settings | {"output_dir": "whole"}, verbose=False)
    train_epoch = RunTrainer._train_epoch

    def stopped(self: Any, data: Any, epoch: int, *rest: Any, **more: Any) -> Any:
        losses = train_epoch(self, data, epoch, *rest, **more)
        if epoch == 2:
            raise KeyboardInterrupt
        return losses

    monkeypatch.setattr(RunTrainer, "_train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        recbole_unisid.run(model, "ml-mini", settings | {"output_dir": "parts"}, verbose=False)
    monkeypatch.setattr(RunTrainer, "_train_epoch", train_epoch)
    parts = recbole_unisid.run(model, "ml-mini", settings | {"output_dir": "parts"}, verbose=False)
    assert [e["loss"] for e in parts["history"]] == [e["loss"] for e in whole["history"]]
    ranks = [np.load(Path(result["run_dir"]) / "ranks.npz") for result in (whole, parts)]
    assert all(np.array_equal(ranks[0][name], ranks[1][name]) for name in ranks[0].files)


def test_several_models_and_seeds(ml_mini: Path, in_empty_folder: Path) -> None:
    """Commas and ``seeds`` give one result each, models first."""
    settings = QUICK | {"data_path": str(ml_mini), "epochs": 1, "seeds": "3,4"}
    results = recbole_unisid.run("SemanticID,UniSID", "ml-mini", settings, verbose=False)
    assert [(r["model"], r["seed"]) for r in results] == [
        ("SemanticID", 3), ("SemanticID", 4), ("UniSID", 3), ("UniSID", 4),
    ]  # fmt: skip


def test_beauty_counts(real_data: Path, in_empty_folder: Path) -> None:
    """The real Beauty files give the published counts (one epoch is enough to see that)."""
    settings = {"data_path": str(real_data), "epochs": 1, "show_progress": False, "score_terms": []}
    result = recbole_unisid.run("ItemID", "amazon-beauty", settings, verbose=False)
    counts = {"users": 22363, "items": 12101, "interactions": 198502, "train_targets": 131413}
    assert {name: result["data"][name] for name in counts} == counts
    controls = {name: figures["full_unfiltered"]["recall@10"] for name, figures in result["controls"].items()}
    assert controls["next_id"] == pytest.approx(0.0312, abs=2e-4)
    assert controls["previous_id"] == pytest.approx(0.0053, abs=2e-4)
    assert controls["popularity"] == pytest.approx(0.0106, abs=2e-4)


def test_threads_heed_what_may_be_used_and_wait_without_spinning(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cores, or a container that may use so many, have one thread; a thread that waits must not run."""
    code = "import joblib; joblib.cpu_count = lambda: 2; import recbole_unisid; recbole_unisid.run("
    code += f"'Pop', 'ml-mini', {{'data_path': {str(ml_mini)!r}}}, verbose=False)"
    env = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    env |= {"OMP_DISPLAY_ENV": "TRUE"}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    if "OMP_WAIT_POLICY" in ran.stderr:  # only GNU's OpenMP tells
        assert "OMP_WAIT_POLICY = 'PASSIVE'" in ran.stderr
    (log,) = Path("runs").rglob("log.txt")
    assert "threads: 1 (OMP_NUM_THREADS), passive while they wait" in log.read_text(encoding="utf-8")
    (result,) = Path("runs").rglob("result.json")
    assert json.loads(result.read_text(encoding="utf-8"))["machine"]["threads"] == 1


def test_texts_have_all_cores_and_training_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding is large products, which gain by a second thread even where another process is at work."""
    before = torch.get_num_threads()
    monkeypatch.setattr(shards, "WORKERS", None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "_OWN_THREADS", 3)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    try:
        machine.settle_threads()
        assert torch.get_num_threads() == 1
        assert shards.WORKERS is not None
        with machine.all_cores():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
        monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
        machine.settle_threads()
        assert torch.get_num_threads() == 3
        assert shards.WORKERS is None
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        with machine.all_cores():
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
