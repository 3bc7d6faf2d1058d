"""Residual k-means: codebooks fitted level by level to what the levels before leave over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import kmeans_plusplus
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm import tqdm

from recbole_unisid.errors import UserError, check_choice
from recbole_unisid.tokens.quantiser import (
    CODE_LENGTHS,
    directions,
    fitted_lengths,
    nearest_codes,
    quantise,
    squared_distances,
)
from recbole_unisid.tokens.tokenizer import Tokenizer

#: k-means++ seeds codes from at most this many points a code.
_SEEDING_POINTS = 64

#: Scalings of rows and columns in turn, after which codes are nearly equally frequent.
_SINKHORN_ROUNDS = 30


class KMeans(NamedTuple):
    """How a codebook is fitted."""

    iterations: int = 100  # assignments and means in turn, at most; fewer when nothing moves any more
    restarts: int = 1  # fits from different seeds, of which the one with the smallest error is kept
    #: 0 is plain k-means. Above, all codes get about as many points in each iteration
    #: (:func:`balanced_codes`, whose softness this is), and one plain iteration follows.
    balance: float = 0.0

    def fit(
        self, points: NDArray[np.float32], size: int, distance: str, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Fit a codebook [size, width] to points [n, width].

        Seeds by k-means++ (Arthur & Vassilvitskii 2007). With cosine the points are compared by direction
        (spherical k-means: Dhillon & Modha 2001) and the codes have length 1. A code that loses all its points
        moves to the point that is worst served. The last iteration is always plain, each point with its nearest
        code, so that a Euclidean codebook never has a larger error than no codebook. Of fewer distinct points than
        `size` each is a code, and the codes left over repeat them.
        """
        tensor = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32))
        tensor = directions(tensor) if distance == "cosine" else tensor
        if len(points) <= _SEEDING_POINTS * size:
            distinct = np.unique(tensor.numpy(), axis=0)
            if len(distinct) <= size:
                return np.resize(distinct, (size, distinct.shape[1]))
        best, least = tensor[:0], float("inf")
        for _ in range(self.restarts):
            codebook = _seeds(tensor.numpy(), size, rng)
            codebook = _alternate(tensor, codebook, distance, self.iterations, self.balance)
            if self.balance > 0:
                codebook = _alternate(tensor, codebook, distance, 1, 0.0)
            error = float(squared_distances(tensor, codebook).min(dim=1).values.double().sum())
            if error < least:
                best, least = codebook, error
        return best.numpy()


def balanced_codes(distances: Tensor, softness: float) -> Tensor:
    """Assign points to codes so that all codes get about as many, by squared distances [n, codes]; int64 [n].

    Entropic optimal transport from points to equally frequent codes, by Sinkhorn's iteration (Cuturi 2013);
    each point then takes its likeliest code. `softness` is the entropy's weight, in units of the mean squared
    distance to the nearest code.
    """
    least = distances.min(dim=1, keepdim=True).values
    scale = softness * least.mean().clamp(min=1e-12)
    kernel = torch.exp((least - distances) / scale)  # [n, codes], 1 at the nearest
    column = torch.ones(distances.shape[1])
    share = len(distances) / distances.shape[1]
    for _ in range(_SINKHORN_ROUNDS):
        row = 1 / (kernel @ column).clamp(min=1e-30)  # [n]
        column = share / (kernel.T @ row).clamp(min=1e-30)  # [codes]
    return (kernel * column).argmax(dim=1)


def _seeds(points: NDArray[np.float32], size: int, rng: np.random.Generator) -> Tensor:
    """k-means++ seeds, from a sample where points are plenty."""
    if len(points) > _SEEDING_POINTS * size:
        points = points[rng.choice(len(points), _SEEDING_POINTS * size, replace=False)]
    with threadpool_limits(
        1, "blas"
    ):  # thousands of small products: waiting for a second thread takes longer
        seeds, _ = kmeans_plusplus(points, size, random_state=int(rng.integers(2**31)))
    return torch.from_numpy(np.ascontiguousarray(seeds, dtype=np.float32))


def _alternate(points: Tensor, codebook: Tensor, distance: str, iterations: int, balance: float) -> Tensor:
    """Lloyd's iterations, with balanced assignments where `balance` is above 0."""
    before: Tensor | None = None
    for _ in range(iterations):
        distances = squared_distances(points, codebook)
        chosen = balanced_codes(distances, balance) if balance > 0 else distances.argmin(dim=1)
        if before is not None and torch.equal(chosen, before):
            break
        codebook = _means(points, codebook, distances, chosen, distance)
        before = chosen
    return codebook


