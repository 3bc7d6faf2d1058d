"""What a model of the user's own promises RecBole: methods, a loss that can be learned from, scores of every item."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_unisid.errors import UserError
from recbole_unisid.plugins.models import draws_put_back

#: Methods that are called by others, and what they are given.
_CALLED: dict[str, tuple[str, ...]] = {
    "calculate_loss": ("interaction",),
    "full_sort_predict": ("interaction",),
    "predict": ("interaction",),
    "_item_representation": ("config", "dataset"),
    "_initialise_items": ("config", "dataset"),
}


def check_methods(name: str, model: type[Any]) -> None:
    """Check that a class has a loss and scores, and that its methods take what they are given.

    Raises
    ------
    UserError
        For the first one that is missing or has another signature.
    """
    try:
        inspect.signature(model).bind("config", "dataset")
    except TypeError as error:
        raise UserError(f"'{name}': its constructor takes config and dataset ({error}).") from error
    for method, arguments in _CALLED.items():
        try:
            inspect.signature(getattr(model, method, _takes_anything)).bind("self", *arguments)
        except TypeError as error:
            raise UserError(
                f"'{name}': its {method} takes self, {', '.join(arguments)} ({error})."
            ) from error
    if not _has(model, "calculate_loss"):
        raise UserError(
            f"'{name}' has no calculate_loss(interaction): the mean loss of a batch, a tensor of one number."
        )
    if not _has(model, "full_sort_predict") and not _has(model, "predict"):
        raise UserError(
            f"'{name}' has no full_sort_predict(interaction): scores of all items, [batch, self.n_items]."
        )


def check_loss(name: str, loss: Any) -> None:
    """Check that a loss, or each of a tuple of losses, is one number with a gradient.

    Raises
    ------
    UserError
        When one is not.
    """
    for part in loss if isinstance(loss, tuple) else (loss,):
        if not isinstance(part, torch.Tensor) or part.numel() != 1:
            found = f"a tensor {list(part.shape)}" if isinstance(part, torch.Tensor) else _kind(part)
            raise UserError(
                f"'{name}': calculate_loss gives {found}; a tensor of one number is wanted, the mean loss."
            )
        if not part.requires_grad:
            raise UserError(
                f"'{name}': calculate_loss gives a loss without a gradient, so that it would never learn; leave out "
                "detach(), item() and no_grad()."
            )


def check_scores(name: str, model: Any, batch: Any, flat: bool) -> None:
    """Check the scores of all items for the first histories of an evaluation.

    Parameters
    ----------
    name : str
        Of the model, for the message.
    model : AbstractRecommender
        In any mode; it is tried in evaluation mode.
    batch : Interaction
        A batch of the evaluation, on the model's device.
    flat : bool
        Whether one row of scores after the other will do, as RecBole has it.

    Raises
    ------
    UserError
        When they are no tensor [batch, n_items], or some are NaN.
    """
    if not _has(type(model), "full_sort_predict"):
        return  # RecBole asks `predict` for one item after the other
    few, training = batch[:2], model.training
    with draws_put_back(), torch.no_grad():
        try:
            scores = model.eval().full_sort_predict(few)
        finally:
            model.train(training)
    if flat and isinstance(scores, torch.Tensor) and scores.shape == (len(few) * model.n_items,):
        scores = scores.view(len(few), model.n_items)
    _check_shape(f"'{name}': full_sort_predict", scores, (len(few), model.n_items), "a score an item")
    if torch.isnan(scores).any():
        raise UserError(f"'{name}': full_sort_predict gives NaN before any training.")


def watch_predict(name: str, model: Any) -> None:
    """Check each answer of a model's ``predict`` from now on: it is asked for in sampled evaluation alone.

    Parameters
    ----------
    name : str
        Of the model, for the message.
    model : AbstractRecommender
        Its ``predict`` is replaced by one that raises ``UserError`` where it gives no score a row.
    """
    predict = model.predict

    def checked(interaction: Any) -> Any:
        if not _has(type(model), "predict"):
            raise UserError(
                f"'{name}' has no predict(interaction), which sampled evaluation asks: a score a row."
            )
        scores = predict(interaction)
        _check_shape(f"'{name}': predict", scores, (len(interaction),), "a score a row")
        return scores

    model.predict = checked


def _takes_anything(*_: Any) -> None:
    """Stand in for a method that a class need not have."""


def _has(model: type[Any], method: str) -> bool:
    return getattr(model, method) is not getattr(AbstractRecommender, method)


def _check_shape(said: str, found: Any, shape: tuple[int, ...], what: str) -> None:
    if not isinstance(found, torch.Tensor) or found.shape != shape:
        kind = f"a tensor {list(found.shape)}" if isinstance(found, torch.Tensor) else _kind(found)
        raise UserError(f"{said} gives {kind}; a tensor {list(shape)} is wanted, {what}.")


def _kind(value: Any) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"
