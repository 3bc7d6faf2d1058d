"""What a sequence model promises, checked before a model of the user's own trains for hours."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from recbole_unisid.errors import UserError
from recbole_unisid.items.joint import JointTokens
from recbole_unisid.items.representation import ItemRepresentation
from recbole_unisid.plugins.loading import TRACEBACK, failed_in

#: Difference of states that rounding explains, as a share of the largest state.
_ROUNDING = 1e-4
#: Items of the histories that a reader is tried with.
_LENGTH = 20


def check_representation(name: str, items: Any, n_items: int) -> None:
    """Check that what ``_item_representation`` gave is one of `n_items` items.

    Raises
    ------
    UserError
        When it is something else.
    """
    said = f"Model '{name}': _item_representation gives"
    if not isinstance(items, ItemRepresentation):
        place = f"{ItemRepresentation.__module__}.{ItemRepresentation.__name__}"
        raise UserError(f"{said} {_kind(items)}; a {place} is wanted.")
    if items.n_items != n_items:
        raise UserError(f"{said} {items.n_items} items; {n_items} (self.n_items - 1) are wanted.")


def check_items(name: str, items: Any, n_items: int) -> None:
    """Check that there is a vector for each item number from 0 (padding) to `n_items`.

    Parameters
    ----------
    name : str
        Of the model, for the message.
    items : ItemRepresentation
        Tried in evaluation mode, without gradients.
    n_items : int
        Items, padding not counted.

    Raises
    ------
    UserError
        When it is something else, or its vectors have another shape or type, or are not finite.
    """
    check_representation(name, items, n_items)
    if isinstance(items.semantic, JointTokens):
        return  # ours, and the first items that it sees may be what it starts from
    said, training = f"Model '{name}': its item representation", items.training
    numbers = torch.tensor([0, 1, n_items], device=_device(items))
    with draws_put_back(), torch.no_grad():
        try:
            vectors = _tried(f"{said} cannot represent items {numbers.tolist()}", items.eval(), numbers)
        finally:
            items.train(training)
    _check_tensor(f"{said} makes", vectors, (len(numbers), items.width), "a vector an item")


def check_reader(name: str, reader: Any, width: int, max_len: int) -> None:
    """Check that a module reads histories [batch, length, width] to states of that shape, each of its own past alone.

    Parameters
    ----------
    name : str
        Of the model, for the message.
    reader : Module
        What stands in ``transformer``; a copy of it is tried.
    width : int
        Width of the item vectors.
    max_len : int
        Longest history.

    Raises
    ------
    UserError
        When the states are no tensor of float32, have another shape, are not finite or have no gradient, or
        a state changes with a later item, with another history of the batch, or with nothing at all.
    """
    said = f"Model '{name}': its transformer"
    if not isinstance(reader, nn.Module):
        raise UserError(f"{said} is {_kind(reader)}; a torch.nn.Module is wanted.")
    # A generator of its own, and the process's put back: the run's numbers do not know of this trial.
    shape, generator = (2, 3, min(_LENGTH, max_len), width), torch.Generator().manual_seed(0)
    items, others = torch.randn(shape, generator=generator).to(_device(reader))
    with draws_put_back():
        copied = _copied(reader)
        if copied is not None:
            _check_gradient(said, copied.train(), items)
            _check_independence(said, copied, items, others)
        mode, tried = reader.training, reader if copied is None else copied
        try:
            _check_independence(said, tried.eval(), items, others)
        finally:
            tried.train(mode)


def _copied(reader: nn.Module) -> nn.Module | None:
    """A copy, whose running means and the like may change; None of what cannot be copied."""
    try:
        return copy.deepcopy(reader)
    except Exception:  # whatever a module of somebody's own may hold
        return None


def _check_gradient(said: str, reader: nn.Module, items: torch.Tensor) -> None:
    """One step of training as far as the gradient, with the shape and the kind of the states on the way."""
    leaf = items.clone().requires_grad_()
    states = _read(said, reader, leaf)
    if not states.requires_grad:
        raise UserError(
            f"{said} gives states without a gradient, so that it would never learn; leave out detach(), no_grad() and "
            "numpy within it."
        )
    learned = [leaf, *(parameter for parameter in reader.parameters() if parameter.requires_grad)]
    _tried(f"{said} has no gradient", lambda: torch.autograd.grad(states.sum(), learned, allow_unused=True))


@torch.no_grad()
def _check_independence(said: str, reader: nn.Module, items: torch.Tensor, others: torch.Tensor) -> None:
    """A state follows the items before it in its history, and nothing else, in the mode of the reader."""
    read, when = partial(_read, said, reader), "in training" if reader.training else "in evaluation"
    states, _, again = (
        read(items),
        read(others),
        read(items),
    )  # all with the same draws of torch, numpy and random
    if _differ(again, states):
        if reader.training:
            return  # a state of its own, such as the vector of spectral_norm: nothing can be told
        raise UserError(
            f"{said} gives other states when asked again: it keeps something of the batch before."
        )
    if not reader.training and _differ(read(items, seed=1), states):
        raise UserError(
            f"{said} is random in evaluation, its states are others when asked again; dropout needs "
            "training=self.training."
        )
    neighbour, later = (
        items.clone(),
        items.clone(),
    )  # other items: of a mere shift, LayerNorm would see nothing
    neighbour[1], later[:, -1] = others[1], others[:, -1]
    mixed = _differ(read(neighbour)[[0, 2]], states[[0, 2]])
    ahead = _differ(read(later)[:, :-1], states[:, :-1])
    if not reader.training:  # other shapes would have other draws; their kernels may round coarsely (TF32)
        mixed = mixed or _differ(read(items[:1]), states[:1], 100)
        ahead = ahead or _differ(read(items[:, :1]), states[:, :1], 100)
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


def _read(said: str, reader: nn.Module, items: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """States of items, with the same random draws whenever the seed is the same."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what a module of somebody's own may draw from
    torch.manual_seed(seed)
    of = f"[batch, length, width] = {list(items.shape)}"
    states = _tried(f"{said} cannot read {of}", reader, items.clone())  # it may write into what it is given
    return _check_tensor(f"{said} makes", states, tuple(items.shape), f"a state a position of {of}")


def _tried(said: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except UserError:
        raise
    except Exception as error:  # whatever a module of somebody's own may raise
        if os.environ.get(TRACEBACK):
            raise
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"{said}: {failed_in(error) or text}") from error


def _check_tensor(said: str, found: Any, shape: tuple[int, ...], what: str) -> torch.Tensor:
    wanted = f"a tensor of float32 and shape {list(shape)} is wanted, {what}."
    if not isinstance(found, torch.Tensor):
        hint = " (of what a recurrent layer gives, take the first)" if isinstance(found, tuple) else ""
        raise UserError(f"{said} {_kind(found)}{hint}; {wanted}")
    if found.shape != shape or found.dtype != torch.float32:
        kind = str(found.dtype).removeprefix("torch.")
        raise UserError(f"{said} a tensor of {kind} and shape {list(found.shape)}; {wanted}")
    if not torch.isfinite(found).all():
        raise UserError(
            f"{said} NaN or infinity before any training: a division by zero, or a row masked as a whole?"
        )
    return found


def _kind(value: Any) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"


def _device(module: nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


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
