"""Items that a model was never trained on: the settings, the ranks and the paired differences of both studies.

The studies are `cold_added` (items that came later) and `cold_split` (the protocol's split).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.studies import PLAIN
from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.ranks import ranks_from_scores
from recbole_unisid.evaluation.statistics import bootstrap_mean
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import PrefixRowDataset

Ranks = NDArray[np.int64]
METRICS = ("recall@10", "ndcg@10", "recall@50")
RANDOM: dict[str, Any] = {"tokenizer": "random"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "UniSID": ("UniSID", {}),
    "SemanticID": ("SemanticID", {}),
    "DenseText": ("DenseText", {}),
    "DenseText, id_dim 8": ("DenseText", {"id_dim": 8}),
    "UniSID, random codes": ("UniSID", RANDOM),
    "SemanticID, random codes": ("SemanticID", RANDOM),
}


@dataclass(frozen=True)
class Study:
    """Where a study is and what of it is wanted."""

    dataset: str
    data_path: Path
    output: Path
    seeds: Sequence[int]
    models: Sequence[str]
    removed: int = 500
    epochs: int | None = None
    plain: bool = False
    draws: Sequence[int] = (12345,)

    def settings(self, seed: int, **more: Any) -> dict[str, Any]:
        """Settings of one run."""
        places = {"data_path": str(self.data_path), "output_dir": str(self.output / "runs")}
        budget = {} if self.epochs is None else {"epochs": self.epochs}
        return (PLAIN if self.plain else {}) | places | {"seed": seed, "show_progress": False} | budget | more

    def sequences(self) -> UserSequences:
        """Everybody's items."""
        dataset = PrefixRowDataset(UniSIDConfig("UniSID", self.dataset, self.settings(2020)))
        dataset.build_sequences()
        return dataset.sequences


def ranks_among(
    scores: NDArray[np.float32],
    histories: Sequence[NDArray[np.int64]],
    targets: NDArray[np.int64],
    new_from: int,
) -> dict[str, Ranks]:
    """Ranks among all items but those seen (``full``) and among the new of these alone (``new``)."""
    rows = torch.from_numpy(np.repeat(np.arange(len(histories)), [len(h) for h in histories]))
    seen = (rows, torch.from_numpy(np.concatenate(histories)))
    found = {"full": ranks_from_scores(torch.from_numpy(scores), torch.from_numpy(targets), seen)["full"]}
    if (targets >= new_from).all():
        apart = scores.copy()
        apart[:, :new_from] = -np.inf
        found["new"] = ranks_from_scores(torch.from_numpy(apart), torch.from_numpy(targets), seen)["full"]
    return found


def values_of(ranks: Mapping[str, Ranks]) -> dict[str, NDArray[np.float64]]:
    """Every metric of every case, by candidate set and metric."""
    return {f"{name} {metric}": per_user_metric(r, metric) for name, r in ranks.items() for metric in METRICS}


def mean_of(parts: Sequence[Mapping[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    """Case by case, over seeds or draws."""
    return {key: np.mean([part[key] for part in parts], axis=0) for key in parts[0]}


def summary(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Means over cases."""
    return {key: round(float(value.mean()), 4) for key, value in values.items()}


def differences(
    merged: Mapping[str, Mapping[str, NDArray[np.float64]]],
    users: Sequence[str],
    targets: Sequence[str],
    one: str = "UniSID",
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """One line against each other line: difference, its 95 % interval and p, for every metric.

    ``users``: had other users come. ``items``: had other items been cold, which is wider, since a few items
    are the target of many users.
    """
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, values in merged.items():
        if name == one:
            continue
        for key in values:
            gaps = merged[one][key] - values[key]
            for unit, owners in (("users", users), ("items", targets)):
                interval = bootstrap_mean(gaps, np.array(owners))
                rounded = [round(float(number), 4) for number in interval]
                found.setdefault(name, {}).setdefault(key, {})[unit] = rounded
    return found


def study_of_command(description: str | None, models: Sequence[str]) -> Study:
    """Read what the command line asks for; `models` are those of a study that names none."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="amazon-scientific-18")
    parser.add_argument("--data_path", type=Path, default=Path("dataset"))
    parser.add_argument("--output", type=Path, default=Path("cold-items"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    parser.add_argument("--models", nargs="+", default=models, choices=list(VARIANTS))
    parser.add_argument("--epochs", type=int, help="at most, the same for every model; default: its own")
    parser.add_argument("--plain", action="store_true", help="attention alone, without score terms")
    parser.add_argument("--draws", type=int, nargs="+", default=[12345], help="protocol seeds of a split")
    return Study(**vars(parser.parse_args()))
