"""What each score term is worth: ``python -m benchmarks.score_terms RUN [RUN ...]``.

The terms of finished runs are fitted again without one or all of the others, on the same weights of the model, and
the test set is ranked. A line of CSV a choice of terms: means over the runs (seeds of one model and data set), and the
milliseconds that scoring takes a user on one thread beside those of the model alone, measured in turn.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_unisid.data.split import TEST
from recbole_unisid.evaluation.metrics import protocol_metrics
from recbole_unisid.evaluation.slices import make_slices, slice_metrics
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.models.score_terms import ScoreTerms
from recbole_unisid.recbole_adapter.collector import phase_recorder
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.finished_run import settings_as_made
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics
from recbole_unisid.runs.after_training import fit_terms
from recbole_unisid.serving.loaded import load

SLICES = ("head", "mid", "tail", "cold1_5")


def choices(terms: Sequence[str]) -> list[tuple[str, list[str]]]:
    """No term, each alone beside the offset of seen items, all, and all but one."""
    found: list[tuple[str, list[str]]] = [("none", [])]
    found += [(f"seen, {term}" if term != "seen" else term, list({"seen", term})) for term in terms]
    found += [("all", list(terms))]
    return found + [(f"all but {left}", [t for t in terms if t != left]) for left in terms]


def figures(run: Path) -> dict[str, dict[str, float]]:
    """Test figures of a run by choice of terms."""
    loaded = load(run)
    config = UniSIDConfig(
        loaded.config["model"], loaded.config["dataset"], settings_as_made(loaded.stored.settings)
    )
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    test, model, found = make_loaders(config, dataset).test, loaded.model, {}
    whole: ScoreTerms = model.terms
    for name, kept in choices(list(whole)):
        terms = {term: whole[term] for term in whole if term in kept}
        model.terms = ScoreTerms(terms, whole.unused, whole.scales) if terms else None
        if terms:
            fit_terms(config, dataset, model)
        recorder, seconds = phase_recorder(config, dataset, TEST), 0.0
        for interaction, *_ in test:
            started = time.process_time()
            with torch.no_grad():
                scores = model.full_sort_predict(interaction)
            seconds += time.process_time() - started
            scores[:, 0] = -torch.inf
            recorder.record(scores, interaction)
        found[name] = measured(dataset, recorder.result()) | {"ms": 1000 * seconds / len(recorder.targets)}
        print(f"{run.name}, {name}: {found[name]['ndcg']:.4f}", file=sys.stderr)
    return found


def measured(dataset: Any, ranks: Mapping[str, Any]) -> dict[str, float]:
    """Recall and NDCG at 10, without and with seen items, and NDCG by slice."""
    table = RankTable.of_cases(dataset.sequences, dataset.split, dataset.split.targets(TEST), dict(ranks))
    full, unfiltered = (protocol_metrics(ranks)[name] for name in ("full", "full_unfiltered"))
    slices = make_slices(dataset.split.training_counts(dataset.sequences), table.history_length)
    by_slice = slice_metrics(
        table.ranks["full"], table.target_popularity, table.history_length, slices, resamples=1
    )
    values = {"recall": full["recall@10"], "ndcg": full["ndcg@10"], "ndcg_all": unfiltered["ndcg@10"]}
    return values | {name: by_slice[name]["ndcg@10"] for name in SLICES}


def main(runs: Sequence[str]) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    found = [figures(Path(run)) for run in runs]
    writer = csv.writer(sys.stdout)
    columns = ["recall", "ndcg", "ndcg_all", *SLICES]
    writer.writerow(["terms", *columns, "ms a user"])
    for name in found[0]:
        means = [np.mean([one[name][column] for one in found]) for column in columns]
        texts = [f"{mean:.4f}".lstrip("0") for mean in means]
        writer.writerow([name, *texts, f"{np.mean([one[name]['ms'] for one in found]):.2f}"])


if __name__ == "__main__":
    main(sys.argv[1:])
