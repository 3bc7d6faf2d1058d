"""Tokenizers to compare with: codes that know nothing, and codes from random directions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.tokens.tokenizer import Tokenizer, additive_codebooks


class RandomCodes(Tokenizer):
    """Codes drawn uniformly, whatever the vectors say: what codes are worth without meaning.

    An item's draw is seeded by the bytes of its vector: a new item has its codes too, equal items equal ones.
    """

    name = "random"
    only_distance = "random"

    def choose_codes(self, latents: NDArray[np.float32]) -> NDArray[np.int64]:
        sizes = np.array(self.codebook_sizes, dtype=np.uint64)
        codes = np.empty((len(latents), len(sizes)), dtype=np.int64)
        key = str(self.seed).encode()
        for row, latent in enumerate(np.ascontiguousarray(latents + np.float32(0))):  # -0 is 0
            digest = hashlib.blake2b(latent.tobytes(), key=key, digest_size=8).digest()
            rng = np.random.default_rng(int.from_bytes(digest, "little"))
            codes[row] = rng.integers(sizes)
        return codes

    def _fit(self, vectors: NDArray[np.float32], item_ids: Sequence[str], show_progress: bool) -> None:
        latents = self.latents(vectors)
        self.codebooks = additive_codebooks(latents, self.choose_codes(latents), self.codebook_sizes)


class HyperplaneHashing(Tokenizer):
    """Locality-sensitive hashing: a level's code is on which sides of random hyperplanes a vector lies.

    A level of ``2^b`` codes has ``b`` hyperplanes through the items' mean (Charikar, STOC 2002): near vectors
    often agree, but nothing is fitted to the items.
    """

    name = "lsh"
    only_distance = "hyperplanes"

    def choose_codes(self, latents: NDArray[np.float32]) -> NDArray[np.int64]:
        rng = np.random.default_rng(self.seed)
        codes = np.empty((len(latents), len(self.codebook_sizes)), dtype=np.int64)
        for level, size in enumerate(self.codebook_sizes):
            bits = size.bit_length() - 1
            planes = rng.standard_normal((latents.shape[1], bits))
            sides = latents.astype(np.float64) @ planes > 0  # [n, bits]
            codes[:, level] = sides @ (1 << np.arange(bits))
        return codes

    def _fit(self, vectors: NDArray[np.float32], item_ids: Sequence[str], show_progress: bool) -> None:
        if any(size & (size - 1) for size in self.codebook_sizes):
            raise UserError(f"codebook_sizes={list(self.codebook_sizes)}: lsh needs powers of two.")
        latents = self.latents(vectors)
        self.codebooks = additive_codebooks(latents, self.choose_codes(latents), self.codebook_sizes)
