"""SASRec of RecTools on a split of recbole_unisid; what it recommends is evaluated there.

    pip install 'rectools[torch]==0.19.0'
    recbole-unisid split ml-100k --to=split
    python examples/rectools_sasrec.py split split/rectools.csv --epochs=30
    recbole-unisid evaluate split/rectools.csv --name="SASRec of RecTools"

The last line printed is JSON: RecTools' own figures, the model's parameters and the CPU seconds of its training.
"""

import argparse
import json
import time
from pathlib import Path

import pandas as pd
from pytorch_lightning import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import MRR, NDCG, CatalogCoverage, MeanInvUserFreq, Recall, calc_metrics
from rectools.models import SASRecModel


def interactions(*parts: Path) -> pd.DataFrame:
    """Parts of a split with RecTools' columns; positions stand for times, so equal times keep their order."""
    text = {"user": str, "item": str}
    table = pd.concat([pd.read_csv(part, dtype=text, keep_default_na=False) for part in parts])
    days = pd.to_datetime(table["position"], unit="D")
    columns = {
        Columns.User: table["user"],
        Columns.Item: table["item"],
        Columns.Weight: 1.0,
        Columns.Datetime: days,
    }
    return pd.DataFrame(columns)


parser = argparse.ArgumentParser()
parser.add_argument("split", type=Path)
parser.add_argument("lists", type=Path)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--length", type=int, default=100)
given = parser.parse_args()

train, valid, test = (given.split / f"{part}.csv" for part in ("train", "valid", "test"))
seed_everything(given.seed)
model = SASRecModel(n_factors=64, n_heads=1, session_max_len=50, epochs=given.epochs, deterministic=True)
begun = time.process_time()
model.fit(Dataset.construct(interactions(train)))
seconds = time.process_time() - begun

targets = interactions(test)
# The history of a test target holds the validation item, and what a user had is not recommended again.
lists = model.recommend(
    users=targets[Columns.User].to_numpy(),
    dataset=Dataset.construct(interactions(train, valid)),
    k=given.length,
    filter_viewed=True,
)
lists.to_csv(given.lists, index=False)
metrics = {
    "recall@10": Recall(k=10),
    "ndcg@10": NDCG(k=10, divide_by_achievable=True),
    "ndcg@10 by default": NDCG(k=10),
    "mrr@10": MRR(k=10),
    "coverage@10": CatalogCoverage(k=10, normalize=True),
    "novelty@10": MeanInvUserFreq(k=10),
}
catalogue = pd.read_csv(given.split / "items.csv", dtype={"item": str}, keep_default_na=False)["item"]
own = calc_metrics(
    metrics, lists, targets, prev_interactions=interactions(train), catalog=catalogue.to_numpy()
)
figures = {name: float(value) for name, value in own.items()}
parameters = sum(weights.numel() for weights in model.torch_model.parameters())
print(json.dumps({"figures": figures, "parameters": parameters, "seconds": seconds}))
