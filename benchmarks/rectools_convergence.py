"""SASRec of RecTools on a split of recbole_unisid: seconds an epoch, and until validation NDCG@10 reaches a goal.

    pip install 'rectools[torch]==0.19.0'
    recbole-unisid split amazon-beauty --to=split
    python benchmarks/rectools_convergence.py split --goal=.052

All items are ranked, those of the history too. Prints a line an epoch and JSON at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def interactions(part: Path, columns: Any) -> pd.DataFrame:
    """A part of a split with RecTools' columns; positions stand for times, so equal times keep their order."""
    table = pd.read_csv(part, dtype={"user": str, "item": str}, keep_default_na=False)
    days = pd.to_datetime(table["position"], unit="D")
    return pd.DataFrame(
        {
            columns.User: table["user"],
            columns.Item: table["item"],
            columns.Weight: 1.0,
            columns.Datetime: days,
        }
    )


def main() -> None:
    """Train an epoch at a time until the goal is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("split", type=Path)
    parser.add_argument("--goal", type=float, default=0.052)
    parser.add_argument("--epochs", type=int, default=60, help="at most")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--learning_rate", type=float, default=0.001)
    parser.add_argument("--seed", type=int, default=2020)
    options = parser.parse_args()

    from pytorch_lightning import seed_everything
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    seed_everything(options.seed)
    train, valid = (interactions(options.split / f"{part}.csv", Columns) for part in ("train", "valid"))
    dataset = Dataset.construct(train)
    model = SASRecModel(
        n_factors=options.width,
        n_heads=1,
        session_max_len=50,
        batch_size=options.batch_size,
        lr=options.learning_rate,
        epochs=options.epochs,
        deterministic=True,
    )
    target = dict(zip(valid[Columns.User], valid[Columns.Item], strict=True))
    users, history = np.array(list(target)), []
    cpu = clock = 0.0
    for epoch in range(1, options.epochs + 1):
        begun, at = time.process_time(), time.perf_counter()
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        cpu, clock = cpu + time.process_time() - begun, clock + time.perf_counter() - at
        known = users[np.isin(users, dataset.user_id_map.external_ids)]
        lists = model.recommend(users=known, dataset=dataset, k=10, filter_viewed=False)
        found = lists[lists[Columns.Item].to_numpy() == lists[Columns.User].map(target).to_numpy()]
        ndcg = float((1 / np.log2(found[Columns.Rank].to_numpy() + 1)).sum() / len(users))
        history.append({"epoch": epoch, "ndcg@10": ndcg, "cpu_seconds": cpu, "seconds": clock})
        print(f"epoch {epoch}: NDCG@10 {ndcg:.4f}, {cpu:.0f} CPU-s, {clock:.0f} s", flush=True)
        if ndcg >= options.goal:
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"history": history, "peak_gib": round(peak, 2), "goal": options.goal}))


if __name__ == "__main__":
    main()
