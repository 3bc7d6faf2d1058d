"""What a user gave: settings of files, of Python and of the command line, merged once."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_unisid.config.defaults import parse_yaml, read_yaml
from recbole_unisid.config.settings import as_list
from recbole_unisid.errors import UserError
from recbole_unisid.plugins.loading import use

#: What runs where nothing is named.
DEFAULT_MODEL, DEFAULT_DATASET = "UniSID", "ml-100k"


def parse_value(text: str) -> Any:
    """Turn ``--key=value``'s text into a value: a literal of Python or YAML, or the text itself.

    RecBole evaluates the text as code; a literal is all that a setting needs.

    >>> parse_value("[256, 256]"), parse_value("1e-3"), parse_value("true"), parse_value("NDCG@10")
    ([256, 256], 0.001, True, 'NDCG@10')
    >>> parse_value("[cosine, euclidean]")  # a shell eats quotes: YAML does without
    ['cosine', 'euclidean']
    """
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if text in {"None", "null", "~"}:  # but "none" is a collision strategy
        return None
    if text.startswith("~/"):
        return os.path.expanduser(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return parse_yaml(text) if text[:1] in {"[", "{"} else text


def parsed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with their texts turned into values, NumPy's numbers into Python's."""
    found = {}
    for key, value in settings.items():
        if not isinstance(key, str):
            raise UserError(f"{key!r} is no name of a setting.")
        number = hasattr(value, "item") and getattr(value, "ndim", 1) == 0
        plain = value.item() if number else value.expanduser() if isinstance(value, Path) else value
        found[key] = parse_value(plain) if isinstance(plain, str) else plain
        if key.endswith("_inter_num_interval") and isinstance(found[key], list):  # [5,10] reads like a list
            found[key] = str(found[key]).replace(" ", "")
    return found


def given_settings(config_files: Iterable[str | Path], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Merge files, later ones over earlier ones, and `settings` over all of them."""
    merged: dict[str, Any] = {}
    for file in config_files:
        content = read_yaml(Path(file).expanduser())
        if not content:
            raise UserError(f"Config file '{file}' holds no settings; fill it, or leave it out.")
        merged |= content
    merged |= parsed(settings)
    if "config_files" in merged:
        raise UserError(
            "config_files is no setting of a file or of config_dict: name the files with --config_files=A,B or "
            "run(config_files=[A, B])."
        )
    return merged


def take_dataset(settings: dict[str, Any], named: str | None = None) -> str:
    """Take the data set's name out of `settings`; what was `named` in the call goes before it."""
    found = settings.pop("dataset", DEFAULT_DATASET)
    dataset = found if named is None else named
    if not isinstance(dataset, str) or not dataset:
        raise UserError(f"dataset={dataset!r} is no name of a data set, such as {DEFAULT_DATASET}.")
    return dataset


def take_models(settings: dict[str, Any], named: Any = None) -> list[str]:
    """Take the models' names out of `settings`; what was `named` in the call goes before them.

    Names stand in a text with commas between, or in a list; a class of one's own is put to use.

    >>> take_models({"model": "UniSID, ItemID"}), take_models({"model": "TIGER"}, ["SASRec"]), take_models({})
    (['UniSID', 'ItemID'], ['SASRec'], ['UniSID'])
    """
    found = settings.pop("model", DEFAULT_MODEL)
    models = found if named is None else named
    several = isinstance(models, Iterable) and not isinstance(models, (str, type))
    listed = as_list(list(models) if several else models) or []
    names = [use(name) if isinstance(name, type) else name for name in listed]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise UserError(
            f"model={models!r} names no model; write {DEFAULT_MODEL}, module:Class or give a class of your own."
        )
    return [name.strip() for name in names]
