"""Named arrays in one safetensors file that is whole, unchanged, or refused: never pickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from recbole_unisid.files import write_atomically

Arrays = dict[str, NDArray[Any]]


class DamagedFileError(ValueError):
    """The file is cut short, changed on disk, or was not written by :func:`save_arrays`."""


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], about: Any = None) -> None:
    """Write arrays, what is to be known `about` them (JSON-like), and a SHA-256 of both, atomically."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(about, ensure_ascii=False)
    content = save(whole, metadata={"about": text, "sha256": _digest(whole, text)})
    with write_atomically(path, len(content)) as part:
        part.write_bytes(content)


def load_arrays(path: Path) -> tuple[Arrays, Any]:
    """Read what :func:`save_arrays` wrote; :class:`DamagedFileError` where the file is not exactly that."""
    content = Path(path).read_bytes()
    try:
        arrays = load(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        text, expected = metadata["about"], metadata["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} is damaged ({error})") from None
    if _digest(arrays, text) != expected:
        raise DamagedFileError(f"{path} is damaged (its content has changed since it was written)")
    return arrays, json.loads(text)


def _digest(arrays: Mapping[str, NDArray[Any]], about: str) -> str:
    digest = hashlib.sha256(about.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
