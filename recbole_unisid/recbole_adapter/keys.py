"""Which model reads which setting: RecBole takes any key and gives None for a misspelt one, we do not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from recbole_unisid.config.defaults import overall_defaults, properties_folder, read_yaml
from recbole_unisid.config.settings import SAME, settings
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.plugins.loading import class_defaults, keys_in_use, sources_of
from recbole_unisid.recbole_adapter.registry import OWN_MODELS, ChosenModel, known_models, recbole_folder

#: Keys of the run itself, read before there is a Config.
RUN_KEYS = frozenset({"model", "dataset", "seeds", "tune", "config_files", "verbose"})
_READS = re.compile(r"""(?:config|settings)(?:\.get\(|\[)\s*f?["'](\w+)["']""")


def recbole_keys() -> frozenset[str]:
    """Every key that RecBole has a default for or reads."""
    return _recbole_yaml_keys() | _recbole_code_keys()


def _keys_in_code(text: str) -> set[str]:
    return set(_READS.findall(text))


def _top_keys(file: Path) -> set[str]:
    return set(re.findall(r"^(\w+):", file.read_text(encoding="utf-8"), re.MULTILINE))


@cache
def _recbole_yaml_keys() -> frozenset[str]:
    """Top-level keys of RecBole's YAML files, found without parsing them."""
    files = (recbole_folder() / "properties").rglob("*.yaml")
    return frozenset().union(*(_top_keys(file) for file in files if "url" not in file.stem))


@cache
def _recbole_code_keys() -> frozenset[str]:
    """Keys that RecBole's code reads."""
    files = recbole_folder().rglob("*.py")
    return frozenset().union(*(_keys_in_code(file.read_text(encoding="utf-8")) for file in files))


@cache
def _harmless() -> tuple[Mapping[str, Any], ...]:
    """Defaults for every model: who repeats one of them, as a run's config.yaml does, asks for nothing."""
    folder = recbole_folder() / "properties"
    files = [file for part in ("dataset", "quick_start_config") for file in (folder / part).glob("*.yaml")]
    files = [folder / "overall.yaml", *(file for file in files if "url" not in file.stem)]
    return overall_defaults(), *map(read_yaml, files)


def keys_read(model: ChosenModel) -> frozenset[str]:
    """The settings that a model reads: by their description, its file of defaults and its source.

    Of RecBole's models the class's module and RecBole's models that it imports are searched, of the user's the modules
    of all its own classes; nothing is imported for it.
    """
    parts = {"all", "sequential" if model.sequential else "", "ours" if model.ours else "recbole"}
    read = {name for name, setting in settings().items() if setting.by in parts}
    if model.users:
        read |= set(class_defaults(model.cls))
        groups = {"vectors": ("Text",), "tokens": ("Text", "Tokens")}.get(str(model.needs), ())
        read |= {name for name, setting in settings().items() if setting.group in groups}
        for source in sources_of(model.cls):  # of a notebook's class, all its words
            read |= _keys_in_code(source) if isinstance(source, str) else set(re.findall(r"\w+", str(source)))
    return frozenset(read) | _keys_of_family(model.family)


@cache
def _keys_of_family(family: str) -> frozenset[str]:
    if family in OWN_MODELS:
        defaults = read_yaml(properties_folder() / "model" / f"{family}.yaml")
        return frozenset(defaults).union(*defaults.pop("recipes", {}).values()) - {"recipes"}
    file = recbole_folder() / "properties" / "model" / f"{family}.yaml"
    read = _top_keys(file) if file.is_file() else set()
    modules = {known_models()[family]} if family in known_models() else set()
    seen: set[str] = set()
    while modules - seen:
        module = (modules - seen).pop()
        seen.add(module)
        source = (
            recbole_folder().joinpath(*module.split(".")[1:]).with_suffix(".py").read_text(encoding="utf-8")
        )
        read |= _keys_in_code(source)
        modules |= set(
            re.findall(r"^from (recbole\.model\.\w+_recommender\.\w+) import", source, re.MULTILINE)
        )
    return frozenset(read)


def _same_elsewhere(key: str, read: Iterable[str]) -> list[str]:
    """What a model reads for what `key` is in others."""
    return [same for group in SAME if key in group for same in group if same in read]


def check_known(given: Mapping[str, object], model: str) -> None:
    """Refuse settings that nothing reads, in any model; for the first one, the nearest known names are said.

    Raises
    ------
    UserError
        For an unknown key, or one that would load a pickle.
    """
    known = settings().keys() | _recbole_yaml_keys() | keys_in_use()
    for key, value in given.items():
        if (
            key.startswith(("save_data", "data"))
            and key in settings()
            and settings()[key].by == "nobody"
            and value
        ):
            raise UserError(f"'{key}' is no setting here: {settings()[key].words}")
        # The code is searched (a fraction of a second) only where the documented keys do not have it.
        if key not in known and key not in _recbole_code_keys():
            raise UserError(
                f"There is no setting '{key}' for {model}.{did_you_mean(key, known | recbole_keys())} "
                "recbole-unisid run --help --model=... lists what a model reads, docs/settings.md all of them."
            )


def check_read(given: Mapping[str, object], models: Sequence[ChosenModel]) -> None:
    """Refuse settings that none of the models reads; those that repeat a default for every model ask for nothing.

    Raises
    ------
    UserError
        For the first one, with what the models read in its stead or why none reads it.
    """
    names = ", ".join(model.name for model in models)
    check_known(given, names)
    read = frozenset(RUN_KEYS).union(*map(keys_read, models), keys_in_use())
    for key, value in given.items():
        if key in read or any(key in defaults and defaults[key] == value for defaults in _harmless()):
            continue
        about = settings().get(key)
        if about is not None and about.by == "nobody":
            raise UserError(f"{key}={value} has no effect here: {about.words}")
        instead = _same_elsewhere(key, read)
        mend = f"; it reads {' and '.join(instead)}" if instead else ""
        raise UserError(
            f"{names} {'do' if len(models) > 1 else 'does'} not read {key}, so {key}={value} would have no effect"
            f"{mend}.{'' if instead else did_you_mean(key, read)} Leave it out (recbole-unisid run --help "
            f"--model={models[0].name} lists what is read)."
        )


def check_class_defaults(defaults: Mapping[str, object], model: str) -> None:
    """Refuse a key of a class's ``defaults`` that is a known setting misspelt; other new keys are its own.

    Raises
    ------
    UserError
        For the first one, with the setting that it is so like; for a key that no class can set, or a value that
        no file of settings can hold.
    """
    known = settings().keys() | _recbole_yaml_keys()
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
