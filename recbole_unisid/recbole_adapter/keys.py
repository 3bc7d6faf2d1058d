"""Which settings exist: RecBole takes any key and gives None for a misspelt one, we do not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from recbole_unisid.config.defaults import model_defaults, overall_defaults, properties_folder, read_yaml
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.plugins.loading import keys_in_use
from recbole_unisid.recbole_adapter.registry import OWN_MODELS

#: RecBole's settings that load or leave pickles, and what does their work here.
PICKLED = {
    "save_dataset": "data sets are read in seconds",
    "dataset_save_path": "data sets are read in seconds",
    "save_dataloaders": "a stopped run resumes by itself",
    "dataloaders_save_path": "a stopped run resumes by itself",
}
#: Keys of the run itself, read before there is a Config.
RUN_KEYS = frozenset({"model", "dataset", "seeds", "tune", "config_files", "verbose"})


@cache
def _recbole_folder() -> Path:
    import recbole

    return Path(recbole.__file__).parent


@cache
def _recbole_yaml_keys() -> frozenset[str]:
    """Top-level keys of RecBole's YAML files, found without parsing them."""
    files = [*(_recbole_folder() / "properties").rglob("*.yaml")]
    files = [file for file in files if file.name not in {"url.yaml", "kg_url.yaml"}]
    key = re.compile(r"^(\w+):", re.MULTILINE)
    return frozenset(k for file in files for k in key.findall(file.read_text(encoding="utf-8")))


@cache
def _recbole_code_keys() -> frozenset[str]:
    """Keys that RecBole's code reads but no YAML of its names."""
    key = re.compile(r"""config\[\s*f?["'](\w+)["']\s*\]""")
    files = _recbole_folder().rglob("*.py")
    return frozenset(k for file in files for k in key.findall(file.read_text(encoding="utf-8")))


@cache
def own_keys() -> frozenset[str]:
    """Keys of our own YAML files."""
    keys = set(overall_defaults()) | RUN_KEYS
    for model in OWN_MODELS:
        if (properties_folder() / "model" / f"{model}.yaml").is_file():
            keys |= set(model_defaults(model))
            recipes = read_yaml(properties_folder() / "model" / f"{model}.yaml").get("recipes", {})
            keys |= {key for recipe in recipes.values() for key in recipe}
    return frozenset(keys)


def check_keys(keys: Mapping[str, object], model: str) -> None:
    """Refuse settings that nothing reads.

    Parameters
    ----------
    keys : mapping
        Settings that somebody gave.
    model : str
        The model, for the message.

    Raises
    ------
    UserError
        For the first unknown key, with the nearest known names, or one that would load a pickle.
    """
    known = own_keys() | _recbole_yaml_keys() | keys_in_use()
    for key in keys:
        if key in PICKLED and keys[key]:
            raise UserError(f"'{key}' is RecBole's pickle of a data set and not supported: {PICKLED[key]}.")
        # The code is searched (a fraction of a second) only where the documented keys do not have it.
        if key not in known and key not in _recbole_code_keys():
            known |= _recbole_code_keys()
            raise UserError(
                f"There is no setting '{key}' for {model}.{did_you_mean(key, known)} "
                "The settings are listed in properties/ and in RecBole's documentation."
            )


def check_class_defaults(defaults: Mapping[str, object], model: str) -> None:
    """Refuse a key of a class's ``defaults`` that is a known setting misspelt; other new keys are its own.

    Raises
    ------
    UserError
        For the first one, with the setting that it is so like; for a key that no class can set, or a value that
        no file of settings can hold.
    """
    known = own_keys() | _recbole_yaml_keys()
    for key, value in defaults.items():
        if not isinstance(key, str) or key in RUN_KEYS | {"recipe"}:
            raise UserError(
                f"'{model}': defaults has {key!r}, which is no setting that a class can bring along."
            )
        if not _is_plain(value):
            raise UserError(
                f"'{model}': defaults has {key}={value!r}; a setting is a number, text, true, false, None, or a list "
                "or mapping of such."
            )
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.9)
        if near and key not in known and key not in _recbole_code_keys():
            raise UserError(
                f"'{model}': defaults has '{key}', which nothing reads. Did you mean {near[0]}? A setting of its own "
                "needs a name less like that one."
            )


def _is_plain(value: object) -> bool:
    """Whether a value comes back from a YAML file as it was."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
