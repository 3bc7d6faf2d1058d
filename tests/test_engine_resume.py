"""Stopped anywhere, even by kill -9, a run goes on to the figures of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from safetensors.torch import save_file

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.errors import UserError
from recbole_unisid.models.whole_sequence import WholeSequenceRecommender
from recbole_unisid.recbole_adapter.checkpoint import load_state, save_state
from recbole_unisid.recbole_adapter.trainer import RunTrainer

TEXT = {"text_encoder": "lsa", "codebook_sizes": [16, 16, 16]}


def run(model: str, root: Path, output: str, **more: Any) -> dict[str, Any]:
    """A quick run that keeps a checkpoint after every batch."""
    text = TEXT if model == "UniSID" else {}
    given: dict[str, Any] = {"epochs": 3, "show_progress": False, "use_gpu": False, "train_batch_size": 200}
    given |= {"checkpoint_minutes": 0, "data_path": str(root), "output_dir": output, **text, **more}
    result: dict[str, Any] = recbole_unisid.run(model, "ml-mini", given, verbose=False)
    return result


def assert_same_ranks(*folders: str) -> None:
    """Bit for bit."""
    first, second = (np.load(Path(folder) / "ranks.npz", allow_pickle=False) for folder in folders)
    assert first.files == second.files
    assert all(np.array_equal(first[name], second[name]) for name in first.files)


@pytest.mark.parametrize("model", ["UniSID", "BERT4Rec", "BPR", "BSARec"])
def test_stopped_within_an_epoch(
    model: str, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout, masks and sampled negatives go on where they were, and so does the sum of losses."""
    small: dict[str, Any] = {"weight_average": 0.9} if model == "UniSID" else {}
    if model in ("BERT4Rec", "BSARec"):
        small = {"MAX_ITEM_LIST_LENGTH": 10, "n_layers": 1}
    whole = run(model, ml_mini, "whole", **small)
    check, calls = RunTrainer._check_nan, 0

    def stop_in_the_second_epoch(self: Any, loss: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        if self.history and calls > 3:
            raise KeyboardInterrupt
        if self.history:
            calls += 1
        check(self, loss)

    monkeypatch.setattr(RunTrainer, "_check_nan", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run(model, ml_mini, "parts", **small)
    monkeypatch.setattr(RunTrainer, "_check_nan", check)
    last = next(Path("parts").rglob("last.safetensors"))
    assert load_state(last)["place"]["epoch"] == 1
    parts = run(model, ml_mini, "parts", **small)
    assert [e["loss"] for e in parts["history"]] == [e["loss"] for e in whole["history"]]
    assert [e["valid"] for e in parts["history"]] == [e["valid"] for e in whole["history"]]
    assert parts["test"] == whole["test"]
    assert_same_ranks(whole["run_dir"], parts["run_dir"])


def test_stopped_after_training(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What evaluation needs of training (popularity, say) is there when that is not repeated, and so is its time."""
    more = {"metrics": ["NDCG", "AveragePopularity"]}
    whole = run("ItemID", ml_mini, "whole", **more)
    restore = RunTrainer.restore_best

    def stopped(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunTrainer, "restore_best", stopped)
    with pytest.raises(KeyboardInterrupt):
        run("ItemID", ml_mini, "parts", **more)
    monkeypatch.setattr(RunTrainer, "restore_best", restore)
    monkeypatch.setattr(RunTrainer, "_train_epoch", lambda *_, **__: pytest.fail("trained again"))
    parts = run("ItemID", ml_mini, "parts", **more)
    assert parts["test"] == whole["test"]
    assert parts["seconds"]["training"] >= sum(epoch["seconds"] for epoch in parts["history"])


def test_epochs_without_validation_are_kept(ml_mini: Path, in_empty_folder: Path) -> None:
    """Validated every second epoch: the others have a loss and no score."""
    history = run("ItemID", ml_mini, "runs", eval_step=2, epochs=4)["history"]
    assert [entry["epoch"] for entry in history] == [0, 1, 2, 3]
    assert [entry["valid"] is None for entry in history] == [True, False, True, False]


# --- kill -9 --------------------------------------------------------------------------------------


def _killable(root: str, output: str) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    run("UniSID", Path(root), output)


def test_killed_at_random_moments(ml_mini: Path, in_empty_folder: Path, forkserver: Any) -> None:
    """Five kills, each followed by a resume; benchmarks/kill.py does it fifty times through the command."""

    def start(output: str) -> Any:
        process = forkserver.Process(target=_killable, args=(str(ml_mini), output))
        process.start()
        return process

    start("warm").join()
    began = time.monotonic()
    start("whole").join()
    duration = time.monotonic() - began
    rng = np.random.default_rng(5)
    for _ in range(5):
        process = start("parts")
        process.join(rng.uniform(0.3, 1.0) * duration)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
    last = start("parts")
    last.join()
    assert last.exitcode == 0
    whole, parts = (next(Path(name).rglob("result.json")).parent for name in ("whole", "parts"))
    assert_same_ranks(str(whole), str(parts))
    assert not list((parts / "checkpoint").glob("*.part"))
    losses = [
        [e["loss"] for e in json.loads((f / "result.json").read_text())["history"]] for f in (whole, parts)
    ]
    assert losses[0] == losses[1]


def _interruptible(root: str, words: str) -> None:
    options = {"model": "ItemID", "dataset": "ml-mini", "data_path": root, "epochs": 10_000, "use_gpu": False}
    options |= {"stopping_step": 10_000, "output_dir": "long", "show_progress": False}
    with open(words, "w") as sys.stderr:
        sys.exit(main(["run", *(f"--{key}={value}" for key, value in options.items())]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop(number: int, ml_mini: Path, in_empty_folder: Path, forkserver: Any) -> None:
    """One line that says how to go on, and the status of a stopped command."""
    process = forkserver.Process(target=_interruptible, args=(str(ml_mini), "words.txt"))
    process.start()
    while process.is_alive() and not list(Path("long").rglob("last.safetensors")):
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 130
    assert Path("words.txt").read_text().strip() == (
        "Stopped. The same command goes on from the last checkpoint."
    )


# --- files and figures that are no good -----------------------------------------------------------


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    """Everything that training holds comes back with its type, nested as it was."""
    state = {
        "weights": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3, dtype=torch.int64)},
        "moments": {0: (torch.zeros(2), [1, 2.5, None, True, "text"])},
        "random": {"words": np.arange(4, dtype=np.uint32), "large": 2**127 + 1},
        "similarity": sp.csr_matrix(np.eye(3)),
        "worst": -np.inf,
    }
    save_state(tmp_path / "state", state)
    found = load_state(tmp_path / "state")
    assert torch.equal(found["weights"]["a"], state["weights"]["a"])
    assert found["weights"]["b"].dtype == torch.int64
    assert isinstance(found["moments"][0], tuple)
    assert found["moments"][0][1] == [1, 2.5, None, True, "text"]
    assert found["random"]["words"].dtype == np.uint32
    assert found["random"]["large"] == 2**127 + 1
    assert (found["similarity"] != state["similarity"]).nnz == 0
    assert found["worst"] == -np.inf
    with pytest.raises(TypeError, match="cannot hold"):
        save_state(tmp_path / "other", {"loader": object()})
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("damage", ["pickle", "half", "foreign"])
def test_checkpoint_that_cannot_be_read(damage: str, tmp_path: Path) -> None:
    """One line that names the file; a pickle is not opened."""
    file = tmp_path / "last.safetensors"
    if damage == "pickle":
        torch.save({"a": torch.zeros(2)}, file)
    elif damage == "foreign":
        save_file({"a": torch.zeros(2)}, file)
    else:
        save_state(file, {"a": torch.zeros(100)})
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"last\.safetensors"):
        load_state(file)


def test_a_checkpoint_of_another_version_is_refused(ml_mini: Path, in_empty_folder: Path) -> None:
    """One line, and nothing is changed, where the model has had other tensors."""
    folder = Path(run("ItemID", ml_mini, "parts")["run_dir"])
    (folder / "result.json").unlink()
    for name in ("best", "last"):
        file = folder / "checkpoint" / f"{name}.safetensors"
        whole = load_state(file)
        save_state(file, whole | {"state_dict": {"items.weight": torch.zeros(2)}})
        before = file.read_bytes()
        with pytest.raises(UserError, match=f"{name}.safetensors is another version's.*delete the folder"):
            run("ItemID", ml_mini, "parts")
        assert file.read_bytes() == before
        save_state(file, whole)


def test_score_that_is_no_number(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error after the first epoch, never a rank."""
    score = WholeSequenceRecommender.full_sort_predict

    def broken(self: Any, interaction: Any) -> torch.Tensor:
        scores = score(self, interaction)
        scores[3, 7] = torch.nan
        return scores

    monkeypatch.setattr(WholeSequenceRecommender, "full_sort_predict", broken)
    with pytest.raises(UserError, match=r"scored item 7 as nan"):
        run("ItemID", ml_mini, "runs")


def test_loss_that_is_no_number(ml_mini: Path, in_empty_folder: Path) -> None:
    """Diverged training says so in one line."""
    with pytest.raises(UserError, match="diverged"):
        run("ItemID", ml_mini, "runs", learning_rate=1e30, initializer_range=1e18)
