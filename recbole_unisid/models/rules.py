"""Rules: recommenders of text and counts with nothing to train, as models and as controls of every report."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import Self

from recbole_unisid.items.part import SemanticPart, with_padding
from recbole_unisid.models.backbones.base import Backbone
from recbole_unisid.models.score_terms import ScoreTerms
from recbole_unisid.models.score_terms.base import transition_counts
from recbole_unisid.models.score_terms.rings import Rings
from recbole_unisid.models.score_terms.transitions import LinkTerm
from recbole_unisid.models.whole_sequence import OwnSequential, WholeSequenceRecommender


class UnitText(SemanticPart):
    """The direction of an item's text vector [n_items, width], as it is."""

    needs, grows = "vectors", True
    vectors: Tensor

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        super().__init__()
        self.width = vectors.shape[1]
        self.register_buffer("vectors", with_padding(self._units(vectors)))

    @classmethod
    def from_config(cls, config: Any, semantics: Any) -> Self:
        return cls(semantics.vectors)

    def forward(self, items: Tensor) -> Tensor:
        return self.vectors[items]

    def append(self, content: Tensor) -> None:
        self.vectors = torch.cat([self.vectors, self._units(content.cpu().numpy()).to(self.vectors)])

    @staticmethod
    def _units(vectors: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


class NearestTo(Backbone):
    """What candidates are compared with: the last item, or the direction of the whole history's sum."""

    history = False

    @classmethod
    def from_config(cls, config: Any, width: int) -> Self:
        made = cls()
        made.history = config["nearest_to"] == "history"
        return made

    def forward(self, items: Tensor) -> Tensor:
        return normalize(items.cumsum(1), dim=2) if self.history else items


class NearestText(WholeSequenceRecommender):
    """The cosine of an item's text and the last item's, or the history's: nothing else."""

    backbone = NearestTo

    @classmethod
    def semantic_part(cls, config: Any) -> type[SemanticPart] | None:
        return UnitText

    def make_loss(self, config: Any, dataset: Any, eligible: Tensor) -> None:
        """Nothing is trained."""


def ring_terms(config: Any, dataset: Any) -> ScoreTerms:
    """:class:`Rings` at their weights, to be added to the cosine of texts."""
    terms = ScoreTerms({"rings": Rings.from_config(config, dataset)}, torch.zeros(dataset.item_num).bool())
    terms.weights.copy_(torch.tensor(Rings.weights))
    return terms


class TransitionText(NearestText):
    """Text and transitions, in rings if wanted, after TGH (arXiv 2605.07125); docs/method.md says what departs."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.terms = ring_terms(config, dataset)


class FadingTransitions(LinkTerm):
    """``log(1 + count)`` of the training transitions from each item of the history, times ``rate ** age``.

    A thousandth of an item's share of the most popular one's count orders what transitions leave equal.
    """

    features = ("transitions",)
    popularity: Tensor

    def __init__(self, counts: sparse.csr_matrix, popularity: NDArray[np.int64], rate: float) -> None:
        super().__init__(counts.log1p(), most=counts.shape[1])
        self.rate = rate
        self.register_buffer("popularity", torch.from_numpy(popularity / max(1, popularity.max())).float())

    @classmethod
    def from_config(cls, config: Any, dataset: Any) -> Self:
        counts = np.asarray(dataset.split.training_counts(dataset.sequences))
        return cls(transition_counts(dataset), counts, config["fade"])

    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        found: Tensor = super().forward(histories, lengths) + 1e-3 * self.popularity
        return found


class Transitions(OwnSequential):
    """What followed the items of the history in training, the later an item the more; then the most popular."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.scores = FadingTransitions.from_config(config, dataset)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores of all items, shape [batch, n_items] (RecBole's n_items counts padding, column 0)."""
        scores: Tensor = self.scores(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])[0]
        return scores

    def score_candidates(self, interaction: Any, candidates: Tensor) -> Tensor:
        """Scores of some items for each row, [batch, n] item numbers to [batch, n] scores."""
        return self.full_sort_predict(interaction).gather(1, candidates)

    def predict(self, interaction: Any) -> Tensor:
        """Scores of one item per row, shape [batch]."""
        return self.score_candidates(interaction, interaction[self.ITEM_ID][:, None])[:, 0]
