"""Several models and seeds: what is missing is run, then all stand in one leaderboard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_unisid import distributed
from recbole_unisid.errors import UserError, machine_trouble
from recbole_unisid.files import fingerprint
from recbole_unisid.plugins.loading import failed_in
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import check_same_data
from recbole_unisid.recbole_adapter.progress import further_runs
from recbole_unisid.report.gather import gather_report
from recbole_unisid.report.leaderboard import make_leaderboard
from recbole_unisid.report.page import write_report
from recbole_unisid.report.run_files import load_runs
from recbole_unisid.report.tables import to_screen
from recbole_unisid.runs.folder import RunFolder
from recbole_unisid.runs.single import run_single


def run_many(configs: Sequence[UniSIDConfig], verbose: bool = True) -> list[dict[str, Any]]:
    """Run what has no finished folder yet, write the leaderboard and the report of all, and give their results.

    A run that cannot be done is said and left out; it is an error once the others are done and reported. Stopped,
    the table of what has finished is shown.
    """
    verbose = verbose and distributed.is_writer()
    check_same_data(configs)
    folders = [RunFolder(config) for config in configs]
    _check_none_twice(folders)
    missing = [one.config for one in folders if one.result() is None]
    if verbose:
        print(f"{len(configs)} runs, {len(configs) - len(missing)} of them finished before")
    started = time.perf_counter()
    results: list[dict[str, Any]] = []
    failed: list[str] = []
    try:
        for config in configs:
            new = next((number for number, one in enumerate(missing, start=1) if one is config), 0)
            elapsed = time.perf_counter() - started
            if verbose and new:
                print(f"\n[{new}/{len(missing)}] {config['model']}, seed {config['seed']}")
            try:
                with further_runs(len(missing) - new, elapsed / (new - 1) if new > 1 else None):
                    results.append(run_single(config, verbose and new > 0))
            except Exception as error:
                line = _said_of(error)
                # A bug of ours is no line; and several processes must stay in step.
                if line is None or len(configs) == 1 or distributed.world() > 1:
                    raise
                failed.append(f"{config['model']}, seed {config['seed']}: {line}")
                if verbose:
                    print(f"not done: {line}")
    except KeyboardInterrupt:
        if verbose and results:
            _show_finished(results, len(configs))
        raise
    if results and distributed.is_writer():
        _write_benchmark(results, verbose)
    if failed:
        left = f"; the report of the others is in {benchmark_folder(results)}" if results else ""
        raise UserError(f"{len(failed)} of {len(configs)} runs could not be done{left}. {' '.join(failed)}")
    return results


def _check_none_twice(folders: Sequence[RunFolder]) -> None:
    twice = [one for at, one in enumerate(folders) if one.path in {earlier.path for earlier in folders[:at]}]
    if twice:
        told = f"{twice[0].config['model']} with seed {twice[0].config['seed']}"
        raise UserError(f"{told} is asked for twice: name a model once, and a seed once.")


def _said_of(error: Exception) -> str | None:
    """One line for an error that is not a bug of ours; None for one that is."""
    return str(error) if isinstance(error, UserError) else failed_in(error) or machine_trouble(error)


def _show_finished(results: Sequence[dict[str, Any]], asked: int) -> None:
    """Print the table of what was finished before a stop."""
    print(f"\nStopped; {len(results)} of {asked} runs are finished.\n")
    runs = load_runs([result["run_dir"] for result in results])
    print(to_screen(make_leaderboard(runs)))


def _write_benchmark(results: Sequence[dict[str, Any]], verbose: bool) -> None:
    """Write the leaderboard and the page of all runs."""
    report = gather_report([result["run_dir"] for result in results])
    page = write_report(report, benchmark_folder(results))
    if verbose:
        print(f"\n{to_screen(report.board)}\n\n-> {page}")


def benchmark_folder(results: Sequence[dict[str, Any]]) -> Path:
    """``<output_dir>/<dataset>/benchmark-<hash>/`` of a set of runs."""
    folders = [Path(result["run_dir"]) for result in results]
    names = fingerprint([f"{folder.parent.name}/{folder.name}" for folder in folders])[:12]
    return folders[0].parents[1] / f"benchmark-{names}"
