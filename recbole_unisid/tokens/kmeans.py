"""k-means of one level: Lloyd's iterations under the level's own distance, every code in use."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import kmeans_plusplus
from torch import Tensor

from recbole_unisid.tokens.quantiser import directions, squared_distances

#: k-means++ seeds codes from at most this many points a code.
_SEEDING_POINTS = 64


def kmeans(
    points: NDArray[np.float32],
    size: int,
    distance: str,
    rng: np.random.Generator,
    iterations: int = 100,
    restarts: int = 1,
) -> NDArray[np.float32]:
    """Fit a codebook to points.

    Parameters
    ----------
    points : ndarray of float32, shape [n, width]
    size : int
        Codes of the codebook.
    distance : {"cosine", "euclidean"}
        With cosine the points are compared by direction (spherical k-means: Dhillon & Modha 2001) and the
        codes have length 1.
    rng : numpy.random.Generator
        Draws the seeds.
    iterations : int
        Lloyd's iterations at most; fewer when nothing moves any more.
    restarts : int
        Fits from different seeds, of which the one with the smallest error is kept.

    Returns
    -------
    ndarray of float32, shape [size, width]
        With at least `size` distinct points every code is nearest to one of them. With fewer, each
        distinct point is a code, and the codes left over repeat them.

    Notes
    -----
    Seeds by k-means++ (Arthur & Vassilvitskii 2007). A code that loses all its points moves to the point
    that is worst served.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    tensor = directions(torch.from_numpy(points)) if distance == "cosine" else torch.from_numpy(points)
    distinct = np.unique(tensor.numpy(), axis=0) if len(points) <= 64 * size else tensor.numpy()
    if len(distinct) <= size:
        return np.resize(distinct, (size, distinct.shape[1]))
    best, least = tensor[:0], float("inf")
    for _ in range(restarts):
        codebook, error = _lloyd(tensor, _seeds(tensor.numpy(), size, rng), distance, iterations)
        if error < least:
            best, least = codebook, error
    return best.numpy()


def _seeds(points: NDArray[np.float32], size: int, rng: np.random.Generator) -> Tensor:
    """k-means++ seeds, from a sample where points are plenty."""
    if len(points) > _SEEDING_POINTS * size:
        points = points[rng.choice(len(points), _SEEDING_POINTS * size, replace=False)]
    seeds, _ = kmeans_plusplus(points, size, random_state=int(rng.integers(2**31)))
    return torch.from_numpy(np.ascontiguousarray(seeds, dtype=np.float32))


def _lloyd(points: Tensor, codebook: Tensor, distance: str, iterations: int) -> tuple[Tensor, float]:
    """Alternate assignment and means; the codebook and its sum of squared distances."""
    before: Tensor | None = None
    for _ in range(iterations):
        errors, nearest = squared_distances(points, codebook).min(dim=1)
        counts = torch.bincount(nearest, minlength=len(codebook))
        empty = torch.nonzero(counts == 0)[:, 0]
        if before is not None and not len(empty) and torch.equal(nearest, before):
            break
        sums = torch.zeros_like(codebook).index_add_(0, nearest, points)
        codebook = sums / counts.clamp(min=1)[:, None]
        if distance == "cosine":
            codebook = directions(codebook)
        codebook[empty] = points[errors.topk(len(empty)).indices]
        before = nearest
    errors = squared_distances(points, codebook).min(dim=1).values
    return codebook, float(errors.double().sum())
