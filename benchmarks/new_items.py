"""What new items gain and old ones lose: ``python -m benchmarks.new_items RUN [RUN ...]``.

RUNS are finished runs under ``--split=cold_items`` of one data set or several. An offset is added to the scores of the
items that were never trained on. *New*: test targets, all of which are such items. *Old*: validation targets, none of
which is. A line of CSV a data set, model and offset: means over the runs (seeds), seen items left out.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.ranked_again import FinishedRun
from recbole_unisid.data.split import TEST, VALID
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.ranks import ranks_from_scores

OFFSETS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0)
PHASES = {"old": VALID, "new": TEST}
METRICS = {"R@10": "recall@10", "NDCG@10": "ndcg@10"}


def ranks_of(run: Path) -> tuple[tuple[str, str], dict[str, NDArray[np.int64]]]:
    """Data set and model of a run, and the ranks of old and of new targets, [offsets, cases]."""
    finished, found = FinishedRun(run, "cold_items"), {}
    new = torch.from_numpy(finished.counts == 0)
    for name, phase in PHASES.items():
        parts = []
        for scores, targets, seen in finished.scored(phase):
            moved = (ranks_from_scores(scores + offset * new, targets, seen) for offset in OFFSETS)
            parts.append(np.stack([ranks["full"] for ranks in moved]))
        found[name] = np.concatenate(parts, axis=1)
    return finished.key, found


def main(runs: Sequence[str]) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    found: dict[tuple[str, str], list[dict[str, NDArray[np.int64]]]] = {}
    for run in runs:
        key, ranks = ranks_of(Path(run))
        found.setdefault(key, []).append(ranks)
    writer = csv.writer(sys.stdout)
    heads = [f"{name}, {metric}" for name in PHASES for metric in METRICS]
    writer.writerow(["data set", "model", "seeds", "offset", *heads])
    for (dataset, model), seeds in sorted(found.items()):
        for place, offset in enumerate(OFFSETS):
            means = [
                np.mean([per_user_metric(ranks[name][place], metric).mean() for ranks in seeds])
                for name in PHASES
                for metric in METRICS.values()
            ]
            cells = [f"{mean:.4f}".removeprefix("0") for mean in means]
            writer.writerow([dataset, model, len(seeds), f"{offset:+.1f}".replace("+0.0", "0"), *cells])


if __name__ == "__main__":
    main(sys.argv[1:])
