"""The YAML files of `properties/`: where they are and what they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

from recbole_unisid.errors import UserError

#: Settings that came after the first runs, and the values at which a run has the hash that it had without them.
LATER_SETTINGS = {
    "backbone": "transformer",
    "positions": "oldest",
    "filter_taps": 16,
    "filter_scale": 4.0,
    "filter_mix": 0.7,
    "score_terms": [],
    "candidates": "sampled99",
    "tail_below": None,
    "tie_orders": False,
    "figures": "all",
    "new_item_popularity": 0.9,
    "popularity_scale": 1.0,
    "term_weights": "likelihood",
    "new_item_neighbours": 10,
    "shrinkage": 0.0,
    "weak_text_id_dim": 0,
    "id_decay": 0.0,
}
#: Such settings of all models but TIGER, which had them from the start; it has a setting ``architecture``.
LATER_THAN_TIGER = {"label_smoothing": 0.0, "schedule": "constant", "warmup_steps": 0}
#: Such settings of TIGER, which the others had from the start.
LATER_IN_TIGER = {"attention_dim": None, "layer_norm_eps": 1e-12}
#: Of one setting in a file.
_MOST_PARTS = 10_000


def idle_settings(settings: Mapping[str, Any]) -> set[str]:
    """The settings of `LATER_SETTINGS` that say nothing in a run, given what else it is set to."""
    idle, terms = set(), set(settings.get("score_terms") or ())
    if not settings.get("new_item_neighbours") or settings.get("split") != "leave_one_out":
        idle |= {"shrinkage"}
    if not terms:
        idle |= {"term_weights"}
    if not terms & {"all", "popularity"}:
        idle |= {"popularity_scale"}
    if not settings.get("id_dim") and not settings.get("weak_text_id_dim"):
        idle |= {"id_decay"}
    return idle


def values_when_absent(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What stood for settings in runs of a model that are older than they, by key; `settings` are those of a run."""
    later = LATER_SETTINGS | (LATER_IN_TIGER if "architecture" in settings else LATER_THAN_TIGER)
    if settings.get("split") in ("cold_items", "leave_one_out"):  # whose figures they change
        later |= {"new_item_neighbours": 0}
    if settings.get("split") == "cold_items":  # new items were of mean popularity
        later |= {"new_item_popularity": None}
    return later | {key: settings.get(key, later[key]) for key in idle_settings(settings)}


def settings_that_say(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run to compare with those of others, older ones among them: idle ones are alike in all."""
    idle = {key: LATER_SETTINGS[key] for key in idle_settings(settings)}
    return {**values_when_absent(settings), **settings, **idle}


@cache
def properties_folder() -> Path:
    """The folder of defaults: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "properties", package.parent / "properties"):
        if (folder / "overall.yaml").is_file():
            return folder
    raise FileNotFoundError("properties/overall.yaml is missing from the installation of recbole_unisid")


class _SafeLoader(yaml.SafeLoader):
    """SafeLoader that takes ``1e-3`` for a number (YAML 1.1 wants ``1.0e-3``) and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{key.value}' stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge what ``<<`` names; merges of merges double with every line."""
        super().flatten_mapping(node)
        if len(node.value) > _MOST_PARTS:
            raise yaml.constructor.ConstructorError(
                None, None, "more parts than any setting", node.start_mark
            )


_SafeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)$"),
    list("-+0123456789"),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of settings; numbers such as ``1e-3`` are floats."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_SafeLoader)
    except FileNotFoundError:
        raise UserError(f"There is no config file '{path}'.") from None
    except RecursionError:
        raise UserError(f"Config file '{path}' is nested deeper than any setting.") from None
    except (OSError, ValueError, yaml.YAMLError) as error:  # a date such as 2020-13-45 is a ValueError
        raise UserError(f"Config file '{path}' cannot be read: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"Config file '{path}' must hold 'key: value' lines, not a {type(content).__name__}.")
    for key, value in content.items():
        if not isinstance(key, str):
            raise UserError(f"Config file '{path}': {key!r} is no name of a setting.")
        if _too_large(value):
            raise UserError(
                f"Config file '{path}': {key} is nested deeper than any setting, or has more parts."
            )
    return content


def _too_large(value: Any) -> bool:
    """Whether a value has more than `_MOST_PARTS` parts, those that aliases repeat counted, or 12 levels of them."""
    level, parts = [value], 0
    for _ in range(12):
        inner = (
            whole.values() if isinstance(whole, dict) else whole if isinstance(whole, (list, tuple)) else ()
            for whole in level
        )
        level = list(islice(chain.from_iterable(inner), _MOST_PARTS + 1))
        parts += len(level)
        if parts > _MOST_PARTS:
            return True
    return bool(level)


def parse_yaml(text: str) -> Any:
    """Read one value, such as ``[cosine, euclidean]``; text that is not YAML is returned as it is.

    YAML wants a blank after a colon. A command line has no place for one: ``{max_norm:5}`` is read all the same.
    """
    try:
        value = yaml.load(text, Loader=_SafeLoader)
        return text if _too_large(value) else _parted(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _parted(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    found: dict[Any, Any] = {}
    for key, inner in value.items():
        name, colon, rest = key.partition(":") if isinstance(key, str) and inner is None else (key, "", "")
        if name in found:
            raise ValueError(f"'{name}' stands twice")
        found[name] = parse_yaml(rest) if colon else _parted(inner)
    return found


def overall_defaults() -> dict[str, Any]:
    """Defaults for every model."""
    return read_yaml(properties_folder() / "overall.yaml")


def model_defaults(model: str, recipe: str = "default", of_data: Sequence[str] = ()) -> dict[str, Any]:
    """Defaults of one of our models, a recipe's over the others; an empty mapping for RecBole's.

    The recipe ``default`` has those `of_data` that the model has, on dense data ``dense``; the first wins.
    """
    path = properties_folder() / "model" / f"{model}.yaml"
    defaults = read_yaml(path) if path.is_file() else {}
    recipes: dict[str, dict[str, Any]] = {"default": {}} | defaults.pop("recipes", {})
    if recipe not in recipes:
        raise UserError(f"{model} has no recipe '{recipe}'; it has: {', '.join(recipes)}.")
    for name in reversed(of_data if recipe == "default" else [recipe]):
        defaults |= recipes.get(name, {})
    return defaults


def dataset_defaults(dataset: str) -> dict[str, Any]:
    """Settings of a data set that we know; an empty mapping for any other."""
    from recbole_unisid.data.sources.catalogue import CATALOGUE  # with NumPy, which takes a while

    path = properties_folder() / "dataset" / f"{dataset}.yaml"
    if path.is_file():
        return read_yaml(path)
    # `prepare` joins Amazon's categories by ", ": RecBole's models with item features are to part them there.
    return {"seq_separator": ", "} if dataset in CATALOGUE and dataset.startswith("amazon-") else {}
