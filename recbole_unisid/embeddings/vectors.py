"""Vectors on disk: ready-made ones in a file, and the cache by the hash of a text."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from recbole_unisid.array_file import Arrays, DamagedFileError, load_arrays, save_arrays
from recbole_unisid.errors import UserError

logger = logging.getLogger(__name__)


def is_vector_file(encoder: str) -> bool:
    """Whether an encoder's name means a file of vectors."""
    return encoder.endswith((".npy", ".safetensors"))


def read_vectors(path: Path, item_ids: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of items from ``X.npy`` or ``X.safetensors`` and ``X.ids.txt`` beside it; [items, width].

    The array is [rows, width]; of several in a .safetensors file it is the one called ``vectors``. The file
    with the ending ``.ids.txt`` holds the items' tokens, one a line (UTF-8), in the order of the rows. An
    item that it lacks has zeros (a warning tells how many).

    Raises UserError: when a file is missing or damaged, names an item twice or none, or a vector is not finite.
    """
    path = Path(path)
    vectors = _read_array(path)
    ids_path = path.with_suffix(".ids.txt")
    if not ids_path.is_file():
        raise UserError(f"{path} needs {ids_path.name} beside it: the item ids of its rows, one a line.")
    ids = ids_path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    ids = [item.removesuffix("\r") for item in ids]
    if vectors.ndim != 2 or vectors.shape[1] == 0 or vectors.dtype.kind not in "fiu":
        raise UserError(f"{path} holds {vectors.dtype} of shape {vectors.shape}, not numbers [rows, width].")
    if len(ids) != len(vectors):
        raise UserError(
            f"{path} has {len(vectors)} rows but {ids_path.name} has {len(ids)} ids; make them equal."
        )
    row_of = {item: row for row, item in enumerate(ids)}
    if len(row_of) < len(ids):
        raise UserError(f"{ids_path} names an item twice; keep one row an item.")
    wanted = np.array([row_of.get(item, -1) for item in item_ids], dtype=np.int64)
    missing = int((wanted < 0).sum())
    if missing == len(wanted):
        raise UserError(
            f"{ids_path} names none of the dataset's items; write their tokens as the .inter file has them."
        )
    if missing:
        logger.warning("%s lacks %d of %d items; they get zero vectors.", path, missing, len(wanted))
    chosen = vectors[wanted].astype(np.float32)
    chosen[wanted < 0] = 0
    bad = np.flatnonzero(~np.isfinite(chosen).all(axis=1))
    if len(bad):
        raise UserError(
            f"{path}: the vector of item {item_ids[bad[0]]!r} is not finite ({len(bad)} such items); mend it."
        )
    return chosen


def _read_array(path: Path) -> NDArray[Any]:
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        arrays = load_file(path)
    except FileNotFoundError:
        raise UserError(f"No file of vectors at {path}.") from None
    except (ValueError, OSError, EOFError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as vectors ({str(error).splitlines()[0]}).") from None
    if "vectors" not in arrays and len(arrays) != 1:
        raise UserError(f"{path} holds {sorted(arrays)}; call the wanted array 'vectors'.")
    return np.asarray(arrays.get("vectors", next(iter(arrays.values()))))


_DIGEST_BYTES = 16


class Shard(NamedTuple):
    """Some texts' vectors."""

    digests: list[bytes]  # hash of each text
    vectors: NDArray[np.float32]  # [texts, width]
    token_counts: NDArray[np.int64]  # [texts]: how long each is, uncut
    token_limit: int | None  # how much of a text the encoder read


class VectorStore:
    """Vectors of one encoder with one set of weights and settings, under one folder.

    Every shard is one file, written atomically and named by the texts in it: a process may be killed at any moment, and
    several may write at once. A damaged shard is dropped with a warning.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def __iter__(self) -> Iterator[Shard]:
        """Every shard that is whole."""
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                arrays, about = load_arrays(path)
                packed, vectors, counts = arrays["digests"], arrays["vectors"], arrays["token_counts"]
                limit = about["token_limit"]
            except FileNotFoundError:  # dropped by another process meanwhile
                continue
            except (DamagedFileError, KeyError, TypeError) as error:
                logger.warning("%s: these texts are encoded again.", error)
                path.unlink(missing_ok=True)
                continue
            yield Shard([row.tobytes() for row in packed], vectors, counts, limit)

    def add(self, shard: Shard) -> None:
        """Keep a shard."""
        packed = np.frombuffer(b"".join(shard.digests), dtype=np.uint8).reshape(-1, _DIGEST_BYTES)
        arrays: Arrays = {"digests": packed, "vectors": shard.vectors, "token_counts": shard.token_counts}
        name = hashlib.sha256(packed.tobytes()).hexdigest()[:16]
        save_arrays(self.folder / f"{name}.safetensors", arrays, {"token_limit": shard.token_limit})


def text_digests(texts: Sequence[str]) -> list[bytes]:
    """A hash of each text, 16 bytes."""
    return [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:_DIGEST_BYTES] for text in texts]
