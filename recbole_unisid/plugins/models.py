"""Models of the user's own, tried before they train for hours: independent users, no look ahead, a loss, scores."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from recbole_unisid.errors import UserError
from recbole_unisid.plugins.loading import TRACEBACK, failed_in, one_line

#: Difference of states that rounding explains, as a share of the largest state.
_ROUNDING = 1e-4
#: Items of the histories that a transformer is tried with.
_LENGTH = 20


def check_transformer(name: str, transformer: Any, width: int, max_len: int) -> None:
    """Check that a module turns histories [batch, length, `width`] into states of that shape, each of its own past.

    They must be finite float32 with a gradient; none may change with a later item, or with another history.
    """
    said = f"Model '{name}': its transformer"
    if not isinstance(transformer, nn.Module):
        raise UserError(f"{said} is {_kind(transformer)}; a torch.nn.Module is wanted.")
    # A generator of its own, and the process's put back: the run's numbers do not know of this trial.
    shape, generator = (2, 3, min(_LENGTH, max_len), width), torch.Generator().manual_seed(0)
    device = next(transformer.parameters(), torch.empty(0)).device
    items, others = torch.randn(shape, generator=generator).to(device)
    with draws_put_back():
        mode, tried = transformer.training, transformer
        with suppress(Exception):  # whatever a module of somebody's own may hold that cannot be copied
            tried = copy.deepcopy(transformer)  # its running means and the like may change
        if tried is not transformer:
            _check_gradient(said, tried.train(), items)
            _check_independence(said, tried, items, others)
        _check_independence(said, tried.eval(), items, others)
        tried.train(mode)


def check_loss(name: str, loss: Any) -> None:
    """Check that a loss, or each of a tuple of losses, is one number with a gradient."""
    for part in loss if isinstance(loss, tuple) else (loss,):
        if not isinstance(part, torch.Tensor) or part.numel() != 1:
            raise UserError(
                f"'{name}': calculate_loss gives {_kind(part)}; a tensor of one number is wanted, the mean loss."
            )
        if not part.requires_grad:
            raise UserError(
                f"'{name}': calculate_loss gives a loss without a gradient, so that it would never learn; leave out "
                "detach(), item() and no_grad()."
            )


def check_scores(name: str, model: Any, batch: Any, flat: bool, sampled: bool) -> None:
    """Check the scores of the first two histories of an evaluation batch, which is on the model's device.

    `sampled`: of ``predict``, a score a row. `flat`: RecBole's form, one row of all items after the other, will do.
    """
    asked = ("predict",) if sampled else ("full_sort_predict", "predict")
    # The base class's own only raise.
    raises = "recbole.model.abstract_recommender"
    method = next((one for one in asked if getattr(type(model), one).__module__ != raises), None)
    if method is None:
        raise UserError(
            f"'{name}' has neither full_sort_predict nor predict(interaction), which this evaluation asks."
        )
    few, training = batch[:2], model.training
    shape: tuple[int, ...] = (len(few),) if method == "predict" else (len(few), model.n_items)
    with draws_put_back(), torch.no_grad():
        scores = _tried(f"'{name}': {method} fails", getattr(model.eval(), method), few)
        model.train(training)
    if flat and isinstance(scores, torch.Tensor) and scores.shape == (len(few) * model.n_items,):
        scores = scores.view(len(few), model.n_items)
    if not isinstance(scores, torch.Tensor) or scores.shape != shape:
        raise UserError(
            f"'{name}': {method} gives {_kind(scores)}; a tensor {list(shape)} is wanted, a score an item."
        )
    if torch.isnan(scores).any():
        raise UserError(f"'{name}': {method} gives NaN before any training.")


@contextmanager
def draws_put_back() -> Iterator[None]:
    """Leave the generators of the process, whatever draws from them, as they were."""
    plain, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(arrays)  # noqa: NPY002


def _check_gradient(said: str, transformer: nn.Module, items: torch.Tensor) -> None:
    """One step of training as far as the gradient, with the shape and the kind of the states on the way."""
    leaf = items.clone().requires_grad_()
    states = _states(said, transformer, leaf)
    if not states.requires_grad:
        raise UserError(
            f"{said} gives states without a gradient, so that it would never learn; leave out detach(), no_grad() and "
            "numpy within it."
        )
    learned = [leaf, *(parameter for parameter in transformer.parameters() if parameter.requires_grad)]
    _tried(f"{said} has no gradient", lambda: torch.autograd.grad(states.sum(), learned, allow_unused=True))


@torch.no_grad()
def _check_independence(said: str, transformer: nn.Module, items: torch.Tensor, others: torch.Tensor) -> None:
    """A state follows the items before it in its history, and nothing else, in the mode of the module."""
    read, training = partial(_states, said, transformer), transformer.training
    # All with the same draws of torch, numpy and random.
    states, _, again = read(items), read(others), read(items)
    if _differ(again, states):
        if training:
            return  # a state of its own, such as the vector of spectral_norm: nothing can be told
        raise UserError(
            f"{said} gives other states when asked again: it keeps something of the batch before."
        )
    if not training and _differ(read(items, seed=1), states):
        raise UserError(
            f"{said} is random in evaluation, its states are others when asked again; dropout needs "
            "training=self.training."
        )
    neighbour, later = items.clone(), items.clone()
    # Other items: of a mere shift, LayerNorm would see nothing.
    neighbour[1], later[:, -1] = others[1], others[:, -1]
    mixed = _differ(read(neighbour)[[0, 2]], states[[0, 2]])
    ahead = _differ(read(later)[:, :-1], states[:, :-1])
    if not training:  # other shapes would have other draws; their kernels may round coarsely (TF32)
        mixed = mixed or _differ(read(items[:1]), states[:1], 100)
        ahead = ahead or _differ(read(items[:, :1]), states[:, :1], 100)
    when = "in training" if training else "in evaluation"
    if mixed:
        raise UserError(
            f"{said} mixes users {when}: a state changes with another history of the batch (a recurrent layer without "
            "batch_first=True? BatchNorm? LayerNorm takes each state alone)."
        )
    if ahead:
        raise UserError(
            f"{said} looks ahead {when}: a state changes with a later item, or with how many follow; in training it "
            "would see its targets."
        )


def _differ(some: torch.Tensor, others: torch.Tensor, coarse: int = 1) -> bool:
    """Whether states are others beyond rounding, a share of the largest one."""
    near = _ROUNDING * coarse * float(others.abs().max()) + 1e-6 if others.numel() else 0.0
    return not torch.allclose(some, others, rtol=0.0, atol=near)


def _states(said: str, transformer: nn.Module, items: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """States of items, with the same random draws whenever the seed is the same."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what a module of somebody's own may draw from
    torch.manual_seed(seed)
    of = f"[batch, length, width] = {list(items.shape)}"
    # A copy: it may write into what it is given.
    found = _tried(f"{said} cannot read {of}", transformer, items.clone())
    if not isinstance(found, torch.Tensor) or found.shape != items.shape or found.dtype != torch.float32:
        hint = " (of what a recurrent layer gives, take the first)" if isinstance(found, tuple) else ""
        raise UserError(
            f"{said} makes {_kind(found)}{hint} of {of}; a tensor of float32 and that shape is wanted, a state a "
            "position."
        )
    if not torch.isfinite(found).all():
        raise UserError(
            f"{said} makes NaN or infinity before any training: a division by zero, or a row masked as a whole?"
        )
    return found


def _tried(said: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except UserError:
        raise
    except Exception as error:  # whatever a module of somebody's own may raise
        if os.environ.get(TRACEBACK):
            raise
        raise UserError(f"{said}: {failed_in(error) or one_line(error)}") from error


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')} and shape {list(value.shape)}"
    return "None" if value is None else f"an object of type {type(value).__name__}"
