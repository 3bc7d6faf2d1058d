"""The part of a model that reads histories, as ONNX: item vectors in, the state that scores the next item out."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recbole_unisid.errors import UserError

#: Of ONNX; the first with layer norm as one operator, and old enough for every runtime in use.
OPSET = 17
#: What a state may differ by between torch and onnxruntime, relative to the largest of them.
_TOLERANCE = 1e-4


class UserEncoder(nn.Module):
    """Item vectors of histories to their last states.

    Parameters
    ----------
    transformer : Module
        Maps [batch, length, width] to states of the same shape; padding on the right.
    """

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Encode, [batch, length, width] and int64 [batch] -> [batch, width]."""
        states = self.transformer(vectors)  # [batch, length, width]
        last = (lengths - 1)[:, None, None].expand(-1, 1, states.shape[-1])
        encoded: torch.Tensor = states.gather(1, last).squeeze(1)
        return encoded


def write_encoder(path: Path, transformer: nn.Module, width: int, max_length: int) -> None:
    """Write the encoder as ONNX for any batch and any length up to `max_length`, and try it.

    The model has the inputs ``vectors`` and ``lengths`` and the output ``states``.

    Parameters
    ----------
    path : Path
        The file.
    transformer : Module
        In evaluation mode, on the CPU.
    width : int
        Width of item vectors.
    max_length : int
        Longest history.

    Raises
    ------
    UserError
        When onnx or onnxruntime is missing, or computes other states than torch.
    """
    _require("onnx", "onnxruntime")
    encoder = UserEncoder(transformer).eval()
    example = (torch.zeros(2, min(3, max_length), width), torch.ones(2, dtype=torch.int64))
    dynamic = {"vectors": {0: "batch", 1: "length"}, "lengths": {0: "batch"}, "states": {0: "batch"}}
    with torch.no_grad(), warnings.catch_warnings():
        # torch calls this exporter the older one, but the newer one needs onnxscript on top.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            encoder,
            example,
            str(path),
            input_names=["vectors", "lengths"],
            output_names=["states"],
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
    _try(path, encoder, width, max_length)


def _try(path: Path, encoder: UserEncoder, width: int, max_length: int) -> None:
    """Compare with torch on the shortest and the longest histories: tracing may bake sizes in."""
    session = _session(path)
    generator = torch.Generator().manual_seed(0)
    for batch, length in ((1, 1), (5, max_length)):
        vectors = torch.randn(batch, length, width, generator=generator)
        lengths = torch.randint(1, length + 1, (batch,), generator=generator)
        with torch.no_grad():
            expected = encoder(vectors, lengths).numpy()
        found = session.run(["states"], {"vectors": vectors.numpy(), "lengths": lengths.numpy()})[0]
        if not np.allclose(found, expected, rtol=0, atol=_TOLERANCE * np.abs(expected).max()):
            apart = np.abs(found - expected).max()
            raise UserError(f"The ONNX encoder differs from the model by {apart:.2g}; nothing was exported.")


def _require(*packages: str) -> None:
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            raise UserError(
                f"export needs {package}, which is not installed: pip install 'recbole_unisid[export]'."
            ) from None


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
