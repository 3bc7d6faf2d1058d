"""What more or less popularity does: ``python -m benchmarks.popularity_scale [--test] RUN [RUN ...]``.

RUNS are finished runs with the score term popularity. Its fitted weight is multiplied, on the validation targets or
with ``--test`` on those of the test; a line of CSV a data set, model and scale: means of NDCG@10 over the runs (seeds),
of all cases and by how often the target was trained on, and the difference of all from the weight as fitted with its
standard error over users, in per cent.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.data.split import TEST, VALID
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.ranks import ranks_from_scores
from recbole_unisid.evaluation.slices import popularity_thresholds
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import HistoryLoader, make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics
from recbole_unisid.serving.loaded import load

SCALES = (0.8, 0.9, 1.0, 1.1, 1.2)


class Scaled(NamedTuple):
    """NDCG@10 of a run's cases by scale, and which cases are of which slice."""

    key: tuple[str, str]  # data set and model
    ndcg: NDArray[np.float64]  # [scales, cases]
    slices: dict[str, NDArray[np.bool_]]  # [cases] each


@torch.no_grad()
def scaled(run: Path, phase: int, scales: Sequence[float] = SCALES) -> Scaled:
    """Rank a run's targets of `phase` with its weight of popularity as fitted, times each of `scales`."""
    loaded = load(run)
    config = UniSIDConfig(loaded.config["model"], loaded.config["dataset"], dict(loaded.stored.settings))
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    make_loaders(config, dataset)
    model, terms = loaded.model.eval(), loaded.model.terms
    if terms is None or "popularity" not in terms:
        sys.exit(f"{run} has no score term popularity.")
    place = terms.features.index("popularity")
    fitted = terms.weights[place] / terms.scales.get("popularity", 1.0)
    terms.weights[place] = fitted
    ranks: list[list[NDArray[np.int64]]] = [[] for _ in scales]
    targets = []  # in the loader's order
    for interaction, _, _, asked in HistoryLoader(config, dataset, dataset.split.targets(phase)):
        targets.append(asked.numpy())
        scores, histories = model.full_sort_predict(interaction), interaction[model.ITEM_SEQ]
        rows, places = histories.nonzero(as_tuple=True)
        for of_scale, scale in zip(ranks, scales, strict=True):
            moved = scores + (scale - 1) * fitted * terms["popularity"].level
            of_scale.append(ranks_from_scores(moved, asked, (rows, histories[rows, places]))["full"])
    ndcg = np.stack([per_user_metric(np.concatenate(of_scale), "ndcg@10") for of_scale in ranks])
    counts = np.asarray(dataset.split.training_counts(dataset.sequences))
    often, (head, mid) = counts[np.concatenate(targets)], popularity_thresholds(counts)
    slices = {"head": often >= head, "mid": (often >= mid) & (often < head), "tail": often < mid}
    return Scaled((str(config["dataset"]), str(config["model"])), ndcg, slices)


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    runs = [Path(argument) for argument in arguments if argument != "--test"]
    found: dict[tuple[str, str], list[Scaled]] = {}
    for run in runs:
        one = scaled(run, VALID if len(runs) == len(arguments) else TEST)
        found.setdefault(one.key, []).append(one)
    writer = csv.writer(sys.stdout)
    writer.writerow(
        ["data set", "model", "seeds", "scale", "NDCG@10", "difference, %", "head", "mid", "tail"]
    )
    for (dataset, model), seeds in sorted(found.items()):
        ndcg, slices = np.mean([seed.ndcg for seed in seeds], axis=0), seeds[0].slices
        base = ndcg[SCALES.index(1.0)]
        for scale, values in zip(SCALES, ndcg, strict=True):
            gaps = 100 * (values - base) / base.mean()
            parts = [values, *(values[inside] for inside in slices.values())]
            all_cases, *others = (f"{part.mean():.4f}".removeprefix("0") for part in parts)
            told = f"{gaps.mean():+.1f} ± {gaps.std(ddof=1) / len(gaps) ** 0.5:.1f}".replace("0.", ".")
            writer.writerow([dataset, model, len(seeds), f"{scale:g}", all_cases, told, *others])


if __name__ == "__main__":
    main(sys.argv[1:])
