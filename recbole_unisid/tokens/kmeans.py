"""k-means of one level under the level's own distance, with every code in use and about as often."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import kmeans_plusplus
from torch import Tensor

from recbole_unisid.tokens.quantiser import directions, squared_distances

#: k-means++ seeds codes from at most this many points a code.
_SEEDING_POINTS = 64

#: Scalings of rows and columns in turn, after which codes are nearly equally frequent.
_SINKHORN_ROUNDS = 30


class KMeans(NamedTuple):
    """How a codebook is fitted.

    Attributes
    ----------
    iterations : int
        Assignments and means in turn, at most; fewer when nothing moves any more.
    restarts : int
        Fits from different seeds, of which the one with the smallest error is kept.
    balance : float
        0 is plain k-means. Above, all codes get about as many points in each iteration
        (:func:`balanced_codes`, whose softness this is), and one plain iteration follows.
    """

    iterations: int = 100
    restarts: int = 1
    balance: float = 0.0

    def fit(
        self, points: NDArray[np.float32], size: int, distance: str, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Fit a codebook to points.

        Parameters
        ----------
        points : ndarray of float32, shape [n, width]
        size : int
            Codes of the codebook.
        distance : {"cosine", "euclidean"}
            With cosine the points are compared by direction (spherical k-means: Dhillon & Modha 2001)
            and the codes have length 1.
        rng : numpy.random.Generator
            Draws the seeds.

        Returns
        -------
        ndarray of float32, shape [size, width]
            With at least `size` distinct points every code is nearest to one of them. With fewer, each
            distinct point is a code, and the codes left over repeat them.

        Notes
        -----
        Seeds by k-means++ (Arthur & Vassilvitskii 2007). A code that loses all its points moves to the
        point that is worst served. The last iteration is always plain, each point with its nearest code,
        so that a Euclidean codebook never has a larger error than no codebook.
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
    """Assign points to codes so that all codes get about as many.

    Entropic optimal transport from points to equally frequent codes, by Sinkhorn's iteration (Cuturi 2013);
    each point then takes its likeliest code.

    Parameters
    ----------
    distances : Tensor, shape [n, codes]
        Squared distances.
    softness : float
        The entropy's weight, in units of the mean squared distance to the nearest code.

    Returns
    -------
    Tensor of int64, shape [n]
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
