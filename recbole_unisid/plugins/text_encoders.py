"""A text encoder of the user's own behind the interface of all encoders."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.files import fingerprint
from recbole_unisid.plugins.arrays import check_call, returned_array
from recbole_unisid.plugins.loading import code_fingerprint, find, short_name

#: Settings that say how, not what, is encoded: no part of the cache's key.
_MANNER = {"batch_size", "device", "processes"}


class OwnEncoder:
    """What :class:`recbole_unisid.embeddings.encode.TextEncoder` wants, made of what a class of the user's has.

    The class needs ``encode(texts) -> array [texts, width]`` alone. ``token_limit``, ``token_counts`` and
    ``close`` are used where it has them, and a ``key`` where the vectors depend on more than its source and
    its settings (a file of weights, say).

    Parameters
    ----------
    reference : str
        ``module:Class``, in use.
    settings : mapping
        ``corpus``, ``batch_size``, ``device``, ``max_length``, ``prompt``, ``processes``: the constructor gets
        those that it names.

    Raises
    ------
    UserError
        When the class is not in use, is no encoder, fails, or does not take a setting that was given; when its
        ``key`` is no text, or its ``token_limit`` no number.
    """

    def __init__(self, reference: str, settings: Mapping[str, Any]) -> None:
        kind = find(reference, "text_encoder")
        if not callable(getattr(kind, "encode", None)):
            raise UserError(
                f"'{reference}' is no text encoder: it needs encode(texts) -> array [texts, width]."
            )
        named = inspect.signature(kind).parameters
        for setting in ("max_length", "prompt"):
            if settings.get(setting) is not None and setting not in named:
                raise UserError(
                    f"The text encoder '{reference}' takes no {setting}; leave text_{setting} unset."
                )
        taken = {name: value for name, value in settings.items() if name in named}
        try:
            self._inner: Any = kind(**taken)
        except TypeError as error:
            raise UserError(f"The text encoder '{reference}' cannot be made: {error}") from error
        self._owner = f"The text encoder '{reference}'"
        check_call(self._owner, self._inner.encode, "texts")
        what = {name: value for name, value in taken.items() if name not in _MANNER}
        parts = ("own 1", reference, code_fingerprint(kind), what, self._own_key())
        self.key = f"{short_name(reference)}-{fingerprint(*parts)}"
        self.token_limit: int | None = getattr(self._inner, "token_limit", None)
        if self.token_limit is not None and (type(self.token_limit) is not int or self.token_limit < 1):
            raise UserError(
                f"{self._owner}: token_limit={self.token_limit!r} must be a whole number or None."
            )

    def _own_key(self) -> str | None:
        """The ``key`` of the class, None where it has none."""
        key = getattr(self._inner, "key", "none")
        if not isinstance(key, str) or not key:
            raise UserError(
                f"{self._owner}: key = {key!r:.40} must be a string that is not empty, such as the hash of its file of "
                "weights; the vectors are cached under it."
            )
        return key if hasattr(self._inner, "key") else None

    @property
    def width(self) -> int:
        """Numbers a vector."""
        return int(self.encode(["width"]).shape[1])

    def token_counts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The encoder's own counts, or lengths in characters; shape [texts]."""
        if not hasattr(self._inner, "token_counts"):
            return np.array([len(text) for text in texts], dtype=np.int64)
        check_call(self._owner, self._inner.token_counts, "texts")
        counts, came = returned_array(self._inner.token_counts(list(texts)))
        if counts.shape != (len(texts),) or counts.dtype.kind not in "iu":
            raise UserError(
                f"{self._owner}: token_counts returned {came} for {len(texts)} texts; a whole number each is wanted."
            )
        return counts.astype(np.int64)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of the texts, shape [texts, width].

        Raises
        ------
        UserError
            When the class returns anything else.
        """
        vectors, came = returned_array(self._inner.encode(list(texts)))
        if (
            vectors.ndim != 2
            or len(vectors) != len(texts)
            or vectors.dtype.kind not in "fiu"
            or not vectors.size
        ):
            raise UserError(
                f"{self._owner}: encode returned {came} for {len(texts)} texts; an array of numbers "
                f"[{len(texts)}, width] is wanted."
            )
        return vectors.astype(np.float32)

    def close(self) -> None:
        """Let the encoder close what it has opened."""
        if hasattr(self._inner, "close"):
            self._inner.close()