def _means(points: Tensor, codebook: Tensor, distances: Tensor, chosen: Tensor, distance: str) -> Tensor:
    """The mean of each code's points, its direction at a cosine level; an empty code takes a far point."""
    counts = torch.bincount(chosen, minlength=len(codebook))
    sums = torch.zeros_like(codebook).index_add_(0, chosen, points)
    means = sums / counts.clamp(min=1)[:, None]
    if distance == "cosine":
        means = directions(means)
    empty = torch.nonzero(counts == 0)[:, 0]
    far = distances.min(dim=1).values.topk(len(empty)).indices
    means[empty] = points[far]
    return means


def split_crowded(
    points: NDArray[np.float32],
    codebook: NDArray[np.float32],
    size: int,
    distance: str,
    engine: KMeans,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Grow a codebook to `size` codes: those with the most points become two each, by k-means of their points.

    After CRAB (arXiv 2604.05113), which counts interactions where this counts items. The codes that are cut
    come last, and at most all are.
    """
    codes = nearest_codes(torch.from_numpy(points), torch.from_numpy(codebook), distance).numpy()
    members = np.bincount(codes, minlength=len(codebook))
    crowded = np.argsort(-members, kind="stable")[: size - len(codebook)]
    groups = [points[codes == code] if members[code] else codebook[[code]] for code in crowded]
    halves = [engine.fit(group, 2, distance, rng) for group in groups]
    return np.concatenate([np.delete(codebook, crowded, axis=0), *halves])


class ResidualKMeans(Tokenizer):
    """UniSID's mixed-metric residual quantiser on the text vectors themselves.

    Each level is fitted by :class:`KMeans` of `iterations` (as many as in faiss), `restarts` and `balance`, which makes
    more tuples distinct at about the same error (results/tokenizers.md). The `code_length` of a cosine
    level's codes is ``fitted``, the mean projection of their members, or ``unit``, 1 (the paper). With `centre` the
    items' mean, large in text vectors, is taken off first; else cosine levels spend their codes on it. The largest
    level is fitted on `points_per_code` items a code at most, drawn at random; all are encoded. `split` is the share
    of a level's codes that come from cutting its most crowded codes in two (:func:`split_crowded`).
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
        split: float = 0.0,
    ) -> None:
        super().__init__(codebook_sizes, distances, seed)
        check_choice("code_length", code_length, CODE_LENGTHS)
        if min(iterations, restarts, points_per_code) < 1:
            raise UserError("iterations, restarts and points_per_code of residual_kmeans must be 1 or more.")
        if not 0 <= balance < float("inf"):
            raise UserError(f"balance={balance} of residual_kmeans must be 0 or more.")
        if not 0 <= split <= 0.5:
            raise UserError(f"split={split} of residual_kmeans must be from 0 to 0.5.")
        self.engine = KMeans(iterations, restarts, balance)
        self.code_length, self.centre = code_length, centre
        self.points_per_code, self.split = points_per_code, split

    def options(self) -> dict[str, Any]:
        return {
            "code_length": self.code_length,
            **self.engine._asdict(),
            "centre": self.centre,
            "points_per_code": self.points_per_code,
            "split": self.split,
        }

    def _choose_mean(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return super()._choose_mean(vectors) if self.centre else np.zeros_like(vectors[0])

    def _fit(self, vectors: NDArray[np.float32], item_ids: Sequence[str], show_progress: bool) -> None:
        rng = np.random.default_rng(self.seed)
        limit = self.points_per_code * max(self.codebook_sizes)
        if len(vectors) > limit:
            vectors = vectors[np.sort(rng.choice(len(vectors), limit, replace=False))]
        residuals = torch.from_numpy(vectors - self.mean)  # r_1, [items, width]
        self.codebooks = []
        levels = list(zip(self.codebook_sizes, self.distances, strict=True))
        for size, distance in tqdm(levels, desc="Fitting codebooks", disable=None if show_progress else True):
            fitted = self.engine.fit(residuals.numpy(), size - round(self.split * size), distance, rng)
            if len(fitted) < size:
                fitted = split_crowded(residuals.numpy(), fitted, size, distance, self.engine, rng)
            codebook = torch.from_numpy(fitted)
            if distance == "cosine" and self.code_length == "fitted":
                codebook = fitted_lengths(residuals, codebook)
            residuals = quantise(residuals, [codebook], [distance]).residuals[:, 1]  # r_(l+1)
            self.codebooks.append(codebook.numpy())
