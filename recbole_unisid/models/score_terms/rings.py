"""How far items are in the graph of transitions, ring by ring (TGH, arXiv 2605.07125)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from typing_extensions import Self

from recbole_unisid.models.score_terms.base import Links, ScoreTerm, transition_counts


class Rings(ScoreTerm):
    """Shares of the last item's transitions, and how many rings of the graph of training transitions an item is away.

    Ring 1 are the items that ever followed the last item, ring 2 what followed those, and so on up to `rings`; all
    others are one ring further. The last item itself is in ring 1 where it ever followed itself, else after all.
    """

    features = ("transitions", "rings")
    #: TGH's alpha, and what a ring costs: more than any text and share can make up for.
    weights = (0.5, 3.0)

    def __init__(self, counts: sparse.csr_matrix, rings: int) -> None:
        super().__init__()
        logs = counts.log1p()
        shares = logs.multiply(1 / logs.max(axis=1).toarray().clip(min=1e-12))
        self.links, self.rings = Links(shares.tocsr(), most=logs.shape[1]), rings

    @classmethod
    def from_config(cls, config: Any, dataset: Any) -> Self:
        return cls(transition_counts(dataset), config["rings"])

    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        rows = torch.arange(len(histories), device=histories.device)
        last = histories[rows, lengths - 1]
        found = self.links.values.new_zeros(2, len(rows), len(self.links.starts) - 1)
        self.links.sums(last[:, None], found.new_ones(len(rows), 1), found[0])
        found[1] -= torch.from_numpy(self._missed(last.cpu().numpy())).to(found)
        found[1, rows, last] = torch.where(found[0, rows, last] > 0, 0.0, -(self.rings + 1.0))
        return found

    def _missed(self, last: NDArray[np.int64]) -> NDArray[np.uint8]:
        """How many of the rings around last items [batch] do not hold an item or one nearer, [batch, n_items + 1].

        A bit a case: 64 cases walk along a link at once.
        """
        links = (self.links.values, self.links.items, self.links.starts)
        parts, n = tuple(part.cpu().numpy() for part in links), len(self.links.starts) - 1
        graph = sparse.csr_matrix(parts, shape=(n, n)).tocsc()  # of each item, what it follows
        follow = np.flatnonzero(np.diff(graph.indptr))
        start = np.zeros((n, -(-len(last) // 64) * 64), dtype=np.uint8)
        start[last, np.arange(len(last))] = 1
        reached, missed = np.packbits(start, axis=1).view(np.uint64), np.zeros_like(start)
        for _ in range(self.rings if len(follow) else 0):
            reached[follow] |= np.bitwise_or.reduceat(reached[graph.indices], graph.indptr[follow], axis=0)
            missed += np.unpackbits(~reached.view(np.uint8), axis=1)
        return missed.T[: len(last)]

    def append(self, vectors: Tensor | None, count: int) -> None:
        self.links.append(count)
