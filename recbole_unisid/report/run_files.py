"""Finished runs, read from their folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_unisid.config.defaults import read_yaml, settings_that_say
from recbole_unisid.config.settings import place_keys
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.metrics import protocol_metrics
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.files import fingerprint, seal_broken, sha256_of
from recbole_unisid.report.leaderboard import HEADLINE, SIZES, SLICES, Run

#: Settings that never tell two variants of a model apart.
NO_VARIANT = {"metric_decimal_place", "loss_decimal_place", "seed", "ties"}
_LONGEST_VARIANT, _MEND = 60, "delete its folder and run again"

_NUMBER, _FIGURES = (int, float), {"*": (int, float)}
_OF_SLICES = {"rule": str, "interval": {"*": [_NUMBER]}, "*": _NUMBER}
#: Types of the fields of ``result.json`` that others rely on: ``*`` stands for any other key.
_TYPES: dict[str, Any] = {
    **{"status": str, "model": str, "dataset": str, "seed": int, "recipe": str, "order_note": str},
    **{"repeated_targets": _NUMBER, "protocol_hash": str, "files": {"*": str}},
    "protocol": {"split": str, "ties": str, "valid_metric": str, "protocol_seed": int},
    "data": {"users": int, "items": int, "interactions": int, "periods": {"*": [_NUMBER]}},
    "valid": {"*": _FIGURES},
    "test": {
        **{key: {"*": _OF_SLICES} for key in SLICES},
        "tie_orders": {"cases": int, "orders": int, "*": {"*": _FIGURES}},
        "*": _FIGURES,
    },
    "controls": {"*": {"*": _FIGURES}},
    "tokenizer": {"name": str, "levels": [{"distance": str, "*": _NUMBER}], "prefix_purity": [_FIGURES]},
    "ranker": {"name": str, "*": _NUMBER},
    "predictions": {"form": str, "notes": [str], "hash": str},
    **{"parameters": _FIGURES, "seconds": _FIGURES, "cpu_seconds": _FIGURES, "history": [_FIGURES]},
    **{"epochs": int, "best_epoch": int, "peak_rss_bytes": int, "versions": {}, "machine": {}},
}
_REQUIRED = {"model", "seed", "dataset", "protocol", "data", "test"}
_OF_SLICE = {"rule", "n"}


def find_runs(places: Iterable[str | Path]) -> list[Path]:
    """Find complete runs, run folders or below other folders; sorted, each once. UserError: a place without any."""
    found = set()
    for place in map(Path, places):
        results = [place / "result.json"] if (place / "result.json").is_file() else place.rglob("result.json")
        folders = {path.parent for path in results}
        if not folders:
            raise UserError(f"there is no finished run in {place}: name run folders, or a folder above them")
        found |= folders
    return sorted(found)


def newest_run(place: str | Path) -> Path:
    """The run folder that is meant: `place` itself, or the run below it that was finished last."""
    folder = Path(place)
    if not folder.is_dir() or (folder / "config.yaml").is_file() or (folder / "result.json").is_file():
        return folder
    return max(find_runs([folder]), key=lambda run: (run / "result.json").stat().st_mtime_ns)


def read_result(folder: Path, check_first: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """Read ``result.json`` of a run folder; `check_first` sees it before its fields are checked.

    Raises UserError: it is missing, no JSON, or a field that others rely on has another type.
    """
    path = folder / "result.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        changed = isinstance(result, dict) and seal_broken(result)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"there is no result.json in {folder}: finish the run, or leave it out") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is damaged, it cannot be read as JSON: {_MEND}") from None
    if check_first is not None and isinstance(result, dict):
        check_first(result)
    if not isinstance(result, dict) or not set(result) >= _REQUIRED:
        raise UserError(f"{path} is no result of a run: {_MEND}")
    misfit = _misfit(result, _TYPES) or next(_missing(result), None)
    if misfit or changed:
        raise UserError(f"{path} is damaged{f' at{misfit}' if misfit else ''}: {_MEND}")
    return result


def load_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read finished runs in the order given, and name what tells runs of one model apart.

    Raises UserError: a file is missing or damaged, or figures and ranks do not belong together.
    """
    runs = [_load(Path(folder)) for folder in folders]
    alike: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for run in runs:
        alike.setdefault(_kind(run), []).append(run.settings)
    differing = {kind: differing_settings(settings) for kind, settings in alike.items()}
    return [replace(run, variant=_variant(run.settings, differing[_kind(run)])) for run in runs]


