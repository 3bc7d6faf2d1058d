"""Who goes with whom in training: what follows the last item, and what stands near the history's items."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from typing_extensions import Self

from recbole_unisid.models.score_terms.base import Links, ScoreTerm, faded, transition_counts


class LinkTerm(ScoreTerm):
    """Links from the history's items, each weighted by ``rate ** age``."""

    rate: float

    def __init__(self, matrix: sparse.csr_matrix, most: int = 100) -> None:
        super().__init__()
        self.links = Links(matrix, most)

    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        if not self.rate:
            rows = torch.arange(len(histories), device=histories.device)
            histories, lengths = histories[rows, lengths - 1][:, None], torch.ones_like(lengths)
        out = self.links.values.new_zeros(len(histories), len(self.links.starts) - 1)
        return self.links.sums(histories, faded(histories, lengths, self.rate), out)[None]

    def append(self, vectors: Tensor | None, count: int) -> None:
        self.links.append(count)


class Transitions(LinkTerm):
    """``log(1 + count)`` of the training transitions from the last item (TGH, arXiv 2605.07125, without its rings)."""

    features, rate = ("transitions",), 0.0

    @classmethod
    def from_config(cls, config: Any, dataset: Any) -> Self:
        return cls(transition_counts(dataset).log1p())


class Neighbours(LinkTerm):
    r"""Cosine of co-occurrence: items that stand within five places in training, whichever came first.

    .. math:: c_{ij} = \frac{1}{\sqrt{n_i n_j}} \sum_{l=1}^{5} 0.7^{\,l-1} (T^{(l)}_{ij} + T^{(l)}_{ji})

    with transitions T over l places and training counts n.
    """

    features, rate = ("neighbours",), 0.8

    @classmethod
    def from_config(cls, config: Any, dataset: Any) -> Self:
        near = sum(0.7 ** (lag - 1) * transition_counts(dataset, lag) for lag in range(1, 6))
        counts = np.asarray(dataset.split.training_counts(dataset.sequences))
        scale = sparse.diags(1 / np.sqrt(np.maximum(counts, 1)))
        found = (scale @ (near + near.T) @ scale).tocsr()
        found.setdiag(0)  # an item itself is not its own neighbour
        found.eliminate_zeros()
        return cls(found)
