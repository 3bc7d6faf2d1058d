"""Processor time until UniSID and ItemID reach the validation NDCG@10 at which RecBole's SASRec converges.

    python benchmarks/convergence.py --data_path=dataset --dataset=amazon-beauty

Trains all three to their early stop (RecBole's SASRec: hours), one after the other, into ordinary run folders;
the same command goes on after a stop. SASRec's time counts up to its best epoch, ours up to the first epoch that
is at least as good. ``--anomaly_mode`` trains SASRec as RecBole ships it: the same figures in about twice the
time, so that the ratios without it are the smaller ones. ItemID trains with negatives of the batch: with its default
loss it stays below SASRec by this metric (see ``results/search.md``).
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from recbole_unisid.runs.api import run  # switches anomaly mode off, once
from recbole_unisid.runs.machine import machine


def train(model: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """History of a run to its early stop."""
    settings = {"data_path": options.data_path, "output_dir": options.output_dir, "use_gpu": False}
    settings |= {"seed": options.seed}
    if model == "SASRec":
        settings |= {"epochs": 500, "train_batch_size": 2048, "MAX_ITEM_LIST_LENGTH": 50}
    else:
        settings["recipe"] = "plain"
    if model == "ItemID":
        settings["loss"] = "in_batch_softmax"
    with torch.autograd.set_detect_anomaly(options.anomaly_mode and model == "SASRec"):
        result = run(model, options.dataset, settings)
    history: list[dict[str, Any]] = result["history"]
    return history


def cpu_hours(history: list[dict[str, Any]], goal: float) -> float | None:
    """Processor hours of training until validation reaches `goal`; None where it never does."""
    spent = 0.0
    for entry in history:
        spent += entry["cpu_seconds"]
        if entry["valid"] is not None and entry["valid"] >= goal:
            return spent / 3600
    return None


def main() -> None:
    """Train what is not trained yet, and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--output_dir", default="runs/convergence")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--anomaly_mode", action="store_true", help="train SASRec as RecBole ships it")
    options = parser.parse_args()
    ours = {model: train(model, options) for model in ("UniSID", "ItemID")}
    reference = train("SASRec", options)
    goal = max(entry["valid"] for entry in reference if entry["valid"] is not None)
    needed = cpu_hours(reference, goal)
    assert needed is not None
    mode = "as shipped" if options.anomaly_mode else "without anomaly mode"
    print(
        f"{machine()['cpu']}: RecBole's SASRec, {mode}, converges at NDCG@10 {goal:.4f} after {needed:.2f} CPU-h"
    )
    for model, history in ours.items():
        hours = cpu_hours(history, goal)
        ratio = (
            "does not reach it" if hours is None else f"{hours:.3f} CPU-h, {needed / hours:.0f} times less"
        )
        print(f"{model}: {ratio}")


if __name__ == "__main__":
    main()
