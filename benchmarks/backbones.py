"""What reads a history against what an item is: ``python -m benchmarks.backbones RUNS... --to=results/tables/NAME``.

RUNS are folders with finished runs of one data set or several, each set under one protocol. Two tables, as CSV:

- NAME.csv: a row a data set, backbone and model. Mean and standard deviation over seeds, the difference from the same
  model with the transformer and from ItemID with the same backbone, CPU minutes of training.
- NAME-slices.csv: NDCG@10 by slice with the filter, and UniSID's difference from the best other model.

Differences are of means over the seeds that both have, in per cent, with an interval (95 %, paired bootstrap over
users).
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import gap, spread
from recbole_unisid.commands.options import parse_options, positionals
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.statistics import bootstrap_mean, require_same_cases
from recbole_unisid.report.leaderboard import Run
from recbole_unisid.report.run_files import find_runs, load_runs

METRICS = {"R@10": "recall@10", "NDCG@10": "ndcg@10"}
MODELS = ("UniSID", "SemanticID", "DenseText", "ItemID")
#: Slices by what a table calls them.
SLICES = {name: name for name in ("head", "mid", "tail", "short", "long")} | {
    "1 to 5 interactions": "cold1_5"
}

#: Runs by seed.
Seeds = Mapping[int, Run]


def grouped(runs: Iterable[Run]) -> dict[tuple[str, str], dict[str, dict[int, Run]]]:
    """Runs by data set and backbone, then model, then seed."""
    found: dict[tuple[str, str], dict[str, dict[int, Run]]] = {}
    for run in sorted(runs, key=lambda run: (run.result["dataset"], run.result["seed"])):
        cell = (str(run.result["dataset"]), str(run.settings["backbone"]))
        of_model = found.setdefault(cell, {}).setdefault(str(run.result["model"]), {})
        if run.result["seed"] in of_model:
            sys.exit(f"{run.folder}: {run.result['model']} with this backbone and seed is given twice")
        of_model[run.result["seed"]] = run
    return found


#: The cases that count: all, or those of a slice.
Inside = NDArray[np.bool_] | slice
ALL = slice(None)


def values_of(runs: Iterable[Run], metric: str, inside: Inside) -> NDArray[np.float64]:
    """A metric of every case `inside`, [runs, cases]."""
    return np.stack([per_user_metric(run.ranks.ranks["full"], metric)[inside] for run in runs])


def mean(runs: Seeds, metric: str, inside: Inside = ALL) -> str:
    """Mean and standard deviation over seeds."""
    return spread(values_of(runs.values(), metric, inside).mean(1))


def difference(runs: Seeds, others: Seeds, metric: str, inside: Inside = ALL) -> str:
    """From the others over the seeds that both have; nothing where there is none."""
    both = [seed for seed in runs if seed in others]
    if not both:
        return ""
    for seed in both:
        require_same_cases(runs[seed].ranks, others[seed].ranks)
    ours, base = (values_of([of[seed] for seed in both], metric, inside).mean(0) for of in (runs, others))
    users = runs[both[0]].ranks.user[inside]
    return gap(bootstrap_mean(ours - base, users), float(base.mean()))


def backbone_rows(cells: Mapping[tuple[str, str], Mapping[str, Seeds]]) -> list[list[str]]:
    """The first table."""
    against = ["to the transformer, NDCG@10", "to ItemID, NDCG@10"]
    rows = [["data set", "backbone", "model", "seeds", *METRICS, *against, "CPU min"]]
    for (dataset, backbone), models in cells.items():
        for model in (name for name in MODELS if name in models):
            runs, plain = models[model], cells.get((dataset, "transformer"), {}).get(model, {})
            rows.append(
                [dataset, backbone, model, str(len(runs))]
                + [mean(runs, metric) for metric in METRICS.values()]
                + [difference(runs, plain, "ndcg@10") if backbone != "transformer" else ""]
                + [difference(runs, models.get("ItemID", {}), "ndcg@10") if model != "ItemID" else ""]
                + [f"{np.mean([run.cpu_minutes or np.nan for run in runs.values()]):.1f}"]
            )
    return rows


def cases_of(run: Run, name: str) -> NDArray[np.bool_]:
    """The cases of a slice, by the limits that its rule in ``result.json`` states: as many as it counts there."""
    rule = str(run.find("test", "slices", name, "rule"))
    measure = run.ranks.history_length if rule.startswith("history") else run.ranks.target_popularity
    if between := re.search(r"(\d+) \.\. (\d+)", rule):
        inside = (measure >= int(between[1])) & (measure <= int(between[2]))
    else:
        sign, limit = re.findall(r"(<=|>=|<|>) (\d+)", rule)[0]
        compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[sign]
        inside = np.asarray(compare(measure, int(limit)))
    if inside.sum() != run.find("test", "slices", name, "n"):
        sys.exit(f"{run.folder}: '{rule}' are not the cases that result.json counts")
    return inside


def slice_rows(cells: Mapping[tuple[str, str], Mapping[str, Seeds]]) -> list[list[str]]:
    """The second table."""
    rows = [["data set", "model", "seeds", *SLICES]]
    for (dataset, backbone), models in cells.items():
        if backbone != "filter":
            continue
        inside = {name: cases_of(next(iter(models["UniSID"].values())), name) for name in SLICES.values()}
        for model in (name for name in MODELS if name in models):
            means = [mean(models[model], "ndcg@10", inside[name]) for name in SLICES.values()]
            rows.append([dataset, model, str(len(models[model])), *means])
        gaps = []
        for name in SLICES.values():
            others = {m: values_of(of.values(), "ndcg@10", inside[name]).mean() for m, of in models.items()}
            best = max((m for m in others if m != "UniSID"), key=others.__getitem__)
            gaps.append(f"{best}: {difference(models['UniSID'], models[best], 'ndcg@10', inside[name])}")
        rows.append([dataset, "UniSID to the best other", "", *gaps])
    return rows


def main() -> None:
    """Write both tables."""
    folders, rest = positionals(sys.argv[1:])
    cells = grouped(load_runs(find_runs(folders)))
    start = parse_options(rest)["to"]
    for suffix, rows in (("", backbone_rows(cells)), ("-slices", slice_rows(cells))):
        with Path(f"{start}{suffix}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
