"""cornac's RPG on a split of recbole_unisid, with the codes of a finished run of ours; its scores are evaluated there.

    pip install torch cornac==3.0.1 transformers
    recbole-unisid split amazon-scientific-18 --to=split
    OMP_NUM_THREADS=1 python benchmarks/cornac_rpg.py split RUN/tokens.tsv split/cornac.npz n_epochs=20
    recbole-unisid evaluate split/cornac.npz --name="RPG of cornac"

Network, loss, batches, optimiser and schedule are cornac's; OPQ is left out, so that both models have the same codes.
All items are scored (``scoring='exact'``). What follows the files are settings of cornac's model as NAME=VALUE; the
others are its ``RPG_BEAUTY_CONFIG``, a fixed number of epochs without a choice by validation. ``--bfloat16`` takes
products in that precision, as ``enable_amp`` does for ours. With ``--part=valid`` the validation targets are scored.
The last line printed is JSON: the epochs, the model's parameters and the seconds of its training.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cornac.eval_methods import NextItemEvaluation
from cornac.models.rpg import RPG, RPG_BEAUTY_CONFIG
from numpy.typing import NDArray


class GivenCodes(RPG):  # type: ignore[misc]
    """cornac's RPG with codes [items, digits] in place of those that it would fit; rows in cornac's order of items."""

    def __init__(self, codes: NDArray[np.int64], **settings: Any) -> None:
        super().__init__(n_codebook=codes.shape[1], scoring="exact", **settings)
        self.codes = codes

    def _get_item_features(self) -> NDArray[np.float32]:
        return np.zeros((len(self.codes), 1), dtype=np.float32)

    def _opq_tokenize(self, feats: Any, train_mask: Any = None) -> NDArray[np.int64]:
        return self.codes

    def scores(self, histories: list[list[int]], batch: int = 256) -> NDArray[np.float32]:
        """Scores of all items after each history of cornac's item numbers, [histories, items]."""
        found = []
        for start in range(0, len(histories), batch):
            some = [history[-self.max_len :] for history in histories[start : start + batch]]
            inputs = torch.full((len(some), self.max_len), self.pad_idx)
            for row, history in enumerate(some):
                inputs[row, : len(history)] = torch.tensor(history)  # to the left, as in training
            with torch.no_grad():
                logits = self.model.next_item_logits(inputs, (inputs != self.pad_idx).float())
                found.append(self._exact_item_scores(logits.float()).numpy())
        return np.concatenate(found)


def rows(path: Path) -> list[tuple[str, str, int]]:
    """User, item and position of a part of a split."""
    with path.open(newline="") as lines:
        return [(row["user"], row["item"], int(row["position"])) for row in csv.DictReader(lines)]


def given_codes(path: Path) -> dict[str, list[int]]:
    """Each item's codes, of a run's ``tokens.tsv``."""
    with path.open(newline="") as lines:
        table = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(table)
        return {row[0]: [int(code) for code in row[1].split()] for row in table}


def main() -> None:
    """Train, score the targets' users and write the scores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("split", type=Path, help="folder of `recbole-unisid split`")
    parser.add_argument("tokens", type=Path, help="tokens.tsv of a run")
    parser.add_argument("scores", type=Path, help="the file to write, .npz")
    parser.add_argument("--part", choices=["valid", "test"], default="test")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("settings", nargs="*", help="of cornac's model, as NAME=VALUE")
    given = parser.parse_intermixed_args()
    settings = RPG_BEAUTY_CONFIG | dict(pair.split("=", 1) for pair in given.settings)
    settings = {name: json.loads(value) if isinstance(value, str) and value[:1].isdigit() else value
                for name, value in settings.items() if name not in ("n_codebook", "scoring")}  # fmt: skip

    train, valid = rows(given.split / "train.csv"), rows(given.split / "valid.csv")
    targets = valid if given.part == "valid" else rows(given.split / "test.csv")
    whole = (
        train + ([] if given.part == "valid" else valid) + targets
    )  # the history, and the target at its end
    method = NextItemEvaluation.from_splits(
        train_data=train, test_data=whole, fmt="SIT", exclude_unknowns=False, mode="last"
    )
    number, of_item = dict(method.global_iid_map), given_codes(given.tokens)
    codes = np.array([of_item[item] for item in sorted(number, key=number.__getitem__)])
    model = GivenCodes(codes, **settings | {"model_selection": "last", "seed": given.seed, "verbose": True})
    begun = time.process_time(), time.perf_counter()
    # Around the whole training: kept casts would stay those of the first step.
    with torch.autocast("cpu", torch.bfloat16, enabled=given.bfloat16, cache_enabled=False):
        model.fit(method.train_set)
    seconds = time.process_time() - begun[0], time.perf_counter() - begun[1]

    histories: dict[str, list[int]] = {user: [] for user, _, _ in targets}
    for user, item, _ in sorted(whole, key=lambda row: row[2]):
        if user in histories:
            histories[user].append(number[item])
    scores = model.scores([history[:-1] for history in histories.values()])
    np.savez(given.scores, scores=scores, user=np.array(list(histories)), item=np.array(list(number)))
    parameters = sum(weights.numel() for weights in model.model.parameters())
    print(json.dumps({"epochs": settings["n_epochs"], "parameters": parameters, "seconds": seconds}))


if __name__ == "__main__":
    main()
