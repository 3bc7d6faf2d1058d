"""Models by name: ours, and RecBole's sequential models and general baselines."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recbole_unisid.config.defaults import model_defaults
from recbole_unisid.config.settings import as_list, registered
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.plugins.loading import PART_SETTINGS, find, is_reference, named_class, own_class

#: Our rules, which have nothing to train, and the modules that hold them.
RULES = dict.fromkeys(("NearestText", "Transitions", "TransitionText"), "recbole_unisid.models.rules")
#: Our models and the modules that hold them.
OWN_MODELS = {
    "UniSID": "recbole_unisid.models.unisid",
    "ItemID": "recbole_unisid.models.unisid",
    "SemanticID": "recbole_unisid.models.unisid",
    "RPG": "recbole_unisid.models.rpg",
    "DenseText": "recbole_unisid.models.unisid",
    "TIGER": "recbole_unisid.models.tiger",
    **RULES,
}
#: ID-only models of other papers, written here, that train on RecBole's prefix rows.
PUBLISHED_MODELS = dict.fromkeys(("BSARec", "WEARec"), "recbole_unisid.models.published")
#: Whose settings a class has that is derived from the base class of a module.
_NEAREST = {"recbole_unisid.models.whole_sequence": "ItemID", "recbole_unisid.models.published": "BSARec"}
#: RecBole's sequential models that need more than sequences and item features, and what.
NOT_SUPPORTED = {
    "DIEN": "it wants a negative history per row from a dataset class of its own",
    "GRU4RecKG": "it wants entity vectors of a knowledge graph (.ent, .link)",
    "KSR": "it wants entity and relation vectors of a knowledge graph (.ent, .rel, .link)",
}
#: RecBole's general models that stand beside sequential ones on the same split.
GENERAL_BASELINES = {
    "Pop": "recbole.model.general_recommender.pop",
    "ItemKNN": "recbole.model.general_recommender.itemknn",
    "BPR": "recbole.model.general_recommender.bpr",
}


@dataclass(frozen=True)
class ChosenModel:
    """A model that somebody named; its class is imported when it is asked for.

    `family` is whose defaults, trainer and search space it has: its own name, or of a class of the user's (`users`) the
    nearest model of ours or RecBole's that it is derived from. `ours` train on whole sequences, others on prefix
    rows; `sequential` ones read a history rather than a user number.
    """

    name: str
    family: str
    module: str
    users: bool
    ours: bool
    sequential: bool

    @property
    def cls(self) -> type[Any]:
        """A subclass of RecBole's ``AbstractRecommender``."""
        if self.users:
            return find(self.name, "model")
        found: type[Any] = pkgutil.resolve_name(f"{self.module}:{self.name}")
        return found

    @property
    def needs(self) -> str | None:
        """What it reads of the items' text by default: ``tokens``, ``vectors`` or None."""
        return self.reads(model_defaults(self.family))

    def reads(self, config: Any) -> str | None:
        """What it reads of the items' text with some settings."""
        model = self.cls
        part = model.semantic_part(config) if hasattr(model, "semantic_part") else None
        return getattr(model, "needs", None) or (None if part is None else part.needs)


def recbole_folder() -> Path:
    """Where RecBole is installed, found without importing it."""
    found = find_spec("recbole")
    if found is None or found.origin is None:
        raise UserError("RecBole is not installed: pip install recbole.")
    return Path(found.origin).parent


@cache
def sequential_models() -> dict[str, str]:
    """RecBole's sequential models, name -> module."""
    text = (recbole_folder() / "model" / "sequential_recommender" / "__init__.py").read_text(encoding="utf-8")
    imports = r"^from (recbole\.model\.sequential_recommender\.\w+) import (\w+)"
    found = {name: module for module, name in re.findall(imports, text, re.MULTILINE)}
    return {name: found[name] for name in sorted(found.keys() - NOT_SUPPORTED)}


def known_models() -> dict[str, str]:
    """Every model that ``--model`` takes, name -> module."""
    return OWN_MODELS | PUBLISHED_MODELS | sequential_models() | GENERAL_BASELINES


def resolve(name: str) -> ChosenModel:
    """Find the model of a name of :func:`known_models`, or of ``module:Class`` in use (:func:`recbole_unisid.use`)."""
    if is_reference(name):
        return _users_own(name)
    if name in NOT_SUPPORTED:
        raise UserError(f"RecBole's {name} does not run here: {NOT_SUPPORTED[name]}.")
    models = known_models()
    if name not in models:
        raise UserError(
            f"There is no model '{name}'.{own_class(name) or did_you_mean(name, models)} --list-models shows all of "
            "them; one of your own is module:Class."
        )
    sequential = name not in GENERAL_BASELINES
    return ChosenModel(name, name, models[name], users=False, ours=name in OWN_MODELS, sequential=sequential)


def part_classes(settings: Mapping[str, Any], usual: Mapping[str, Any] | None = None) -> list[type[Any]]:
    """The classes of the parts that settings name: registered ones, and the user's own in use.

    A UserError names an unknown one, where the `usual` settings of the model are given and name registered parts (RPG's
    loss is of another kind).
    """
    found = []
    for setting in PART_SETTINGS:
        known, names = registered(setting), _names(settings, setting)
        strict = usual is not None and set(_names(usual, setting)) <= known.keys()
        wanted = [name for name in names if strict or name in known or is_reference(name)]
        found += [named_class(setting, name, known) for name in wanted]
    return found


def _names(settings: Mapping[str, Any], setting: str) -> list[str]:
    """The parts that a setting names; ``all`` score terms are no name."""
    return [name for name in as_list(settings.get(setting)) or [] if isinstance(name, str) and name != "all"]


def _users_own(name: str) -> ChosenModel:
    from recbole.model.abstract_recommender import AbstractRecommender, SequentialRecommender
    from recbole.model.sequential_recommender import S3Rec

    found = find(name, "model")
    if not issubclass(found, AbstractRecommender):
        raise UserError(
            f"'{name}' is no model; derive it from one of recbole_unisid.models or of RecBole, such as "
            "recbole_unisid.models.unisid.UniSID."
        )
    if not issubclass(found, SequentialRecommender) or issubclass(found, S3Rec):
        raise UserError(
            f"'{name}' does not run here: derive it from a sequential model that trains in one stage."
        )
    needs = getattr(found, "needs", None)
    if needs not in (None, "tokens", "vectors"):
        raise UserError(f"'{name}': needs = {needs!r}; it is 'tokens', 'vectors' or None.")
    known, family = known_models(), name
    for base in found.__mro__:
        if base.__module__ in _NEAREST or known.get(base.__name__) == base.__module__:
            family = base.__name__ if base.__name__ in known else _NEAREST[base.__module__]
            break
    return ChosenModel(name, family, found.__module__, users=True, ours=family in OWN_MODELS, sequential=True)
