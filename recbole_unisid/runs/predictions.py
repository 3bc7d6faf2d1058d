"""`recbole_unisid.evaluate`: a model that was trained elsewhere, as a run like any other."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from recbole_unisid.config.given import given_settings, take_dataset
from recbole_unisid.data.split import TEST
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.predicted_ranks import Ranked, rank_predictions
from recbole_unisid.evaluation.predictions import read_predictions
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.files import fingerprint, write_text
from recbole_unisid.recbole_adapter.registry import known_models
from recbole_unisid.runs.folder import finish_run, owned
from recbole_unisid.runs.machine import versions
from recbole_unisid.runs.result import evaluated
from recbole_unisid.runs.split_files import PROTOCOL_FILE, LoadedSplit, load_split, read_protocol


def evaluate(
    predictions: str | Path | pd.DataFrame,
    name: str,
    dataset: str | None = None,
    config_dict: Mapping[str, Any] | None = None,
    *,
    protocol: str | Path | None = None,
    seed: int = 0,
    seen: str = "auto",
    missing: str = "error",
    parameters: int | None = None,
    seconds: float | None = None,
    command: str | None = None,
    verbose: bool = True,
) -> dict[str, Any]:
    """Evaluate ranked lists or scores of a model that was trained elsewhere, and write its run folder.

    Parameters
    ----------
    predictions : str, Path or pandas.DataFrame
        Lists: a row for each user and item with its `rank` or `score` (Parquet, CSV or a data frame), and the
        target's `position` where a user has several. Scores: an ``.npz`` with `scores` [rows, items], `user`, `item`.
    name : str
        The model's name in tables and folders.
    config_dict : mapping, optional
        Settings of the protocol and the data, as :func:`recbole_unisid.run` has them; where there is a `protocol`, its
        own settings are taken and these may say places only.
    protocol : str or Path, optional
        ``protocol.json`` of :func:`recbole_unisid.split`; by default the one beside the file of predictions.
    seed : int
        Of the model's training: one file is one seed.
    seen, missing : str
        See :func:`recbole_unisid.evaluation.predicted_ranks.rank_predictions`.
    parameters, seconds, command : optional
        What the model has, what its training took (by the clock) and what ran it, as you know them.

    Returns
    -------
    dict
        ``result.json`` with ``run_dir``, the run's folder.

    Raises
    ------
    UserError
        For predictions that do not belong to the split, in one line.
    """
    _check_name(name)
    _check_word("seen", seen, ("auto", "in", "out"))
    _check_word("missing", missing, ("error", "miss"))
    seed, parameters, seconds = _plain_numbers(seed, parameters, seconds)
    loaded = _load(predictions, dataset, config_dict or {}, protocol)
    sequences, split, config = loaded.sequences, loaded.split, loaded.config
    rows = read_predictions(predictions, sequences)
    ranked = rank_predictions(rows, sequences, split, config, seen, missing)
    digest = fingerprint(rows.users, rows.positions, rows.items, rows.scores)
    marks = fingerprint(loaded.hash, digest, [seen, missing, parameters, seconds, command])[:12]
    folder = Path(config["output_dir"]) / config["dataset"] / name / f"{seed}-{marks}"
    with owned(folder, verbose):
        settings = loaded.settings | {"model": name, "seed": seed, "dataset": config["dataset"]}
        write_text(folder / "config.yaml", yaml.safe_dump(settings, sort_keys=True, allow_unicode=True))
        table = RankTable.of_cases(sequences, split, split.targets(TEST), ranked.ranks)
        table.save(folder / "ranks.npz")
        about = {"model": name, "dataset": config["dataset"], "seed": seed, "recipe": "default"}
        result = _result(loaded, ranked, table, about)
        result["predictions"] |= {"rows": digest, "command": command}
        result["parameters"]["training"] = parameters
        result["seconds"]["training"] = seconds
        finish_run(folder, result)
    if verbose:
        print("\n".join(ranked.notes))
    return result | {"run_dir": str(folder)}


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][\w.+() -]{0,59}", name):
        raise UserError(
            f"--name={name!r} must begin with a letter or digit, then letters, digits, blanks and .+-_(), 60 at most."
        )
    if name in known_models():
        raise UserError(f"--name={name} is a model here: tell yours from it, such as {name}-elsewhere.")


def _check_word(key: str, value: str, words: Sequence[str]) -> None:
    if value not in words:
        raise UserError(f"--{key}={value} must be one of {', '.join(words)}.")


def _plain_numbers(
    seed: int, parameters: int | None, seconds: float | None
) -> tuple[int, int | None, float | None]:
    """The numbers of a call as JSON has them; refused below 0 and where they are no numbers."""
    for key, value in {"seed": seed, "parameters": 0 if parameters is None else parameters}.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise UserError(f"--{key}={value} is no whole number from 0 on.")
    if seconds is not None and not 0 <= seconds < math.inf:
        raise UserError(f"--seconds={seconds} is no number of seconds.")
    return (
        int(seed),
        None if parameters is None else int(parameters),
        None if seconds is None else float(seconds),
    )


def _load(
    predictions: str | Path | pd.DataFrame,
    dataset: str | None,
    given: Mapping[str, Any],
    named: str | Path | None,
) -> LoadedSplit:
    """The split that predictions are for; where a protocol was written, it must be the same."""
    settings = given_settings((), given)
    beside = None if isinstance(predictions, pd.DataFrame) else Path(predictions).parent / PROTOCOL_FILE
    path = Path(named) if named is not None else beside if beside is not None and beside.is_file() else None
    if path is None:
        return load_split(take_dataset(settings, dataset), settings)
    protocol = read_protocol(path)
    if dataset not in (None, protocol["dataset"]):
        raise UserError(f"--dataset={dataset}, but {path} is of {protocol['dataset']}: name one of the two.")
    for key, value in settings.items():
        if key in protocol["settings"] and protocol["settings"][key] != value:
            raise UserError(f"{key}={value}, but {path} has {protocol['settings'][key]}: leave it out.")
    loaded = load_split(protocol["dataset"], protocol["settings"] | settings)
    if loaded.hash != protocol["hash"]:
        raise UserError(
            f"{path} is of another split than {protocol['dataset']} has with these settings (hash {protocol['hash']}, "
            f"not {loaded.hash}): the data or a setting has changed; split and predict anew."
        )
    return loaded


def _result(
    loaded: LoadedSplit, ranked: Ranked, table: RankTable, about: Mapping[str, Any]
) -> dict[str, Any]:
    """``result.json``: what nobody here knows of the model is None."""
    unchosen = dict.fromkeys(("valid_metric", "valid_candidates"))
    found = evaluated(
        loaded.config, about, unchosen, loaded.dataset, {"test": ranked.ranks}, table, lists=ranked.best
    )
    unknown = (
        "parameters",
        "score_terms",
        "tokenizer",
        "ranker",
        "epochs",
        "best_epoch",
        "peak_rss_bytes",
        "machine",
    )
    return found | {
        **dict.fromkeys(unknown),
        "parameters": dict.fromkeys(("tokens", "training", "checkpoint", "serving")),
        "seconds": dict.fromkeys(("text_encoding", "tokenizer", "training", "per_epoch", "evaluation")),
        "history": [],
        "versions": versions(),
        "predictions": {**ranked.about, "hash": loaded.hash, "notes": ranked.notes},
    }
