"""What of the item vectors, and of the items' categories, survives in the codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.tokens.health import tuple_groups
from recbole_unisid.tokens.quantiser import directions

#: Neighbours are looked for among so many items at most, for so many of them.
_NEIGHBOUR_ITEMS, _NEIGHBOUR_QUERIES = 20_000, 1_000

#: Vectors whose errors are computed at once.
_CHUNK = 8192

#: Shuffles over which the purity of shuffled codes is averaged.
_SHUFFLES = 5


def reconstruction_error(vectors: NDArray[np.float32], decoded: NDArray[np.float32]) -> float:
    """Share of the vectors' variance that the codes lose: ``sum |x - x^|^2 / sum |x - mean|^2``.

    0 is a perfect reconstruction, 1 that of the mean vector alone; 0 when there is no variance.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    lost = variance = 0.0
    for start in range(0, len(vectors), _CHUNK):
        part = vectors[start : start + _CHUNK].astype(np.float64)
        lost += float(np.square(part - decoded[start : start + _CHUNK]).sum())
        variance += float(np.square(part - mean).sum())
    return lost / variance if variance > 1e-12 * len(vectors) else 0.0


def neighbours_kept(
    vectors: NDArray[np.float32], decoded: NDArray[np.float32], rng: np.random.Generator, k: int = 10
) -> float:
    """How many of an item's nearest items are nearest still after decoding.

    Parameters
    ----------
    vectors, decoded : ndarray of float32, shape [items, width]
    rng : numpy.random.Generator
        Draws the items where there are more than 20,000, and 1,000 of them to ask for.
    k : int
        Neighbours an item.

    Returns
    -------
    float
        Mean share of the `k` nearest by the cosine of centred vectors; 1 for a single item.
    """
    n = len(vectors)
    rows = np.sort(rng.choice(n, min(n, _NEIGHBOUR_ITEMS), replace=False))
    queries = torch.from_numpy(rng.choice(len(rows), min(len(rows), _NEIGHBOUR_QUERIES), replace=False))
    k = min(k, len(rows) - 1)
    if k == 0:
        return 1.0
    centre = vectors[rows].mean(axis=0)
    near = []
    for table in (vectors, decoded):
        units = directions(torch.from_numpy(table[rows] - centre))  # [items, width]
        likeness = units[queries] @ units.T  # [queries, items]
        likeness[torch.arange(len(queries)), queries] = -torch.inf
        near.append(likeness.topk(k, dim=1).indices)
    kept = (near[0][:, :, None] == near[1][:, None, :]).any(dim=2)  # [queries, k]
    return float(kept.double().mean())


def prefix_purity(
    codes: NDArray[np.int64], categories: Sequence[str], rng: np.random.Generator
) -> list[dict[str, float]]:
    """How well the first codes of an item tell its category.

    Parameters
    ----------
    codes : ndarray of int64, shape [items, levels]
    categories : sequence of str
        One an item; items with '' are left out.
    rng : numpy.random.Generator
        Shuffles.

    Returns
    -------
    list of dict
        For each number of ``levels``: ``purity``, the share of items whose category is the most frequent
        one under their prefix, and ``shuffled``, the same after dealing the prefixes out at random.
        Prefixes of one item are pure whatever they mean, so only the difference tells something.
        Empty when no item has a category.
    """
    names, labels = np.unique(np.asarray(categories, dtype=object).astype(str), return_inverse=True)
    labelled = names[labels] != ""
    if not labelled.any():
        return []
    codes, labels = codes[labelled], labels.reshape(-1)[labelled]
    result = []
    for levels in range(1, codes.shape[1] + 1):
        prefix, _ = tuple_groups(codes[:, :levels])
        shuffled = [_purity(rng.permutation(prefix), labels) for _ in range(_SHUFFLES)]
        purity = _purity(prefix, labels)
        result.append({"levels": levels, "purity": purity, "shuffled": float(np.mean(shuffled))})
    return result


def _purity(groups: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Share of items that have the most frequent label of their group."""
    kinds = int(labels.max()) + 1
    pairs, counts = np.unique(groups * kinds + labels, return_counts=True)
    _, first = np.unique(pairs // kinds, return_index=True)  # the pairs are sorted by group
    return float(np.maximum.reduceat(counts, first).sum() / len(groups))
