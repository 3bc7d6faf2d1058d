"""Models by name: ours, and RecBole's sequential models and general baselines."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.plugins.loading import find, is_reference, own_class

#: Our models and the modules that hold them.
OWN_MODELS = {
    "UniSID": "recbole_unisid.models.unisid",
    "ItemID": "recbole_unisid.models.unisid",
    "SemanticID": "recbole_unisid.models.unisid",
    "RPG": "recbole_unisid.models.rpg",
    "DenseText": "recbole_unisid.models.unisid",
    "TIGER": "recbole_unisid.models.tiger",
}
#: Where the class stands that ours but TIGER are derived from.
_BACKBONE = "recbole_unisid.models.whole_sequence"
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


@cache
def sequential_models() -> dict[str, str]:
    """RecBole's sequential models, name -> module (each module holds the class of its own name)."""
    import recbole.model.sequential_recommender as package

    found = {}
    for module_info in pkgutil.iter_modules(package.__path__):
        for name in vars(package):
            if name.lower() == module_info.name and isinstance(getattr(package, name), type):
                found[name] = f"{package.__name__}.{module_info.name}"
    return {name: found[name] for name in sorted(found) if name not in NOT_SUPPORTED}


def known_models() -> dict[str, str]:
    """Every model that ``--model`` takes, name -> module."""
    return OWN_MODELS | sequential_models() | GENERAL_BASELINES


def model_class(name: str) -> type[Any]:
    """Find a model's class.

    Parameters
    ----------
    name : str
        A name of :func:`known_models`, or ``module:Class`` of the user's own, in use
        (:func:`recbole_unisid.use`).

    Returns
    -------
    type
        A subclass of RecBole's ``AbstractRecommender``.

    Raises
    ------
    UserError
        When no model has that name; the nearest names are suggested.
    """
    if is_reference(name):
        return _users_class(name)
    if name in NOT_SUPPORTED:
        raise UserError(f"RecBole's {name} does not run here: {NOT_SUPPORTED[name]}.")
    models = known_models()
    if name not in models:
        raise UserError(
            f"There is no model '{name}'.{own_class(name) or did_you_mean(name, models)} --list-models shows all of "
            "them; one of your own is module:Class."
        )
    found: type[Any] = getattr(importlib.import_module(models[name]), name)
    return found


def is_own(name: str) -> bool:
    """Whether a model is this package's (trained on whole sequences) rather than RecBole's."""
    return family(name) in OWN_MODELS


def family(name: str) -> str:
    """Whose defaults, trainer and search space a model has.

    A model's own name; of a class of the user's, the nearest model of ours or RecBole's that it is or is derived from
    (`ItemID` where it is :class:`~recbole_unisid.models.whole_sequence.WholeSequenceRecommender` itself).
    """
    if not is_reference(name):
        return name
    known = known_models()
    for base in model_class(name).__mro__:
        if known.get(base.__name__) == base.__module__:
            return base.__name__
        if base.__module__ == _BACKBONE:
            return "ItemID"
    return name


def _users_class(name: str) -> type[Any]:
    from recbole.model.abstract_recommender import AbstractRecommender, SequentialRecommender
    from recbole.model.sequential_recommender import S3Rec

    from recbole_unisid.recbole_adapter.own_models import (
        check_methods,  # as RecBole's models: for whom has such a class
    )

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
    check_methods(name, found)
    return found
