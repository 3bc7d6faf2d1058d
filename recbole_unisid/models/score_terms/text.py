"""Text that is like the history's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from recbole_unisid.errors import UserError
from recbole_unisid.items.initialisation import principal_directions
from recbole_unisid.models.score_terms.base import ScoreTerm, SizedByWeights, faded
from recbole_unisid.products import multiply


def coldness(counts: Tensor) -> Tensor:
    """How little is known of items that were trained on so often, at most 1: of new ones as of those with one.

    Weights are fitted on few new items or none.
    """
    return (-counts.clamp(min=1) / 5).exp().float()


class TextSimilarity(SizedByWeights, ScoreTerm):
    r"""How like an item's text is to that of the history, the later an item the more it counts.

    .. math:: \Bigl\langle \sum_{a \ge 0} \lambda^a\, t_{i_a},\; t_j \Bigr\rangle

    of unit vectors t, the principal components of the centred text vectors, and of items :math:`i_a` of age a. The
    second feature is the first times the :func:`coldness` of item j: what was little trained on is found by its text.
    """

    features = ("text", "text_cold")
    vectors: Tensor
    cold: Tensor
    mean: Tensor
    basis: Tensor

    def __init__(self, vectors: Tensor, cold: Tensor, width: int = 128, rate: float = 0.6) -> None:
        super().__init__()
        self.rate = rate
        mean, basis = vectors.mean(0), vectors.new_zeros(vectors.shape[1], min(width, vectors.shape[1]))
        if vectors.any():  # not where a finished run is loaded
            basis = torch.from_numpy(principal_directions(vectors.numpy(), basis.shape[1])[0])
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis)
        self.register_buffer("cold", cold)  # [n_items + 1]
        self.register_buffer(
            "vectors", torch.cat([cold.new_zeros(1, self.basis.shape[1]), self._unit(vectors)])
        )

    @classmethod
    def from_config(cls, config: Any, dataset: Any) -> Self:
        semantics = getattr(dataset, "semantics", None)
        if semantics is None:
            raise UserError(
                f"score_terms: text needs a model that reads text, and {config['model']} does not; leave text out."
            )
        counts = torch.from_numpy(np.asarray(dataset.split.training_counts(dataset.sequences)))
        return cls(torch.from_numpy(semantics.vectors).float(), coldness(counts))

    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        return self.write(self.vectors.new_empty(2, len(histories), len(self.vectors)), histories, lengths)

    def write(self, out: Tensor, histories: Tensor, lengths: Tensor) -> Tensor:
        past = (faded(histories, lengths, self.rate)[:, :, None] * self.vectors[histories]).sum(1)
        torch.mul(multiply(past, self.vectors, out[0]), self.cold, out=out[1])
        return out

    def of(self, items: Tensor) -> Tensor:
        """The vectors t of items [n], [n, width]; zero where an item has no text."""
        return self.vectors[items]

    def append(self, vectors: Tensor | None, count: int) -> None:
        assert vectors is not None
        self.vectors = torch.cat([self.vectors, self._unit(vectors.to(self.vectors))])
        self.cold = torch.cat([self.cold, coldness(self.cold.new_zeros(count))])

    def _unit(self, vectors: Tensor) -> Tensor:
        empty = ~vectors.any(dim=1)  # no text: like nothing
        found: Tensor = torch.nn.functional.normalize((vectors - self.mean) @ self.basis, dim=1)
        return found.masked_fill(empty[:, None], 0.0)
