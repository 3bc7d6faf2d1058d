"""Whole runs whose tokens learn: what they write, how they validate, stopping and bad settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import read_by

import recbole_unisid
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.trainer import RunTrainer


def run(model: str, root: Path, output: str = "runs", **more: Any) -> dict[str, Any]:
    text = {} if model == "ItemID" else {"text_encoder": "lsa", "codebook_sizes": [16, 16, 16]}
    given = {"epochs": 1, "show_progress": False, "use_gpu": False, "output_dir": output} | text
    result: dict[str, Any] = recbole_unisid.run(
        model, "ml-mini", given | {"data_path": str(root)} | more, verbose=False
    )
    return result


@pytest.mark.parametrize("model", ["UniSID", "SemanticID", "ItemID"])
def test_paper_recipe_runs(model: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """It validates by the MRR among the fixed negatives, and says so."""
    result = run(model, ml_mini, recipe="paper", epochs=2)
    assert result["recipe"] == "paper"
    assert result["protocol"]["valid_candidates"] == "sampled99"
    best = max(entry["valid"] for entry in result["history"])
    assert best == pytest.approx(result["valid"]["sampled99"]["mrr"], abs=1e-4)  # other order of summing
    assert result["history"][result["best_epoch"]]["valid"] == best


def test_stopped_and_resumed(ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codebooks, moving averages and the draws of dead codes go on bit for bit."""
    more = {"recipe": "paper", "epochs": 3, "checkpoint_minutes": 0, "train_batch_size": 300}
    whole = run("UniSID", ml_mini, "whole", **more)
    check, calls = RunTrainer._check_nan, 0

    def stop_in_the_second_epoch(self: Any, loss: torch.Tensor) -> None:
        nonlocal calls
        calls += bool(self.history)
        if calls > 2:
            raise KeyboardInterrupt
        check(self, loss)

    monkeypatch.setattr(RunTrainer, "_check_nan", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run("UniSID", ml_mini, "parts", **more)
    monkeypatch.setattr(RunTrainer, "_check_nan", check)
    parts = run("UniSID", ml_mini, "parts", **more)
    for key in ("loss", "valid"):
        assert [entry[key] for entry in parts["history"]] == [entry[key] for entry in whole["history"]]
    assert parts["test"] == whole["test"]
    folders = Path(whole["run_dir"]), Path(parts["run_dir"])
    assert len({(folder / "tokens.tsv").read_text() for folder in folders}) == 1
    assert len({(folder / "ranks.npz").read_bytes() for folder in folders}) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"semantics": "jiont"},
            "semantics='jiont' is none of fixed, joint, .*Did you mean joint",
        ),
        ({"joint_updates": "two"}, "joint_updates=two must be one of one, three"),
        ({"joint_losses": "input"}, "joint_losses=input must be one of all, inputs; .* Did you mean"),
        ({"joint_decay": 1.0}, "decay"),
        ({"joint_learning": "gradeint"}, "joint_learning=gradeint must be one of .* Did you mean"),
        ({"joint_hidden": []}, "joint_hidden"),
        ({"joint_hidden": [32]}, "table_init=text needs joint_hidden of at least 128"),
        ({"collisions": "balanced"}, "collisions=balanced is for fixed codes"),
        ({"distances": ["cosine"]}, "1 distances for 3 codebook sizes"),
        ({"recipe": "papre"}, "no recipe 'papre'"),
        ({"joint_decya": 0.5}, "joint_decay"),
        ({"valid_candidates": "sampled"}, "valid_candidates=sampled must be one of"),
        ({"valid_candidates": "sampled99", "valid_metric": "MAP@10"}, "no metric is called 'map@10'"),
    ],
)
def test_bad_settings(given: dict[str, Any], words: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """One line that names the setting."""
    with pytest.raises(UserError, match=words):
        run("UniSID", ml_mini, **{"semantics": "joint"} | given)


@pytest.mark.parametrize("model", ["SASRec", "BPR"])
@pytest.mark.parametrize("candidates", ["full", "sampled99"])
def test_recboles_models_validate_by_any_candidates(
    candidates: str, model: str, ml_mini: Path, in_empty_folder: Path
) -> None:
    """The best epoch's score is the result's."""
    given = {"epochs": 1, "data_path": str(ml_mini), "show_progress": False, "use_gpu": False, "n_layers": 1}
    given |= {"valid_candidates": candidates, "valid_metric": "Hit@10"}
    result = recbole_unisid.run(model, "ml-mini", read_by(model, given), verbose=False)
    name = {"full": "recall@10", "sampled99": "hit@10"}[candidates]
    best = max(entry["valid"] for entry in result["history"])
    assert best == pytest.approx(result["valid"][candidates][name])
