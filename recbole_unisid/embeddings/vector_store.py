"""A folder of vectors by the hash of their text, which only ever grows by whole files."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.array_file import Arrays, DamagedFileError, load_arrays, save_arrays

logger = logging.getLogger(__name__)
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Shard:
    """Some texts' vectors.

    Attributes
    ----------
    digests : list of bytes
        Hash of each text.
    vectors : ndarray of float32, shape [texts, width]
    token_counts : ndarray of int64, shape [texts]
        How long each text is, uncut.
    token_limit : int or None
        How much of a text the encoder read.
    """

    digests: list[bytes]
    vectors: NDArray[np.float32]
    token_counts: NDArray[np.int64]
    token_limit: int | None


class VectorStore:
    """Vectors of one encoder, under one folder.

    Every shard is one file, written atomically and named by the texts in it. So a process may be killed at
    any moment, and several may write at once. A damaged shard is dropped with a warning.

    Parameters
    ----------
    folder : Path
        Belongs to one encoder with one set of weights and settings.
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
