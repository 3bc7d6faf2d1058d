"""Targets of the day of the item before them, and later ones, raw, shuffled and by the calendar.

    python -m benchmarks.same_day RUNS... --to=results/tables/same-day-NAME [--metric=ndcg@10] [--reference=ItemID]

RUNS are folders with finished runs of one data set under `ties: raw`, `ties: shuffled:SEED` and `split: global_time`.
Tables as CSV, a model a row: mean and standard deviation over its runs (seeds; where ties are shuffled each with a seed
of ties of its own) a cell, and differences from the reference, in per cent and as an interval (95 %, paired bootstrap
over users of the mean over the runs).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import gap, spread
from recbole_unisid.commands.options import parse_options, positionals
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.statistics import bootstrap_mean, require_same_cases
from recbole_unisid.report.run_files import Run, find_runs, load_runs

#: The columns: a condition, and which of its cases.
COLUMNS = (
    *((condition, part) for condition in ("raw", "shuffled") for part in ("all", "same day", "later")),
    *(
        ("global time", part)
        for part in ("all", "same day", "later", "items trained on", "items not trained on")
    ),
)
#: A difference from a figure below this is written as it is: in per cent it says nothing.
SMALL = 0.01


def condition_of(run: Run) -> str:
    """Which of the three protocols a run has."""
    protocol = run.result["protocol"]
    return "global time" if protocol["split"] == "global_time" else str(protocol["ties"]).split(":")[0]


def name_of(run: Run) -> str:
    """The model; attention alone without score terms has a name of its own."""
    plain = run.settings.get("backbone") == "transformer" and not run.settings.get("score_terms")
    return f"{run.result['model']}, attention alone" if plain else str(run.result["model"])


def chosen(run: Run, part: str) -> NDArray[np.bool_]:
    """Which of a run's cases are of a part."""
    table = run.ranks
    parts: dict[str, Any] = {"all": np.ones(len(table.user), dtype=bool)}
    if table.same_time is not None:
        parts |= {"same day": table.same_time == 1, "later": table.same_time == 0}
    parts |= {"items trained on": table.target_popularity > 0}
    return np.asarray(parts.get(part, table.target_popularity == 0))


def values_of(run: Run, part: str, metric: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A metric of every case, 0 outside the part, and the part."""
    inside = chosen(run, part)
    return np.where(inside, per_user_metric(run.ranks.ranks["full"], metric), 0.0), inside


def cell(runs: Sequence[Run], part: str, metric: str) -> str:
    """Mean and standard deviation over runs."""
    found = [values_of(run, part, metric) for run in runs]
    means = np.array([values.sum() / max(inside.sum(), 1) for values, inside in found])
    return spread(means)


def difference(runs: Sequence[Run], others: Sequence[Run], part: str, metric: str) -> str:
    """Of the means over the seeds that both have, in per cent of the others' unless they are small; its interval."""
    base = {_made_with(run): run for run in others}
    pairs = [(run, base[_made_with(run)]) for run in runs if _made_with(run) in base]
    if not pairs:
        return ""
    for one, other in pairs:
        require_same_cases(one.ranks, other.ranks)
    # Shuffled ties move a user's target from one part to another.
    inside = np.mean([chosen(run, part) for run, _ in pairs], axis=0)
    apart = [values_of(a, part, metric)[0] - values_of(b, part, metric)[0] for a, b in pairs]
    kept = inside > 0
    apart_by_case = np.mean(apart, axis=0)[kept] / inside[kept].mean()
    mean = np.mean(
        [values_of(run, part, metric)[0].sum() / max(chosen(run, part).sum(), 1) for _, run in pairs]
    )
    interval = bootstrap_mean(apart_by_case, pairs[0][0].ranks.user[kept])
    return gap(interval, float(mean), SMALL)


def _made_with(run: Run) -> tuple[int, str]:
    return run.result["seed"], run.result["protocol"]["ties"]


def by_model(folders: Sequence[str]) -> dict[str, dict[str, list[Run]]]:
    """Runs by model and condition, each in the order of seeds."""
    found: dict[str, dict[str, list[Run]]] = {}
    for run in load_runs(find_runs(folders)):
        found.setdefault(name_of(run), {}).setdefault(condition_of(run), []).append(run)
    for conditions in found.values():
        for runs in conditions.values():
            runs.sort(key=_made_with)
    return dict(sorted(found.items(), key=lambda one: -max(_mean(runs) for runs in one[1].values())))


def _mean(runs: Sequence[Run]) -> float:
    return float(np.mean([run.result["test"]["full"]["ndcg@10"] for run in runs]))


def tables(
    models: Mapping[str, Mapping[str, Sequence[Run]]],
    columns: Sequence[tuple[str, str]],
    metric: str,
    reference: str,
) -> tuple[list[list[str]], list[list[str]]]:
    """The figures, and the differences from the reference over the seeds that both have."""
    head = [part if columns[0][0] == "global time" else f"{condition}, {part}" for condition, part in columns]
    figures, gaps, base = [["model", *head]], [["model", *head]], models[reference]
    for name, runs in models.items():
        figures.append([name, *(cell(runs[c], part, metric) if c in runs else "" for c, part in columns)])
        both = ((runs.get(c, ()), base.get(c, ()), part) for c, part in columns)
        cells = [difference(*pair, metric) for pair in both] if name != reference else []
        gaps += [[name, *cells]] if any(cells) else []
    return figures, gaps


def main() -> None:
    """Write the tables: NAME.csv and NAME-differences.csv of leave-one-out, NAME-global-time.csv and so on."""
    folders, rest = positionals(sys.argv[1:])
    options = parse_options(rest)
    models, start = by_model(folders), options["to"]
    for suffix, columns in (("", COLUMNS[:6]), ("-global-time", COLUMNS[6:])):
        found = tables(models, columns, options.get("metric", "ndcg@10"), options.get("reference", "ItemID"))
        for rows, kind in zip(found, ("", "-differences"), strict=True):
            with Path(f"{start}{suffix}{kind}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
