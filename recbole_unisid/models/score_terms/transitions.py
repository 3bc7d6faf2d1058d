"""Who goes with whom in training: what follows the last item, and what stands near the history's items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from typing_extensions import Self

from recbole_unisid.data.split import TRAIN
from recbole_unisid.models.score_terms.base import Entries, Links, ScoreTerm, faded, transition_counts

#: Interactions whose neighbours are counted at a time: a row of the matrix has ten of each at most.
_INTERACTIONS = 1 << 21


class LinkTerm(ScoreTerm):
    """Links from the history's items, each weighted by ``rate ** age``."""

    rate: float

    def __init__(self, matrix: sparse.csr_matrix | Iterable[sparse.csr_matrix], most: int = 100) -> None:
        super().__init__()
        self.links = Links(matrix, most)

    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        out = self.links.values.new_empty(1, len(histories), len(self.links.starts) - 1)
        return self.write(out, histories, lengths)

    def write(self, out: Tensor, histories: Tensor, lengths: Tensor) -> Tensor:
        self.entries(histories, lengths)[0].add_to(out[0].zero_())
        return out

    def entries(self, histories: Tensor, lengths: Tensor) -> list[Entries]:
        if not self.rate:
            histories, lengths = histories.gather(1, lengths[:, None] - 1), torch.ones_like(lengths)
        return [self.links.entries(histories, faded(histories, lengths, self.rate))]

    def append(self, vectors: Tensor | None, count: int) -> None:
        self.links.append(count)


class LastItemTransitions(LinkTerm):
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
        if dataset.sequences is None:
            return cls(transition_counts(dataset))
        return cls(cls._rows(dataset))

    @staticmethod
    def _rows(dataset: Any) -> Iterator[sparse.csr_matrix]:
        """The matrix, a block of rows at a time."""
        sequences, trained = dataset.sequences, dataset.split.phase <= TRAIN
        items, users = sequences.items, sequences.users
        by_item = np.argsort(items, kind="stable")
        ends = np.bincount(items, minlength=dataset.item_num).cumsum()
        scale = 1 / np.sqrt(np.maximum(dataset.split.training_counts(sequences), 1))

        def moved(first: int, last: int, step: int) -> sparse.csr_matrix:
            """How often the items from `first` to before `last` have others `step` places after them."""
            here = by_item[ends[first - 1] if first else 0 : ends[last - 1]]
            here = here[(here + step >= 0) & (here + step < len(items))]
            there = here + step
            kept = (users[here] == users[there]) & trained[here] & trained[there]
            pairs = items[here[kept]] - first, items[there[kept]]
            return sparse.csr_matrix((np.ones(len(pairs[0])), pairs), shape=(last - first, dataset.item_num))

        first = 0
        while first < dataset.item_num:
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + _INTERACTIONS, side="right")))
            ahead, behind = (
                sum(0.7 ** (lag - 1) * moved(first, last, way * lag) for lag in range(1, 6))
                for way in (1, -1)
            )
            found = (sparse.diags(scale[first:last]) @ (ahead + behind) @ sparse.diags(scale)).tocsr()
            found.setdiag(0, k=first)  # an item itself is not its own neighbour
            found.eliminate_zeros()
            yield found
            first = last
