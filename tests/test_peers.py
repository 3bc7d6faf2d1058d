"""Models of other libraries, trained by them on our split: their figures of their lists are ours.

RecTools 0.19 wants NumPy below 2 and cornac 3 wants 2: each runs in an environment of its own, whose Python is named by
RECTOOLS_PYTHON or CORNAC_PYTHON; without it this one's is tried.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

import recbole_unisid
from recbole_unisid.report.gather import gather_report
from recbole_unisid.report.tables import to_markdown


def python_of(library: str) -> str:
    """A Python that has a library."""
    found = os.environ.get(f"{library.upper()}_PYTHON")
    if found is None:
        pytest.importorskip(
            library, reason=f"{library} is not installed, and {library.upper()}_PYTHON names no Python"
        )
    return found or sys.executable


@pytest.mark.parametrize(
    ("library", "file", "candidates", "same"),
    [
        ("rectools", "lists.csv", "full", ["recall@10", "ndcg@10", "mrr@10", "coverage@10", "novelty@10"]),
        ("cornac", "scores.npz", "full_unfiltered", ["recall@10", "ndcg@10", "mrr"]),
    ],
)
def test_figures_of_a_library_are_ours(
    library: str, file: str, candidates: str, same: list[str], ml_mini: Path, in_empty_folder: Path
) -> None:
    """Both definitions agree to 1e-9 for one target a user, and the model stands beside ours in one table."""
    python, settings = python_of(library), {"data_path": str(ml_mini)}
    recbole_unisid.split("ml-mini", "split", settings)
    command = [python, ROOT / "examples" / f"{library}_sasrec.py", "split", f"split/{file}", "--epochs=1"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs: dict[str, Any] = json.loads(printed.splitlines()[-1])
    ours = recbole_unisid.evaluate(
        f"split/{file}",
        f"SASRec of {library}",
        config_dict=settings,
        parameters=theirs["parameters"],
        verbose=False,
    )
    with np.load(Path(ours["run_dir"]) / "ranks.npz") as ranks:
        rank = ranks[f"rank_{candidates}"]
    figures = ours["test"][candidates] | ours["test"]["lists"]
    figures |= {"mrr@10": float(np.where(rank <= 10, 1 / rank, 0).mean())}
    for name in same:
        assert figures[name] == pytest.approx(theirs["figures"][name], abs=1e-9), name
    beside = recbole_unisid.run(
        "Pop", "ml-mini", settings | {"epochs": 1, "show_progress": False}, verbose=False
    )
    table = to_markdown(gather_report([ours["run_dir"], beside["run_dir"]]).board)
    assert f"| SASRec of {library} | 1 |" in table
    assert "| Pop | 1 |" in table


def with_given_codes(python: str, model: str, file: str, *settings: str) -> dict[str, Any]:
    """What `benchmarks/cornac_generative.py` says of a small model, the split's scores written."""
    command = [python, ROOT / "benchmarks" / "cornac_generative.py", model, "split", "tokens.tsv", file]
    done = subprocess.run([*command, *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_models_of_cornac_take_our_codes(ml_mini: Path, in_empty_folder: Path) -> None:
    """Suffix and all; steps are as many as asked for; lists of a beam as wide as the catalogue are the exact order."""
    python, settings = python_of("cornac"), {"data_path": str(ml_mini)}
    recbole_unisid.split("ml-mini", "split", settings)
    items = pd.read_parquet("split/items.parquet")["item"]
    lines = [f"{item}\t{number % 5} {number // 5 % 7} {number // 35}" for number, item in enumerate(items)]
    Path("tokens.tsv").write_text("\n".join(["item_id\tcodes", *lines]) + "\n")
    sizes = [5, 7, -(-len(items) // 35)]
    small = (
        "num_enc_layers=1",
        "num_dec_layers=1",
        "d_model=8",
        "d_ff=8",
        "num_heads=1",
        "d_kv=8",
        "--steps=3",
    )
    lists = with_given_codes(python, "TIGER", "lists.csv", *small, f"n_beams={len(items)}", "--exact_users=5")
    exact = with_given_codes(python, "TIGER", "scores.npz", *small, "scoring=exact")
    assert (lists["steps"], lists["sizes"], lists["share_of_best"]) == (3, sizes, 1)
    with np.load("scores.npz") as file:
        whole = pd.DataFrame(file["scores"], file["user"], file["item"]).stack()
    listed = pd.read_csv("lists.csv", dtype={"user": str, "item": str}).set_index(["user", "item"])["score"]
    assert len(listed) == len(whole) > 0
    np.testing.assert_allclose(listed, whole[listed.index], atol=1e-4)
    assert exact["parameters"] == lists["parameters"]
    told = {"protocol": "split/protocol.json", "config_dict": settings, "verbose": False}
    ours = recbole_unisid.evaluate("lists.csv", "TIGER of cornac", **told)
    assert ours["predictions"]["length"] == len(items)

    tiny = "d_model=8", "n_head=1", "n_layer=1", "n_inner=8", "n_epochs=2", "batch_size=16"
    parallel = with_given_codes(python, "RPG", "split/rpg.npz", *tiny)
    assert (parallel["sizes"], parallel["epochs"]) == (sizes, 2)
    assert recbole_unisid.evaluate("split/rpg.npz", "RPG of cornac", **told)["test"]
