"""Where item tables start: at the text's own principal directions rather than at noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import nn


def principal_directions(
    vectors: NDArray[np.float32], width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """The directions in which vectors [n, d] vary most, their mean and their spread.

    The directions are orthonormal columns [d, width], zero where the vectors vary in fewer; the spread is the root mean
    square of a coordinate of the projected vectors (1.0 when they are all equal).
    """
    kept = min(width, *vectors.shape)
    fitted = PCA(n_components=kept, svd_solver="covariance_eigh").fit(vectors)
    directions = np.zeros((vectors.shape[1], width), dtype=np.float32)
    directions[:, :kept] = fitted.components_.T
    spread = float(np.sqrt(np.maximum(fitted.explained_variance_, 0).sum() / width))
    return directions, fitted.mean_.astype(np.float32), spread if spread > 0 else 1.0


def code_table_from_codebooks(
    codes: NDArray[np.int64], codebooks: list[NDArray[np.float32]], width: int, scale: float
) -> NDArray[np.float32]:
    """Project a tokenizer's code vectors to the item width.

    Items then start where a PCA of their quantised text would put them: the stacked tables of all levels, [sum of
    sizes, width], for the items' `codes` [n_items, levels] and `codebooks` [size, d] each. `scale` is the root mean
    square of an item vector's coordinates.
    """
    quantised = sum(book[codes[:, level]] for level, book in enumerate(codebooks) if len(book))
    directions, mean, spread = principal_directions(np.asarray(quantised, dtype=np.float32), width)
    tables = [book @ directions for book in codebooks]
    # The sum over levels is to be centred: the first level takes the mean off.
    tables[0] = tables[0] - mean @ directions
    return np.concatenate(tables).astype(np.float32) * np.float32(scale / spread)


def projection_from_vectors(
    vectors: NDArray[np.float32], width: int, scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight [width, d] and bias [width] of the linear map that is the vectors' scaled PCA."""
    directions, mean, spread = principal_directions(vectors, width)
    weight = (directions.T * np.float32(scale / spread)).astype(np.float32)
    return weight, -(weight @ mean).astype(np.float32)


@torch.no_grad()
def linear_through_relu(weight: torch.Tensor, bias: torch.Tensor, layers: Sequence[nn.Linear]) -> None:
    """Make layers with ReLU between them start as one linear map, which ``x = relu(x) - relu(-x)`` lets through.

    Layers go from d to the width of `weight` [width, d], the hidden ones at least twice as wide: their first units
    carry the map, the others keep their weights and reach the last layer with weight 0.
    """
    width = len(weight)
    first, *inner, last = layers
    first.weight[: 2 * width] = torch.cat([weight, -weight])
    first.bias[: 2 * width] = torch.cat([bias, -bias])
    for layer in inner:
        layer.weight[: 2 * width] = 0
        layer.weight[: 2 * width, : 2 * width] = torch.eye(2 * width)
        layer.bias[: 2 * width] = 0
    last.weight.zero_()
    last.weight[:, : 2 * width] = torch.cat([torch.eye(width), -torch.eye(width)], dim=1)
    last.bias.zero_()
