"""Items with little training moved towards their neighbours: ``python -m benchmarks.shrinkage RUN [RUN ...]``.

RUNS are finished runs with the score term text. The vector of an item that was trained on n times, 1 to 14, is moved by
exp(-n / 5) towards the mean over the ten other trained items of nearest text, as that of a new item
(:mod:`recbole_unisid.items.new_items`). A line of CSV a data set, model and form: NDCG@10 on validation, means over the
runs (seeds); moved with the run's weights of score terms, and with weights that are fitted anew after it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.ranked_again import FinishedRun
from recbole_unisid.data.split import VALID
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.ranks import ranks_from_scores
from recbole_unisid.items.new_items import TEMPERATURE
from recbole_unisid.runs.single import fit_terms

NEIGHBOURS, RATE, MOST = 10, 5.0, 14


@torch.no_grad()
def moved(finished: FinishedRun) -> Tensor:
    """The catalogue's vectors, [n_items + 1, width]."""
    items, counts = finished.model.items, torch.from_numpy(finished.counts)
    vectors, texts = items.all_items(), normalize(finished.model.terms["text"].vectors)
    trained = counts.nonzero().flatten()
    few, means = trained[counts[trained] <= MOST], []
    for some in few.split(1000):
        cosines = texts[some] @ texts[trained].T
        cosines[some[:, None] == trained] = -torch.inf
        highest, places = cosines.topk(NEIGHBOURS)
        weights = (highest / TEMPERATURE).softmax(1)[:, :, None]
        means.append((vectors[trained[places]] * weights).sum(1))
    shares = (-counts[few] / RATE).exp()[:, None]
    return vectors.index_copy(0, few, vectors[few].lerp(torch.cat(means), shares.to(vectors)))


def figures(finished: FinishedRun) -> list[float]:
    """NDCG@10 of all validation targets, of head, mid and tail, and of items with 1 to 5 interactions."""
    finished.model.train().eval()  # vectors kept from before are dropped
    found = [(ranks_from_scores(*batch)["full"], batch.targets.numpy()) for batch in finished.scored(VALID)]
    ranks, targets = (np.concatenate(part) for part in zip(*found, strict=True))
    ndcg, often = per_user_metric(ranks, "ndcg@10"), finished.counts[targets]
    parts = [*finished.slices(targets).values(), (often >= 1) & (often <= 5)]
    return [float(ndcg.mean()), *(float(ndcg[part].mean()) for part in parts)]


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    found: dict[tuple[str, str, str], list[list[float]]] = {}
    for run in arguments:
        finished = FinishedRun(Path(run))
        forms = {"as trained": figures(finished)}
        vectors = moved(finished)
        finished.model.items.all_items = lambda vectors=vectors: vectors
        forms["moved"] = figures(finished)
        fit_terms(finished.config, finished.dataset, finished.model)
        forms["moved, refitted"] = figures(finished)
        for form, values in forms.items():
            found.setdefault((*finished.key, form), []).append(values)
    writer = csv.writer(sys.stdout)
    writer.writerow(
        ["data set", "model", "seeds", "vectors", "NDCG@10", "head", "mid", "tail", "1 to 5 interactions"]
    )
    for (dataset, model, form), seeds in found.items():
        cells = (f"{value:.4f}".removeprefix("0") for value in np.mean(seeds, axis=0))
        writer.writerow([dataset, model, len(seeds), form, *cells])


if __name__ == "__main__":
    main(sys.argv[1:])
