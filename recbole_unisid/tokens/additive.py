"""Codebooks for given codes: which vectors, added up, come nearest to the items'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.plugins.returned import returned_array


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

    Raises
    ------
    UserError
        When there is not one tuple of codes a vector, or a code is none of its level.
    """
    codes = _checked(vectors, codes, codebook_sizes)
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


def _checked(vectors: Any, codes: Any, sizes: Any) -> NDArray[np.int64]:
    """The codes, when they are codes of the vectors."""
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise UserError(
            f"additive_codebooks: the vectors are {returned_array(vectors)[1]}; floating-point numbers [items, width] "
            "are wanted, such as self.latents(vectors)."
        )
    if not isinstance(sizes, (list, tuple)):
        raise UserError(
            f"additive_codebooks: codebook_sizes={sizes!r}; give self.codebook_sizes, one a level."
        )
    found, came = returned_array(codes)
    wanted = (len(vectors), len(sizes))
    if found.shape != wanted or found.dtype.kind not in "iu":
        raise UserError(
            f"additive_codebooks: the codes are {came} for {wanted[0]} vectors and {wanted[1]} levels; whole numbers "
            f"{list(wanted)} are wanted."
        )
    for level, size in enumerate(sizes):
        outside = found[:, level][(found[:, level] < 0) | (found[:, level] >= size)]
        if len(outside):
            raise UserError(
                f"additive_codebooks: code {outside[0]} at level {level}; codes from 0 to {size - 1} are wanted."
            )
    return found.astype(np.int64, copy=False)
