"""Which columns of the atomic files a run loads, by what the files have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pyarrow import compute as pc

from recbole_unisid.data.atomic_files import read_atomic
from recbole_unisid.data.atomic_text import parse_header
from recbole_unisid.errors import UserError, shown

#: RecBole's models that read item features, with the key that names them. Their default is ml-100k's
#: ``class``; other files call the same thing otherwise.
FEATURE_KEYS = {
    "FDSA": "selected_features",
    "SASRecF": "selected_features",
    "GRU4RecF": "selected_features",
    "S3Rec": "item_attribute",
}
#: Catalogues with fewer items are small.
SMALL = 1000
#: Recipes of dense data, the densest first: each is the default above so many interactions an item and in all.
DENSE = {"very_dense": (40, 50_000), "dense": (20, 0)}
#: Interactions above which the recipe ``large`` is the default.
LARGE = 5_000_000
#: Names under which files carry an item's categories, in order of preference.
CATEGORY_NAMES = ("class", "categories", "category", "genres", "genre", "brand")


def header(path: Path, separator: str = "\t") -> dict[str, str]:
    """Names of an atomic file's columns and their RecBole types; empty when there is no such file."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        return parse_header(lines.readline().rstrip("\r\n"), separator, path)


def inter_columns(settings: Mapping[str, Any], folder: Path) -> list[str]:
    """Columns of the interactions to load: user, item, time; others would be copied into each prefix row in vain."""
    wanted = [settings["USER_ID_FIELD"], settings["ITEM_ID_FIELD"], settings["TIME_FIELD"]]
    if settings.get("benchmark_filename"):
        names = [f"{folder.name}.{part}.inter" for part in settings["benchmark_filename"]]
        wanted = [*wanted[:2], wanted[1] + settings["LIST_SUFFIX"]]
    else:
        names = [f"{folder.name}.inter"]
    for name in names:
        columns = header(folder / name, settings["field_separator"])
        for field in wanted if columns else []:
            if field not in columns:
                keys = ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")
                key = next((key for key in keys if settings[key] == field), "LIST_SUFFIX")
                raise UserError(
                    f"{folder / name} has no column '{shown(field)}' (it has: {', '.join(columns)}); add it, or name "
                    f"yours with --{key}=..."
                )
        for field in wanted[:2] if columns else []:
            if columns[field] != "token":
                raise UserError(
                    f"{folder / name}: {field} is of type {columns[field]}, and names are of type token: write "
                    f"{field}:token in its first line."
                )
    return wanted


def feature_settings(model: str, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The key of the item features that a RecBole model reads, with the names that the file has for them."""
    if model not in FEATURE_KEYS:
        return {}
    key = FEATURE_KEYS[model]
    file, chosen = folder / f"{folder.name}.item", []
    available = header(file, settings["field_separator"])
    for name in settings[key] if isinstance(settings[key], list) else [settings[key]]:
        others = (name, *(CATEGORY_NAMES if name == "class" else ()))
        found = next((other for other in others if other in available), None)
        if found is None:
            raise UserError(
                f"{model} reads the item feature '{name}', but {file} has {', '.join(available) or 'no columns'}; set "
                f"--{key} to one of them."
            )
        chosen.append(found)
    embedded = [] if model == "S3Rec" else settings["numerical_features"]
    for name in chosen:
        if not available[name].startswith("token") and name not in embedded:
            fitting = [other for other, kind in available.items() if kind.startswith("token")]
            also = "" if model == "S3Rec" else f", or have it embedded with --numerical_features=[{name}]"
            raise UserError(
                f"{model} reads item features of type token or token_seq, and '{name}' is {available[name]}: set "
                f"--{key} to others ({', '.join(fitting)}){also}."
            )
    return {key: chosen if isinstance(settings[key], list) else chosen[0]}


def recipes_of_data(settings: Mapping[str, Any], folder: Path) -> list[str]:
    """The recipes that are for the files of a data set, those of :data:`DENSE` and ``large``."""
    items, interactions = (folder / f"{folder.name}.{suffix}" for suffix in ("item", "inter"))
    if not interactions.is_file():
        return []
    with interactions.open("rb") as lines:
        found = sum(1 for _ in lines) - 1
    limits = {}
    if _has_rows(items):
        least = min(each for each, _ in DENSE.values())
        count = items_in_use(settings, folder, found // least + 1)
        limits = {name: max(each * count, in_all) for name, (each, in_all) in DENSE.items()}
    limits["large"] = LARGE
    return [name for name, limit in limits.items() if found > limit]


def _has_rows(items: Path) -> bool:
    """Whether a file is there with a row below its header."""
    if not items.is_file():
        return False
    with items.open("rb") as lines:
        return sum(1 for _ in islice(lines, 2)) == 2


def items_in_use(settings: Mapping[str, Any], folder: Path, most: int) -> int:
    """How many items the interactions of a data set have, before filters; `most` where they have more."""
    item, parts = settings["ITEM_ID_FIELD"], settings.get("benchmark_filename")
    names = [f"{part}.inter" for part in parts] if parts else ["inter"]
    separator, found = settings["field_separator"], set[str]()
    for file in (folder / f"{folder.name}.{name}" for name in names):
        if item not in header(file, separator):
            continue
        _, read = read_atomic(file, [item], separator)
        for rows in read:
            found.update(pc.unique(rows.cells[item]).to_pylist())
            if parts and (histories := item + settings["LIST_SUFFIX"]) in rows.cells.column_names:
                lists = pc.split_pattern(pc.unique(rows.cells[histories]), settings["seq_separator"])
                found.update(pc.unique(pc.list_flatten(lists)).to_pylist())
            if len(found) > most:
                return most
    return len(found - {""})


def fitting_sizes(sizes: list[int], with_id: bool, items: int) -> list[int]:
    """Default codebook sizes for a small catalogue of so many `items`, in powers of two.

    With 256 codes a level, 300 items hardly share any. Where an ID tells items apart, three levels of one code for
    sixteen items do; tokens alone need all levels, of one code for four (validation on 300 items of ml-100k, three
    seeds). Catalogues of `SMALL` items or more keep the defaults, and so do those that nothing is known of (0).
    """
    if not items or items >= SMALL:
        return sizes
    largest = max(4, 2 ** int(math.log2(max(1, items / (16 if with_id else 4)))))
    return [min(size, largest) for size in (sizes[:3] if with_id else sizes)]
