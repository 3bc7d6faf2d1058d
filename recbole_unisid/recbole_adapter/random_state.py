"""What makes a run repeat: one order of sums, and the state of every random generator as plain values."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from recbole_unisid import distributed


@contextmanager
def repeatable_sums(wanted: bool) -> Iterator[None]:
    """Add gradients in one order, whatever the number of threads, for as long as the context lasts.

    Left to itself, torch adds up the gradient of ``x[index]`` by several threads as they come, and a run moves by
    rounding from call to call. An operation without a repeatable form warns and runs as it is.
    """
    # As torch.use_deterministic_algorithms, which reads the compiler for it, seconds long (`compile` sees to that).
    mode_before = torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    if wanted:
        torch.set_deterministic_debug_mode("warn")
        memory.fill_uninitialized_memory = False  # costs time and orders nothing
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode_before)
        memory.fill_uninitialized_memory = filled


def loader_state(train_data: Any) -> Any:
    """State of a loader's own generator; None where it has none."""
    generator = getattr(train_data, "generator", None)
    if isinstance(generator, np.random.Generator):
        return dict(generator.bit_generator.state)  # integers of 128 bits: Python's JSON keeps them
    return None if generator is None else generator.get_state()


def restore_loader(train_data: Any, state: Any) -> None:
    """Set a loader's generator to what :func:`loader_state` found."""
    generator = getattr(train_data, "generator", None)
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif generator is not None:
        generator.set_state(state)


def random_state(model: Any) -> dict[str, Any]:
    """State of the process's generators and of the model's own."""
    own = getattr(model, "generator", None)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": np.random.get_state(),  # noqa: NPY002 (RecBole draws from it)
        "python": random.getstate(),
        "model": None if own is None else own.get_state(),
    }


def restore_random(model: Any, state: dict[str, Any]) -> None:
    """Set all generators to what :func:`random_state` found."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])
    own = getattr(model, "generator", None)
    if own is not None and state["model"] is not None:
        own.set_state(state["model"])


def diverge(seed: int, epoch: int, batch: int) -> None:
    """Give every process but the first its own dropout masks.

    What all processes must draw alike (batches, shared negatives) comes from other generators. The first
    process keeps its state, so that a run of one process is not touched.
    """
    if distributed.rank():
        sequence = np.random.SeedSequence([seed, epoch, batch, distributed.rank()])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
