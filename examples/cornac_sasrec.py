"""SASRec of cornac on a split of recbole_unisid; its scores are evaluated there.

    pip install torch cornac==3.0.1 pandas pyarrow
    recbole-unisid split ml-100k --to=split
    python examples/cornac_sasrec.py split split/cornac.npz --epochs=5
    recbole-unisid evaluate split/cornac.npz --name="SASRec of cornac"

The last line printed is JSON: cornac's own figures, the model's parameters and the CPU seconds of its training.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from cornac.eval_methods import NextItemEvaluation
from cornac.metrics import MRR, NDCG, Recall
from cornac.models import SASRec


def sessions(table: pd.DataFrame) -> list[tuple[str, str, int]]:
    """One session a user: session, item and time, which is the position in the user's history."""
    return list(table[["user", "item", "position"]].itertuples(index=False, name=None))


parser = argparse.ArgumentParser()
parser.add_argument("split", type=Path)
parser.add_argument("scores", type=Path)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--seed", type=int, default=1)
given = parser.parse_args()

train, valid, test = (pd.read_parquet(given.split / f"{part}.parquet") for part in ("train", "valid", "test"))
# A session to test on is the whole history with the target at its end.
whole = pd.concat([train, valid, test])
whole = whole[whole["user"].isin(test["user"])].sort_values(["user", "position"])
method = NextItemEvaluation.from_splits(
    train_data=sessions(train), test_data=sessions(whole), fmt="SIT", exclude_unknowns=False, mode="last"
)
model = SASRec(embedding_dim=64, n_sample=512, n_epochs=given.epochs, seed=given.seed)
begun = time.process_time()
model.fit(method.train_set)
seconds = time.process_time() - begun

number = dict(method.global_iid_map)
histories = whole.groupby("user", sort=False)["item"].apply(list)
scores = np.stack([model.score(0, [number[item] for item in items[:-1]]) for items in histories])
np.savez(
    given.scores, scores=scores, user=histories.index.to_numpy(str), item=np.array(list(number), dtype=str)
)

# method.evaluate would train the model again.
own = method.eval(model, method.train_set, method.test_set, False, [Recall(k=10), NDCG(k=10), MRR()])
figures = {name.lower(): float(value) for name, value in own.metric_avg_results.items()}
parameters = sum(weights.numel() for weights in model.model.parameters())
print(json.dumps({"figures": figures, "parameters": parameters, "seconds": seconds}))
