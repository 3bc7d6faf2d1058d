"""Codebooks for given codes: which vectors, added up, come nearest to the items'."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def additive_codebooks(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], codebook_sizes: Sequence[int]
) -> list[NDArray[np.float32]]:
    """Level by level, make each code the mean of what the levels before leave of its items.

    Gives codes that were not chosen by distance (random, hashed, published) vectors of their own, so that
    they can be decoded, judged and used to start a model's code tables like any others.

    Parameters
    ----------
    vectors : ndarray of float32, shape [items, width]
        Centred.
    codes : ndarray of int64, shape [items, levels]
    codebook_sizes : sequence of int

    Returns
    -------
    list of ndarray of float32, shape [codes, width] each
        Zeros for a code without items.
    """
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
