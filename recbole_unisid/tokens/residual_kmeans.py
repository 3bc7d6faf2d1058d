"""Residual k-means: codebooks fitted level by level to what the levels before leave over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.tokens.kmeans import KMeans
from recbole_unisid.tokens.quantiser import CODE_LENGTHS, fitted_lengths, quantise
from recbole_unisid.tokens.tokenizer import Tokenizer


class ResidualKMeans(Tokenizer):
    """UniSID's mixed-metric residual quantiser on the text vectors themselves.

    Parameters
    ----------
    codebook_sizes, distances, seed
        As in :class:`Tokenizer`.
    code_length : {"fitted", "unit"}
        Of a cosine level's codes: the mean projection of their members, or 1 (the paper).
    iterations : int
        Assignments and means of a level at most (as many as in faiss by default).
    restarts : int
        Fits of a level from different seeds, of which the best is kept.
    balance : float
        How much equal use of the codes counts while a level is fitted; 0 is plain k-means. It makes more
        tuples distinct at about the same error (results/tokenizers.md).
    centre : bool
        Whether the items' mean is taken off first. Text vectors share a large mean; a cosine
        level would otherwise spend its codes on it.
    points_per_code : int
        The largest level is fitted on so many items a code at most, drawn at random; all are encoded.
    """

    name = "residual_kmeans"

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        distances: Sequence[str] | None = None,
        seed: int = 2020,
        code_length: str = "fitted",
        iterations: int = 25,
        restarts: int = 1,
        balance: float = 0.05,
        centre: bool = True,
        points_per_code: int = 256,
    ) -> None:
        super().__init__(codebook_sizes, distances, seed)
        if code_length not in CODE_LENGTHS:
            raise UserError(
                f"code_length={code_length!r} is none of {', '.join(CODE_LENGTHS)}."
                f"{did_you_mean(code_length, CODE_LENGTHS)}"
            )
        if min(iterations, restarts, points_per_code) < 1:
            raise UserError("iterations, restarts and points_per_code of residual_kmeans must be 1 or more.")
        self.code_length, self.centre = code_length, centre
        if not 0 <= balance < float("inf"):
            raise UserError(f"balance={balance} of residual_kmeans must be 0 or more.")
        self.balance = balance
        self.iterations, self.restarts, self.points_per_code = iterations, restarts, points_per_code

    def options(self) -> dict[str, Any]:
        """The settings beyond sizes, distances and seed."""
        return {
            "code_length": self.code_length,
            "iterations": self.iterations,
            "restarts": self.restarts,
            "balance": self.balance,
            "centre": self.centre,
            "points_per_code": self.points_per_code,
        }

    def _choose_mean(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return super()._choose_mean(vectors) if self.centre else np.zeros_like(vectors[0])

    def _fit(self, vectors: NDArray[np.float32], item_ids: Sequence[str], show_progress: bool) -> None:
        rng = np.random.default_rng(self.seed)
        limit = self.points_per_code * max(self.codebook_sizes)
        if len(vectors) > limit:
            vectors = vectors[np.sort(rng.choice(len(vectors), limit, replace=False))]
        residuals = torch.from_numpy(vectors - self.mean)  # r_1, [items, width]
        engine = KMeans(self.iterations, self.restarts, self.balance)
        self.codebooks = []
        levels = list(zip(self.codebook_sizes, self.distances, strict=True))
        for size, distance in tqdm(levels, desc="Fitting codebooks", disable=not show_progress):
            fitted = engine.fit(residuals.numpy(), size, distance, rng)
            codebook = torch.from_numpy(fitted)
            if distance == "cosine" and self.code_length == "fitted":
                codebook = fitted_lengths(residuals, codebook)
            residuals = quantise(residuals, [codebook], [distance]).residuals[:, 1]  # r_(l+1)
            self.codebooks.append(codebook.numpy())
