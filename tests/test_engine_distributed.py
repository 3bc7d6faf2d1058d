"""Two processes are one: same losses, same figures, one set of files, and a death that is survived."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import recbole_unisid
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.trainer import RunTrainer

ROOT = Path(__file__).resolve().parents[1]


def settings(root: Path, model: str, output: str) -> dict[str, Any]:
    """Without dropout: its masks cannot be those of one process."""
    shared = {
        "data_path": str(root), "output_dir": output, "epochs": 3, "train_batch_size": 256, "use_gpu": False,
        "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "show_progress": False, "checkpoint_minutes": 0,
    }  # fmt: skip
    if model == "UniSID":
        return shared | {"text_encoder": "lsa", "codebook_sizes": [16, 16, 16]}
    return shared | {"MAX_ITEM_LIST_LENGTH": 10, "n_layers": 1}


def single(model: str, given: Mapping[str, Any]) -> None:
    """One process, here."""
    recbole_unisid.run(model, "ml-mini", given, verbose=False)


def worker(rank: int, port: int, model: str, given: Mapping[str, Any], dies: bool, words: Any) -> None:
    """What torchrun starts: a process that knows its number from its environment."""
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    check = RunTrainer._check_nan

    def dying(self: RunTrainer, loss: Any) -> None:
        if self.history and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        check(self, loss)

    if dies:
        RunTrainer._check_nan = dying  # type: ignore[method-assign]
    try:
        single(model, given)
        words.put("done")
    except UserError as error:
        words.put(str(error))


def together(forkserver: Any, model: str, given: Mapping[str, Any], dies: bool = False) -> list[str]:
    """Run two processes to their end; what each of them had to say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = forkserver.Queue()
    pair = [forkserver.Process(target=worker, args=(r, port, model, given, dies, words)) for r in (0, 1)]
    for process in pair:
        process.start()
    for process in pair:
        process.join()
    return [words.get() for _ in range(1 if dies else 2)]


def outcome(output: str) -> tuple[dict[str, Any], set[str]]:
    """The one result in an output folder, and the names of the files beside it."""
    (found,) = Path(output).rglob("result.json")
    return json.loads(found.read_text()), {path.name for path in found.parent.iterdir()}


def assert_equal(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Losses to 1e-5, metrics within .002."""
    losses = [[entry["loss"] for entry in result["history"]] for result in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for candidates in ("full", "full_unfiltered", "sampled99", "recbole"):
        assert two["test"][candidates] == pytest.approx(one["test"][candidates], abs=2e-3)


def test_torchrun(ml_mini: Path, in_empty_folder: Path) -> None:
    """The command under torchrun equals the command alone, writes the same files and speaks once."""
    given = settings(ml_mini, "UniSID", "alone")
    single("UniSID", given)
    options = [f"--{key}={value}" for key, value in (given | {"output_dir": "pair"}).items()]
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [str(ROOT / "run_recbole_unisid.py"), "--model=UniSID", "--dataset=ml-mini", *options]
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("token parameters") == 1
    (one, files), (two, others) = outcome("alone"), outcome("pair")
    assert files == others
    assert len(list(Path("pair").rglob("events.out*"))) == len(list(Path("alone").rglob("events.out*")))
    assert_equal(one, two)


def test_score_terms(ml_mini: Path, in_empty_folder: Path, forkserver: Any) -> None:
    """Two processes fit the weights that one does, beside a model that stays as it was drawn."""
    given = settings(ml_mini, "UniSID", "pair") | {"backbone": "filter", "score_terms": ["all"]}
    given |= {"epochs": 1, "learning_rate": 1e-12}
    assert together(forkserver, "UniSID", given) == ["done", "done"]
    single("UniSID", given | {"output_dir": "alone"})
    (one, files), (two, others) = outcome("alone"), outcome("pair")
    assert files == others
    assert len(one["score_terms"]) == 8
    assert all(one["score_terms"].values())
    assert two["score_terms"] == pytest.approx(one["score_terms"], rel=1e-6, abs=1e-6)
    assert_equal(one, two)


def test_model_of_recbole(ml_mini: Path, in_empty_folder: Path, forkserver: Any) -> None:
    """RecBole's own way fails on CPUs and under torchrun; its models train on two processes here."""
    single("SASRec", settings(ml_mini, "SASRec", "alone"))
    assert together(forkserver, "SASRec", settings(ml_mini, "SASRec", "pair")) == ["done", "done"]
    assert_equal(outcome("alone")[0], outcome("pair")[0])


def test_death_of_a_process(ml_mini: Path, in_empty_folder: Path, forkserver: Any) -> None:
    """The other says so in one line and leaves a checkpoint, from which two go on to the same end."""
    given = settings(ml_mini, "UniSID", "parts")
    (word,) = together(forkserver, "UniSID", given, dies=True)
    assert "lost another one" in word
    assert "The same command goes on from the last checkpoint" in word
    assert not list(Path("parts").rglob("result.json"))
    assert list(Path("parts").rglob("last.safetensors"))
    assert together(forkserver, "UniSID", given) == ["done", "done"]
    single("UniSID", given | {"output_dir": "whole"})
    assert_equal(outcome("whole")[0], outcome("parts")[0])


def test_check_of_a_beam(ml_mini: Path, in_empty_folder: Path, forkserver: Any) -> None:
    """What a beam misses is counted over the users of both processes."""
    given = settings(ml_mini, "UniSID", "pair") | {"epochs": 1, "ranker": "beam", "beams": 30}
    assert together(forkserver, "TIGER", given) == ["done", "done"]
    found = outcome("pair")[0]["ranker"]
    single("TIGER", given | {"output_dir": "alone"})
    assert found["users"] == outcome("alone")[0]["ranker"]["users"]
