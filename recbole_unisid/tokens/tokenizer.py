"""What every tokenizer can do: fit, encode, decode, save."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import Self

from recbole_unisid.array_file import Arrays, save_arrays
from recbole_unisid.errors import UserError
from recbole_unisid.plugins.tokenizers import check_codebooks, check_codes, check_widths, returned_array
from recbole_unisid.tokens.quantiser import decode, level_distances, quantise

TOKENIZER_FILE = "tokenizer.safetensors"

#: Vectors that are encoded at once; bounds the memory, not the result.
_CHUNK = 8192


class Tokenizer(ABC):
    """Item vectors to code tuples and back, by residual quantisation unless a subclass says otherwise.

    Each level has so many codes (`codebook_sizes`) and chooses by one of the `distances` ``cosine`` and ``euclidean``;
    by default UniSID's, cosine at all levels but the last. `seed` is that of everything random in `fit`.
    """

    name: ClassVar[str]
    #: The distance of every level where a tokenizer has but one.
    only_distance: ClassVar[str | None] = None

    def __init__(
        self, codebook_sizes: Sequence[int], distances: Sequence[str] | None = None, seed: int = 2020
    ) -> None:
        self.codebook_sizes = tuple(codebook_sizes)
        levels = len(self.codebook_sizes)
        own = self.only_distance
        self.distances = level_distances(levels, distances) if own is None else (own,) * levels
        self.seed = seed
        #: After `fit`, [codes, latent width] each; their chosen rows add up to the quantised latent.
        self.codebooks: list[NDArray[np.float32]] = []
        self.mean: NDArray[np.float32] = np.zeros(
            0, dtype=np.float32
        )  # [width]: taken off every vector first
        if not self.codebook_sizes or any(type(size) is not int or size < 1 for size in self.codebook_sizes):
            raise UserError(
                f"codebook_sizes={list(codebook_sizes)}: give whole numbers, 1 or more, one a level."
            )

    def fit(
        self, vectors: NDArray[np.float32], show_progress: bool = True, item_ids: Sequence[str] | None = None
    ) -> Self:
        """Learn from the vectors of all items, float32 [items, width]; returns itself.

        `item_ids` are the items' tokens, by which published codes are found; row numbers by default.

        Raises UserError: for vectors that are no finite numbers [items, width], and codebooks of another shape.
        """
        vectors = check_vectors(vectors)
        self.mean = self._choose_mean(vectors)
        ids = [str(row) for row in range(len(vectors))] if item_ids is None else item_ids
        self._fit(vectors, ids, show_progress)
        self.codebooks = check_codebooks(self.name, self.codebooks, self.codebook_sizes)
        check_widths(self, vectors)
        return self

    def item_codes(self, vectors: NDArray[np.float32], item_ids: Sequence[str]) -> NDArray[np.int64]:
        """Codes of items by vector or, where a tokenizer knows items, by token; shape [n, levels]."""
        return self.encode(vectors)

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Codes [n, levels] of vectors, each by itself; a ``UserError`` for those not finite or of another width."""
        return np.concatenate([self.codes_of(latents) for latents in self._latent_chunks(vectors)])

    def codes_of(self, latents: NDArray[np.float32]) -> NDArray[np.int64]:
        """Codes of latents as :meth:`choose_codes` chooses them, checked; shape [n, levels]."""
        owner = f"Tokenizer '{self.name}', choose_codes"
        return check_codes(owner, self.choose_codes(latents), len(latents), self.codebook_sizes)

    def latents(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is quantised: the centred vectors, or what a network makes of them; [n, latent width]."""
        return np.concatenate(list(self._latent_chunks(vectors)))

    def choose_codes(self, latents: NDArray[np.float32]) -> NDArray[np.int64]:
        """Codes of latents, shape [n, levels]."""
        return quantise(torch.from_numpy(latents), self._tensors(), self.distances).codes.numpy()

    def decode(self, codes: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors that codes stand for, shape [n, width]."""
        vectors = np.empty((len(codes), len(self.mean)), dtype=np.float32)
        for start in range(0, len(codes), _CHUNK):
            part = torch.from_numpy(codes[start : start + _CHUNK])
            vectors[start : start + _CHUNK] = self.decode_latents(decode(part, self._tensors()).numpy())
        return vectors

    def decode_latents(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors of latents, shape [n, width]."""
        vectors: NDArray[np.float32] = latents + self.mean
        return vectors

    def options(self) -> dict[str, Any]:
        """The further settings of this tokenizer, as `build_tokenizer` takes them."""
        return {}

    def depends_on(self) -> Any:
        """Everything but the vectors that `fit` depends on, JSON-like; for cache keys."""
        return [self.name, list(self.codebook_sizes), list(self.distances), self.seed, self.options()]

    def save(self, folder: Path) -> None:
        """Write `tokenizer.safetensors`, whole or not at all; :func:`load_tokenizer` reads it."""
        about = {
            "name": self.name,
            "codebook_sizes": list(self.codebook_sizes),
            "distances": list(self.distances),
            "seed": self.seed,
            "options": self.options(),
        }
        save_arrays(Path(folder) / TOKENIZER_FILE, self.state(), about)

    def state(self) -> Arrays:
        """Every array that `fit` has made."""
        return {"mean": self.mean, **{f"codebook.{level}": book for level, book in enumerate(self.codebooks)}}

    def restore(self, state: Arrays) -> None:
        """Take back what `state` gave."""
        self.mean = state["mean"]
        self.codebooks = [state[f"codebook.{level}"] for level in range(len(self.codebook_sizes))]

    @abstractmethod
    def _fit(self, vectors: NDArray[np.float32], item_ids: Sequence[str], show_progress: bool) -> None:
        """Set `codebooks` from checked vectors; `mean` is known."""

    def _choose_mean(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        mean: NDArray[np.float32] = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def _encode_latents(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        latents: NDArray[np.float32] = vectors - self.mean
        return latents

    def _latent_chunks(self, vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        vectors = check_vectors(vectors, len(self.mean))
        for start in range(0, len(vectors), _CHUNK):
            yield self._encode_latents(vectors[start : start + _CHUNK])

    def _tensors(self) -> list[torch.Tensor]:
        return [torch.from_numpy(codebook) for codebook in self.codebooks]


def check_vectors(vectors: NDArray[Any], width: int | None = None) -> NDArray[np.float32]:
    """Vectors as contiguous float32 [n, width]; a ``UserError`` where they are none, not finite or not so wide."""
    checked = np.ascontiguousarray(vectors, dtype=np.float32)
    if checked.ndim != 2 or not checked.size:
        raise UserError(
            f"Item vectors must be an array [items, width] with items; got shape {checked.shape}."
        )
    if width is not None and checked.shape[1] != width:
        raise UserError(
            f"Item vectors are {checked.shape[1]} wide, the tokenizer knows {width}; use its text encoder."
        )
    bad = np.flatnonzero(~np.isfinite(checked.sum(axis=1, dtype=np.float64)))
    if len(bad):
        raise UserError(
            f"The vector of item number {bad[0]} is not finite ({len(bad)} such); mend the vectors."
        )
    return checked


def additive_codebooks(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], codebook_sizes: Sequence[int]
) -> list[NDArray[np.float32]]:
    """Level by level, make each code the mean of what the levels before leave of its items; [codes, width] each.

    Gives codes [items, levels] that were not chosen by distance (random, hashed, published) vectors of their own, so
    that they can be decoded, judged and used to start a model's code tables like any others. The vectors [items, width]
    are centred ones. A code without items is zero.

    Raises UserError: when there is not one tuple of codes a vector, or a code is none of its level.
    """
    owner = "additive_codebooks"
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise UserError(
            f"{owner}: the vectors are {returned_array(vectors)[1]}; floating-point numbers [items, width] "
            "are wanted, such as self.latents(vectors)."
        )
    if not isinstance(codebook_sizes, (list, tuple)):
        raise UserError(f"{owner}: codebook_sizes={codebook_sizes!r}; give self.codebook_sizes, one a level.")
    codes = check_codes(owner, codes, len(vectors), codebook_sizes)
    residuals = vectors.copy()
    codebooks = []
    for level, size in enumerate(codebook_sizes):
        chosen = codes[:, level]
        order = np.argsort(chosen, kind="stable")
        used, first, counts = np.unique(chosen[order], return_index=True, return_counts=True)
        codebook = np.zeros((size, vectors.shape[1]), dtype=np.float32)
        codebook[used] = np.add.reduceat(residuals[order], first, axis=0) / counts[:, None]
        residuals -= codebook[chosen]
        codebooks.append(codebook)
    return codebooks
