"""Weights of score terms by likelihood or by ranks: ``python -m benchmarks.term_weights RUNS... --to=TABLE.csv``.

RUNS are folders with finished runs of both settings of ``term_weights``, under one protocol a data set. A row a data
set, model and setting: means and standard deviations over seeds on the test set, and the difference of `ranks` from
`likelihood` over the seeds that both have, in per cent, with an interval (95 %, paired bootstrap over users).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from benchmarks.backbones import MODELS, Seeds, cases_of, difference, mean
from recbole_unisid.commands.options import parse_options, positionals
from recbole_unisid.report.leaderboard import Run
from recbole_unisid.report.run_files import find_runs, load_runs

SLICES = ("head", "mid", "tail")


def main() -> None:
    """Write the table."""
    folders, rest = positionals(sys.argv[1:])
    found: dict[tuple[str, int], dict[str, dict[int, Run]]] = {}
    for run in load_runs(find_runs(folders)):
        if run.result["model"] not in MODELS:
            continue
        place = str(run.result["dataset"]), MODELS.index(str(run.result["model"]))
        how = str(run.settings.get("term_weights", "likelihood"))
        found.setdefault(place, {}).setdefault(how, {})[int(run.result["seed"])] = run
    rows = [["data set", "model", "weights", "seeds", "R@10", "NDCG@10", "to likelihood, NDCG@10", *SLICES]]
    for (dataset, model), ways in sorted(found.items()):
        for how in (how for how in ("likelihood", "ranks") if how in ways):
            rows.append([dataset, MODELS[model], how, *_figures(ways[how], ways.get("likelihood", {}), how)])
    with Path(parse_options(rest)["to"]).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _figures(runs: Seeds, others: Seeds, how: str) -> list[str]:
    first = next(iter(runs.values()))
    return [
        str(len(runs)),
        mean(runs, "recall@10"),
        mean(runs, "ndcg@10"),
        difference(runs, others, "ndcg@10") if how == "ranks" else "",
        *(mean(runs, "ndcg@10", cases_of(first, name)) for name in SLICES),
    ]


if __name__ == "__main__":
    main()
