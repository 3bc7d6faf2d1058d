"""Checkpoints without pickles: nested state as one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from recbole_unisid.errors import UserError
from recbole_unisid.files import write_atomically


def save_state(path: Path, state: Any) -> None:
    """Write nested dicts, lists and tuples of tensors, arrays, sparse matrices and scalars, atomically.

    Keys of dicts are strings or integers. Modules are left out: their weights stand in the ``state_dict`` beside them.
    """
    tensors: dict[str, torch.Tensor] = {}
    structure = json.dumps(_pack(state, tensors))
    size = sum(tensor.nbytes for tensor in tensors.values()) + len(structure)
    with write_atomically(path, size) as part:
        save_file(tensors, part, metadata={"structure": structure})


def load_state(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read what :func:`save_state` wrote; nothing in the file is executed."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            structure = json.loads((file.metadata() or {})["structure"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return _unpack(structure, tensors)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise UserError(f"Checkpoint {path} cannot be read ({error}); delete it to start again.") from error


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> list[Any]:
    if value is None or isinstance(value, (bool, int, float, str)):
        return ["plain", value]
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return ["tensor", name]
    if isinstance(value, np.ndarray):
        return ["array", *_pack(torch.from_numpy(np.ascontiguousarray(value)), tensors)[1:]]
    if isinstance(value, np.generic):
        return ["plain", value.item()]
    if isinstance(value, dict):
        return ["dict", [[key, _pack(item, tensors)] for key, item in value.items()]]
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return [kind, [_pack(item, tensors) for item in value]]
    if sp.issparse(value):
        rows = value.tocsr()
        parts = [_pack(part, tensors) for part in (rows.data, rows.indices, rows.indptr)]
        return ["sparse", [value.format, list(rows.shape), *parts]]
    if isinstance(value, torch.nn.Module):
        return ["module", None]
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _unpack(packed: list[Any], tensors: dict[str, torch.Tensor]) -> Any:
    kind, content = packed
    if kind == "plain":
        return content
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].cpu().numpy()
    if kind == "dict":
        return {key: _unpack(item, tensors) for key, item in content if item[0] != "module"}
    if kind in {"list", "tuple"}:
        items = [_unpack(item, tensors) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "sparse":
        form, shape, *parts = content
        return sp.csr_matrix(tuple(_unpack(part, tensors) for part in parts), shape=shape).asformat(form)
    raise ValueError(f"unknown kind '{kind}'")