def _load(folder: Path) -> Run:
    """Read a run; every figure of a report must be the one in result.json, and statistics come from the ranks."""
    result, ranks, config = read_result(folder), RankTable.load(folder / "ranks.npz"), folder / "config.yaml"
    run = Run(result, ranks, folder, read_yaml(config) if config.is_file() else {})
    digest = run.find("files", "ranks.npz")
    if HEADLINE[0] not in ranks.ranks or digest not in (None, sha256_of(folder / "ranks.npz")):
        raise UserError(f"{folder / 'ranks.npz'} is not what the run wrote: {_MEND}")
    for candidates, metrics in protocol_metrics(run.ranks.ranks).items():
        for metric, value in metrics.items():
            written = run.find("test", candidates, metric)
            if written is not None and not np.isclose(written, value, rtol=0, atol=1e-9):
                raise UserError(
                    f"{run.folder}: result.json has {metric} {written} ({candidates}), ranks.npz gives {value}: "
                    "the files are not of one run; delete the folder and run again"
                )
    return run


def _kind(run: Run) -> tuple[str, str | None]:
    """Runs of one kind under different settings never share a row."""
    return run.result["model"], run.result.get("recipe")


def differing_settings(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the settings whose values are not the same everywhere, places and seeds left out.

    A run that is older than a setting has the value that stood for it, and where a setting says nothing runs are alike.

    >>> differing_settings([{"id_dim": 8, "seed": 1}, {"id_dim": 16, "seed": 2}])
    ['id_dim']
    """
    keys = sorted({key for one in settings for key in one} - NO_VARIANT - place_keys())
    whole = [settings_that_say(one) for one in settings]
    values = {key: {json.dumps(one.get(key), sort_keys=True) for one in whole} for key in keys}
    return [key for key in keys if len(values[key]) > 1]


def _variant(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    whole = settings_that_say(settings)
    told = {key: whole.get(key) for key in keys}
    # What is not set needs no word beside what is: "tokenizer=lsh", not "tokenizer=lsh, tokens_file=null".
    told = {key: value for key, value in told.items() if value is not None} or told
    words = ", ".join(f"{key}={_short(key, value)}" for key, value in told.items())
    if len(words) <= _LONGEST_VARIANT:
        return words
    return f"{words[: _LONGEST_VARIANT - 6]}… {fingerprint(words)[:4]}"  # which tells it from others that begin so


def _short(key: str, value: Any) -> str:
    if key.endswith("_file") and isinstance(value, str):
        return Path(value).stem  # folders would fill the label before the file is named
    return value if isinstance(value, str) else json.dumps(value)


def _missing(result: Mapping[str, Any]) -> Iterator[str]:
    """The ways to parts that every report needs and a result of the right types has not."""
    yield from (f" {key}" for key in _REQUIRED if result[key] is None)
    yield from (f" data {size}" for size in SIZES if result["data"].get(size) is None)
    for kind, columns in SLICES.items():
        slices, parts = result["test"].get(kind) or {}, _OF_SLICE.union(metric for _, metric in columns)
        yield from (f" test {kind} {name}" for name, one in slices.items() if not (one or {}).keys() >= parts)


def _misfit(value: Any, expected: Any) -> str | None:
    """The way to the first part of a value that has not the type expected, with a blank before each step."""
    if value is None:
        return None
    if isinstance(expected, (dict, list)):
        if not isinstance(value, type(expected)):
            return ""
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            its = expected[0] if isinstance(expected, list) else expected.get(key, expected.get("*", object))
            way = _misfit(part, its)
            if way is not None:
                return f" {key}{way}"
        return None
    fits = isinstance(value, expected) and (expected is object or not isinstance(value, bool))
    return None if fits else ""
