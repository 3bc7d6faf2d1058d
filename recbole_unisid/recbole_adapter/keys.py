"""Which model reads which setting: RecBole takes any key and gives None for a misspelt one, we do not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from recbole_unisid.config.defaults import model_defaults, overall_defaults, properties_folder, read_yaml
from recbole_unisid.config.settings import SAME, settings
from recbole_unisid.errors import UserError, did_you_mean, shown
from recbole_unisid.plugins.loading import RUN_KEYS, class_defaults, keys_in_use, sources_of
from recbole_unisid.recbole_adapter import registry
from recbole_unisid.recbole_adapter.registry import ChosenModel, part_classes, recbole_folder

_READS = re.compile(r"""(?:config|settings)(?:\.get\(|\[)\s*f?["'](\w+)["']""")


@cache
def _recbole_yaml_keys() -> frozenset[str]:
    files = (recbole_folder() / "properties").rglob("*.yaml")
    texts = [file.read_text("utf-8") for file in files if "url" not in file.stem]
    return frozenset(re.findall(r"^(\w+):", "\n".join(texts), re.MULTILINE))


@cache
def recbole_code_keys() -> frozenset[str]:
    """Every key that RecBole's code reads, found without importing it (a fraction of a second)."""
    texts = [file.read_text("utf-8") for file in recbole_folder().rglob("*.py")]
    return frozenset(_READS.findall("\n".join(texts)))


def recbole_keys() -> frozenset[str]:
    """Every key that RecBole has a default for or reads."""
    return _recbole_yaml_keys() | recbole_code_keys()


def documented_keys() -> frozenset[str]:
    """Every key that ``settings.yaml`` describes or RecBole has a default for."""
    return _recbole_yaml_keys() | settings().keys()


@cache
def _recbole_defaults(file: str) -> dict[str, Any]:
    path = recbole_folder() / "properties" / f"{file}.yaml"
    return read_yaml(path) if path.is_file() else {}


def keys_read(model: ChosenModel) -> frozenset[str]:
    """The settings that a model reads: by their description, its file of defaults and its source.

    Of RecBole's models the class's module and RecBole's models that it imports are searched, of the user's the modules
    of all its own classes; nothing is imported for it.
    """
    parts = {"all", "sequential" if model.sequential else "", "ours" if model.ours else "recbole"}
    idle = "Training" if model.family in registry.RULES else ""  # but for what their own files have
    read = {name for name, setting in settings().items() if setting.by in parts and setting.group != idle}
    if model.users:
        read |= set(class_defaults(model.cls))
        groups = {"vectors": ("Text",), "tokens": ("Text", "Tokens")}.get(str(model.needs), ())
        read |= {name for name, setting in settings().items() if setting.group in groups}
        for _, source in sources_of(model.cls):  # of a notebook's class, all its words
            read |= set(
                _READS.findall(source) if isinstance(source, str) else re.findall(r"\w+", str(source))
            )
    nobody = {name for name, setting in settings().items() if setting.by == "nobody"}
    if model.family in registry.PUBLISHED_MODELS:  # a softmax over all items
        nobody.add("train_neg_sample_args")
    return (frozenset(read) | _keys_of_family(model.family)) - nobody


@cache
def _keys_of_family(family: str) -> frozenset[str]:
    if family in registry.OWN_MODELS | registry.PUBLISHED_MODELS:
        defaults = read_yaml(properties_folder() / "model" / f"{family}.yaml")
        return frozenset(defaults).union(*defaults.pop("recipes", {}).values()) - {"recipes"}
    module = registry.known_models().get(family, "")
    read, modules, seen = set(_recbole_defaults(f"model/{family}")), {module}, {""}
    while modules - seen:
        module = (modules - seen).pop()
        seen.add(module)
        source = recbole_folder().joinpath(*module.split(".")[1:]).with_suffix(".py").read_text("utf-8")
        read |= set(_READS.findall(source))
        imports = r"^from (recbole\.model\.\w+_recommender\.\w+) import"
        modules |= set(re.findall(imports, source, re.MULTILINE))
    return frozenset(read)


def defaults_of(model: ChosenModel) -> dict[str, Any]:
    """The defaults of what a model reads, as far as they stand in files."""
    merged = _recbole_defaults("overall") | _recbole_defaults("dataset/sample")
    merged |= _recbole_defaults(f"model/{model.family}") | overall_defaults() | model_defaults(model.family)
    return {key: merged[key] for key in merged.keys() & keys_read(model)}


def _keys_of_parts(given: Mapping[str, object]) -> set[str]:
    return set().union(*map(class_defaults, part_classes(given)))


def check_known(given: Mapping[str, object], model: str) -> None:
    """Refuse settings that nothing reads, in any model; for the first one, the nearest known names are said."""
    known = documented_keys() | keys_in_use()
    for key in given:
        # What takes a while is asked only where the documented keys do not have it.
        if key not in known and key not in recbole_code_keys() and key not in _keys_of_parts(given):
            raise UserError(
                f"There is no setting '{shown(key)}' for {model}.{did_you_mean(key, known | recbole_code_keys())} "
                "recbole-unisid run --help --model=... lists what a model reads, docs/settings.md all of them."
            )


def check_read(given: Mapping[str, object], models: Sequence[ChosenModel]) -> None:
    """Refuse settings that none of the models reads; those that repeat a default for every model ask for nothing."""
    names = ", ".join(model.name for model in models)
    check_known(given, names)
    read = frozenset(RUN_KEYS).union(*map(keys_read, models), keys_in_use())
    # Who repeats a default, as a run's config.yaml does, asks for nothing.
    files = ("overall", "dataset/sample", "dataset/ml-100k", "quick_start_config/sequential")
    defaults_for_all = (overall_defaults(), *map(_recbole_defaults, files))
    for key, value in given.items():
        repeated = any(key in defaults and defaults[key] == value for defaults in defaults_for_all)
        if key in read or repeated or key in _keys_of_parts(given):
            continue
        about = settings().get(key)
        if about is not None and about.by == "nobody":
            raise UserError(f"{key}={shown(value)} has no effect here: {about.words}")
        instead = [same for group in SAME if key in group for same in group if same in read]
        mend = f"; it reads {' and '.join(instead)}" if instead else ""
        raise UserError(
            f"{names} {'do' if len(models) > 1 else 'does'} not read {key}, so {key}={shown(value)} would have no "
            f"effect{mend}.{'' if instead else did_you_mean(key, read)} Leave it out (recbole-unisid run --help "
            f"--model={models[0].name} lists what is read)."
        )
