"""Items with little training moved towards their neighbours: ``python -m benchmarks.shrinkage RUN [RUN ...]``.

RUNS are finished runs with the score term text, trained under leave-one-out. A line of CSV a data set, model and form,
NDCG@10 on validation, means over the runs (seeds): vectors as trained; moved towards the ten nearest texts by
exp(-n / 5), as the setting `shrinkage` of UniSID says; with popularity times 1.1 and 1.2 besides; and with weights of
score terms that are fitted anew after it. Weights are those of the run, with its popularity as fitted.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.ranked_again import FinishedRun
from recbole_unisid.data.split import VALID
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.ranks import ranks_from_scores
from recbole_unisid.items.new_items import shrink_to_neighbours
from recbole_unisid.runs.after_training import fit_terms

NEIGHBOURS, RATE, SCALES = 10, 5.0, (1.1, 1.2)


def figures(finished: FinishedRun) -> list[float]:
    """NDCG@10 of all validation targets, of head, mid and tail, and of items with 1 to 5 and no interactions."""
    finished.model.train().eval()  # vectors kept from before are dropped
    found = [(ranks_from_scores(*batch)["full"], batch.targets.numpy()) for batch in finished.scored(VALID)]
    ranks, targets = (np.concatenate(part) for part in zip(*found, strict=True))
    ndcg, often = per_user_metric(ranks, "ndcg@10"), finished.counts[targets]
    parts = [*finished.slices(targets).values(), (often >= 1) & (often <= 5), often == 0]
    return [float(ndcg.mean()), *(float(ndcg[part].mean()) for part in parts)]


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    found: dict[tuple[str, str, str], list[list[float]]] = {}
    for run in arguments:
        finished, forms = FinishedRun(Path(run)), dict[str, list[float]]()
        model, terms = finished.model, finished.model.terms
        new_items, place = model.items.new_items, terms.features.index("popularity")
        fitted = finished.popularity_as_fitted()
        terms.weights[place], terms.scales = fitted, {}
        new_items.neighbours, new_items.shift = NEIGHBOURS, None
        forms["as trained"] = figures(finished)
        shrink_to_neighbours(model, finished.counts, RATE)
        forms["moved"] = figures(finished)
        for scale in SCALES:
            terms.weights[place] = scale * fitted
            forms[f"moved, popularity x {scale:g}"] = figures(finished)
        fit_terms(finished.config, finished.dataset, model)
        forms["moved, refitted"] = figures(finished)
        for form, values in forms.items():
            found.setdefault((*finished.key, form), []).append(values)
    writer = csv.writer(sys.stdout)
    writer.writerow(
        [
            "data set",
            "model",
            "seeds",
            "vectors",
            "NDCG@10",
            "head",
            "mid",
            "tail",
            "1 to 5 interactions",
            "none",
        ]
    )
    for (dataset, model_name, form), seeds in found.items():
        cells = (f"{value:.4f}".removeprefix("0") for value in np.mean(seeds, axis=0))
        writer.writerow([dataset, model_name, len(seeds), form, *cells])


if __name__ == "__main__":
    main(sys.argv[1:])
