"""What more or less popularity does: ``python -m benchmarks.popularity_scale [--test] RUN [RUN ...]``.

RUNS are finished runs with the score term popularity. Its fitted weight is multiplied, on the validation targets or
with ``--test`` on those of the test; a line of CSV a data set, model and scale: means of NDCG@10 over the runs (seeds),
of all cases and by how often the target was trained on, and the difference of all from the weight as fitted with its
standard error over users, in per cent.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.ranked_again import FinishedRun
from recbole_unisid.data.split import TEST, VALID
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.ranks import ranks_from_scores

SCALES = (0.8, 0.9, 1.0, 1.1, 1.2)


class Scaled(NamedTuple):
    """NDCG@10 of a run's cases by scale, and which cases are of which slice."""

    key: tuple[str, str]  # data set and model
    ndcg: NDArray[np.float64]  # [scales, cases]
    slices: dict[str, NDArray[np.bool_]]  # [cases] each


def scaled(run: Path, phase: int, scales: Sequence[float] = SCALES) -> Scaled:
    """Rank a run's targets of `phase` with its weight of popularity as fitted, times each of `scales`."""
    finished = FinishedRun(run)
    terms = finished.model.terms
    if terms is None or "popularity" not in terms:
        sys.exit(f"{run} has no score term popularity.")
    place = terms.features.index("popularity")
    fitted = terms.weights[place] = finished.popularity_as_fitted()
    ranks: list[list[NDArray[np.int64]]] = [[] for _ in scales]
    asked = []
    for scores, targets, seen in finished.scored(phase):
        asked.append(targets.numpy())
        for of_scale, scale in zip(ranks, scales, strict=True):
            moved = scores + (scale - 1) * fitted * terms["popularity"].level
            of_scale.append(ranks_from_scores(moved, targets, seen)["full"])
    ndcg = np.stack([per_user_metric(np.concatenate(of_scale), "ndcg@10") for of_scale in ranks])
    return Scaled(finished.key, ndcg, finished.slices(np.concatenate(asked)))


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
            told = f"{gaps.mean():+.1f} ± {gaps.std(ddof=1) / len(gaps) ** 0.5:.1f}"
            told = re.sub(r"\b0\.", ".", told)
            writer.writerow([dataset, model, len(seeds), f"{scale:g}", all_cases, told, *others])


if __name__ == "__main__":
    main(sys.argv[1:])
