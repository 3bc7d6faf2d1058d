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
from recbole_unisid.models.score_terms.base import Links, ScoreTerm, transition_counts
from recbole_unisid.models.score_terms.transitions import LinkTerm
from recbole_unisid.models.whole_sequence import OwnSequential, WholeSequenceRecommender

#: Weight of a transition's share within a ring (the paper's alpha), and what a ring further costs: more than any text
#: and share can make up for.
SHARE, RING = 0.5, 3.0
#: How much popularity counts beside transitions: it orders what they leave equal.
_POPULARITY = 1e-3


def unit_vectors(vectors: NDArray[np.float32]) -> Tensor:
    """Vectors [n, width] at length 1; zeros where there is no text."""
    return torch.from_numpy(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


class UnitText(SemanticPart):
    """The direction of an item's text vector, as it is."""

    needs, grows = "vectors", True
    vectors: Tensor

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        super().__init__()
        self.width = vectors.shape[1]
        self.register_buffer("vectors", with_padding(unit_vectors(vectors)))

    @classmethod
    def from_config(cls, config: Any, semantics: Any) -> Self:
        """See :class:`SemanticPart`."""
        return cls(semantics.vectors)

    def forward(self, items: Tensor) -> Tensor:
        """See :class:`SemanticPart`."""
        return self.vectors[items]

    def append(self, content: Tensor) -> None:
        """Take in further items by their text vectors."""
        self.vectors = torch.cat([self.vectors, unit_vectors(content.cpu().numpy()).to(self.vectors)])


class NearestTo(Backbone):
    """What candidates are compared with: the last item, or the direction of the whole history's sum."""

    def __init__(self, history: bool) -> None:
        super().__init__()
        self.history = history

    @classmethod
    def from_config(cls, config: Any, width: int) -> Self:
        """See :class:`Backbone`."""
        return cls(config["nearest_to"] == "history")

    def forward(self, items: Tensor) -> Tensor:
        """See :class:`Backbone`."""
        return normalize(items.cumsum(1), dim=2) if self.history else items


class NearestText(WholeSequenceRecommender):
    """The cosine of an item's text and the last item's, or the history's: nothing else."""

    @classmethod
    def semantic_part(cls, config: Any) -> type[SemanticPart] | None:
        """The text, whatever `semantics` says."""
        return UnitText

    def _backbone(self, config: Any) -> Backbone:
        return NearestTo.from_config(config, self.items.width)

    def _make_loss(self, config: Any, dataset: Any, eligible: Tensor) -> None:
        """Nothing is trained."""


class Rings(ScoreTerm):
    """Shares of the last item's transitions, and how many rings of the graph of training transitions an item is away.

    Ring 1 are the items that ever followed the last item, ring 2 what followed those, and so on up to `rings`; all
    others are one ring further. The last item itself is in ring 1 where it ever followed itself, else after all.
    """

    features = ("transitions", "rings")

    def __init__(self, counts: sparse.csr_matrix, rings: int) -> None:
        super().__init__()
        logs = counts.log1p()
        largest = logs.max(axis=1).toarray().clip(min=1e-12)
        self.links, self.rings = Links(logs.multiply(1 / largest).tocsr(), most=logs.shape[1]), rings

    @classmethod
    def from_config(cls, config: Any, dataset: Any) -> Self:
        """See :class:`ScoreTerm`."""
        return cls(transition_counts(dataset), config["rings"])

    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        """See :class:`ScoreTerm`."""
        rows = torch.arange(len(histories), device=histories.device)
        last = histories[rows, lengths - 1]
        found = self.links.values.new_zeros(2, len(rows), len(self.links.starts) - 1)
        self.links.sums(last[:, None], found.new_ones(len(rows), 1), found[0])
        found[1] -= torch.from_numpy(self._rings_before(last.cpu().numpy())).to(found)
        found[1, rows, last] = torch.where(found[0, rows, last] > 0, 0.0, -(self.rings + 1.0))
        return found

    def _rings_before(self, last: NDArray[np.int64]) -> NDArray[np.uint8]:
        """How many of the rings around each last item [batch] do not reach an item, [batch, n_items + 1].

        A bit a case: 64 cases walk along a link at once.
        """
        values, items, starts = (
            x.cpu().numpy() for x in (self.links.values, self.links.items, self.links.starts)
        )
        n = len(starts) - 1
        graph = sparse.csr_matrix(
            (values, items, starts), shape=(n, n)
        ).tocsc()  # of each item, what it follows
        follow = np.flatnonzero(np.diff(graph.indptr))
        at = np.zeros((n, -(-len(last) // 64) * 64), dtype=np.uint8)
        at[last, np.arange(len(last))] = 1
        reached, missed = np.packbits(at, axis=1).view(np.uint64), np.zeros_like(at)
        for _ in range(self.rings if len(follow) else 0):
            steps = np.bitwise_or.reduceat(reached[graph.indices], graph.indptr[follow], axis=0)
            reached[follow] |= steps
            missed += np.unpackbits(~reached.view(np.uint8), axis=1)
        return missed.T[: len(last)]

    def append(self, vectors: Tensor | None, count: int) -> None:
        """See :class:`ScoreTerm`."""
        self.links.append(count)


def ring_terms(config: Any, dataset: Any) -> ScoreTerms:
    """:class:`Rings` at their weights, to be added to the cosine of texts."""
    terms = ScoreTerms(
        {"rings": Rings.from_config(config, dataset)}, torch.zeros(dataset.item_num, dtype=torch.bool)
    )
    terms.weights.copy_(torch.tensor([SHARE, RING]))
    return terms


class TransitionText(NearestText):
    """Text and transitions in rings, after TGH (arXiv 2605.07125); docs/method.md says where it departs from it."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.terms = ring_terms(config, dataset)


class FadingTransitions(LinkTerm):
    """``log(1 + count)`` of the training transitions from each item of the history, times ``rate ** age``.

    Popularity orders what transitions leave equal.
    """

    features = ("transitions",)

    def __init__(self, counts: sparse.csr_matrix, training_counts: NDArray[np.int64], rate: float) -> None:
        super().__init__(counts.log1p(), most=counts.shape[1])
        share = torch.from_numpy(training_counts / max(1, training_counts.max())).float()
        self.rate = rate
        self.register_buffer("popularity", _POPULARITY * share)  # [n_items + 1]

    @classmethod
    def from_config(cls, config: Any, dataset: Any) -> Self:
        """See :class:`ScoreTerm`."""
        popularity = np.asarray(dataset.split.training_counts(dataset.sequences))
        return cls(transition_counts(dataset), popularity, config["fade"])

    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        """See :class:`ScoreTerm`."""
        return super().forward(histories, lengths) + self.popularity


class Transitions(OwnSequential):
    """What followed the items of the history in training, the later an item the more; then the most popular."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.scores = FadingTransitions.from_config(config, dataset)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores of all items, shape [batch, n_items] (RecBole's n_items counts padding, column 0)."""
        return self.scores(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])[0]

    def score_candidates(self, interaction: Any, candidates: Tensor) -> Tensor:
        """Scores of some items for each row, [batch, n] item numbers to [batch, n] scores."""
        return self.full_sort_predict(interaction).gather(1, candidates)

    def predict(self, interaction: Any) -> Tensor:
        """Scores of one item per row, shape [batch]."""
        return self.score_candidates(interaction, interaction[self.ITEM_ID][:, None])[:, 0]
