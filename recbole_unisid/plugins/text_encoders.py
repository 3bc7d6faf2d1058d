"""A text encoder of the user's own behind the interface of all encoders."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.files import fingerprint
from recbole_unisid.plugins.loading import code_fingerprint, find, short_name
from recbole_unisid.plugins.tokenizers import returned_array

#: Settings that say how, not what, is encoded: no part of the cache's key.
_MANNER = {"batch_size", "device", "processes"}


class OwnEncoder:
    """What :class:`recbole_unisid.embeddings.encode.TextEncoder` wants, made of the class in use ``module:Class``.

    It needs ``encode(texts) -> array [texts, width]`` alone; ``token_limit``, ``token_counts`` and ``close`` are used
    where it has them, and ``key`` where the vectors depend on more than its source and its settings (a file of
    weights). Of `settings` (``corpus``, ``batch_size``, ``device``, ``max_length``, ``prompt``, ``processes``) the
    constructor gets those that it names.
    """

    def __init__(self, reference: str, settings: Mapping[str, Any]) -> None:
        kind = find(reference, "text_encoder")
        if not callable(getattr(kind, "encode", None)):
            raise UserError(
                f"'{reference}' is no text encoder: it needs encode(texts) -> array [texts, width]."
            )
        self._owner = f"The text encoder '{reference}'"
        named = inspect.signature(kind).parameters
        for setting in ("max_length", "prompt"):
            if settings.get(setting) is not None and setting not in named:
                raise UserError(f"{self._owner} takes no {setting}; leave text_{setting} unset.")
        taken = {name: value for name, value in settings.items() if name in named}
        self._inner: Any = kind(**taken)
        key = getattr(self._inner, "key", None)
        if hasattr(self._inner, "key") and not (isinstance(key, str) and key):
            raise UserError(
                f"{self._owner}: key = {key!r:.40} must be a string that is not empty, such as the hash of its file of "
                "weights; the vectors are cached under it."
            )
        what = {name: value for name, value in taken.items() if name not in _MANNER}
        parts = ("own 1", reference, code_fingerprint(kind), what, key)
        self.key = f"{short_name(reference)}-{fingerprint(*parts)}"
        self.token_limit: int | None = getattr(self._inner, "token_limit", None)

    @property
    def width(self) -> int:
        """Numbers a vector."""
        return int(self.encode(["width"]).shape[1])

    def token_counts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The encoder's own counts, or lengths in characters; shape [texts]."""
        if not hasattr(self._inner, "token_counts"):
            return np.array([len(text) for text in texts], dtype=np.int64)
        return self._asked("token_counts", texts, "iu").astype(np.int64)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of the texts, shape [texts, width]."""
        return self._asked("encode", texts, "fiu", "width").astype(np.float32)

    def _asked(self, method: str, texts: Sequence[str], kinds: str, *width: str) -> NDArray[Any]:
        found, came = returned_array(getattr(self._inner, method)(list(texts)))
        fits = found.dtype.kind in kinds and found.size and found.ndim == 1 + len(width)
        if not fits or len(found) != len(texts):
            wanted = ", ".join([str(len(texts)), *width])
            raise UserError(
                f"{self._owner}: {method} returned {came}; an array of numbers [{wanted}] is wanted."
            )
        return found

    def close(self) -> None:
        """Let the encoder close what it has opened."""
        if hasattr(self._inner, "close"):
            self._inner.close()
