"""`recbole_unisid.results`: finished runs as a table for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_unisid.report.leaderboard import Run, protocol_hash
from recbole_unisid.report.run_files import find_runs, load_runs


def results(*places: str | Path) -> pd.DataFrame:
    """Read finished runs, in these folders or below them, one a row.

    Figures of the test stand under their candidate set and metric, ``full ndcg@10``, of lists under ``coverage@10`` and
    the like; beside them are the model's label, the protocol with its hash, sizes, times and the run's folder. What a
    run has not is missing. A place without a run, or a damaged run, is a UserError.
    """
    return as_frame({str(run.folder): run for run in load_runs(find_runs(places))})


def as_frame(runs: Mapping[str, Run]) -> pd.DataFrame:
    """The table of some runs, by where each lies."""
    return pd.DataFrame([{**dict(_row(run)), "run_dir": place} for place, run in runs.items()])


def _row(run: Run) -> Iterator[tuple[str, Any]]:
    yield "dataset", run.result["dataset"]
    yield "model", run.label
    yield "seed", run.result["seed"]
    yield from ((key, run.find("protocol", key)) for key in ("split", "ties"))
    yield "protocol", protocol_hash(run.result["protocol"])
    for candidates in run.ranks.ranks:
        figures = run.find("test", candidates) or {}
        yield from ((f"{candidates} {metric}", value) for metric, value in figures.items())
    yield from (run.find("test", "lists") or {}).items()
    yield "parameters", run.find("parameters", "training")
    yield "token_parameters", run.find("parameters", "tokens")
    yield "training_seconds", run.training_seconds
    yield "training_cpu_minutes", run.cpu_minutes
    yield "epochs", run.find("epochs")
