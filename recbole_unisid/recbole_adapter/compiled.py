"""``compile=True``: the transformer through torch.compile, and one line where that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from recbole_unisid.errors import UserError


def compile_if_asked(config: Any, model: torch.nn.Module) -> None:
    """Have a model's transformer compiled at its first batch; its weights keep their names.

    Shapes are compiled as unknowns: every batch has a number of sequences and a length of its own.

    Parameters
    ----------
    config : UniSIDConfig
        ``compile``.
    model : Module
        One of ours.

    Raises
    ------
    UserError
        When the model is RecBole's, or has no transformer of ours.
    """
    if not config["compile"]:
        return
    transformer = getattr(model, "transformer", None)
    if not config.is_own_model or not isinstance(transformer, torch.nn.Module):
        raise UserError(f"compile=True is not for {config['model']}; leave it off.")
    transformer.compile(dynamic=True)


@contextmanager
def failed_compilation_explained() -> Iterator[None]:
    """Turn torch's report that it cannot compile into one line.

    Raises
    ------
    UserError
        When there is no working compiler.
    """
    try:
        yield
    except Exception as error:
        # By module: importing torch's compiler to name its errors takes seconds.
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"compile=True failed ({reason.strip()}); it needs a working C++ compiler (on CUDA Triton too). "
            "Leave compile off to run without."
        ) from error
