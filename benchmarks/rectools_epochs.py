"""RecTools' SASRec, epoch by epoch: seconds, validation NDCG@10 over all items, peak memory.

    pip install 'rectools[torch]==0.19.0'
    recbole-unisid split amazon-beauty --to=split
    OMP_NUM_THREADS=1 python benchmarks/rectools_epochs.py split --epochs=40 --goal=.052

A line an epoch: seconds of training so far, of the processor and by the clock, and NDCG@10 of the validation targets
among all items, those of the history too. It ends where `goal` is reached, or after `epochs`. What follows are other
settings of RecTools' model as NAME=VALUE (``batch_size=256``); its own are width 64, one head and 50 items here.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import pandas as pd


def interactions(path: Path) -> pd.DataFrame:
    """A part of a split with RecTools' columns; positions stand for times, so equal times keep their order."""
    table = pd.read_csv(path, dtype={"user": str, "item": str}, keep_default_na=False)
    days = pd.to_datetime(table["position"], unit="D")
    return pd.DataFrame({"user_id": table["user"], "item_id": table["item"], "weight": 1.0, "datetime": days})


def main() -> None:
    """Train until the goal, and print what it took."""
    from pytorch_lightning import seed_everything
    from rectools.dataset import Dataset
    from rectools.metrics import NDCG
    from rectools.models import SASRecModel

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("split", type=Path, help="folder of `recbole-unisid split`")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--goal", type=float, default=0.052)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("settings", nargs="*", help="of RecTools' model, as NAME=VALUE")
    options = parser.parse_args()
    settings: dict[str, Any] = {"n_factors": 64, "n_heads": 1, "session_max_len": 50, "deterministic": True}
    for given in options.settings:
        name, _, value = given.partition("=")
        settings[name] = json.loads(value) if value[:1].isdigit() else value
    train, targets = (interactions(options.split / f"{part}.csv") for part in ("train", "valid"))
    data = Dataset.construct(train)
    seed_everything(options.seed)
    model = SASRecModel(**settings)
    cpu = clock = 0.0
    for epoch in range(1, options.epochs + 1):
        begun = time.process_time(), time.perf_counter()
        model.fit_partial(data, min_epochs=1, max_epochs=1)
        cpu, clock = cpu + time.process_time() - begun[0], clock + time.perf_counter() - begun[1]
        lists = model.recommend(targets["user_id"].to_numpy(), data, k=10, filter_viewed=False)
        score = float(NDCG(k=10, divide_by_achievable=True).calc(lists, targets))  # ours: results/peers.md
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"epoch {epoch}: {cpu:.0f} CPU-s, {clock:.0f} s, NDCG@10 {score:.4f}, peak {peak:.2f} GiB",
            flush=True,
        )
        if score >= options.goal:
            break


if __name__ == "__main__":
    main()
