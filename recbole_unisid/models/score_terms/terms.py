"""A model's score terms together: their weights, how they are fitted, and what they add."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from recbole_unisid.config.settings import registered
from recbole_unisid.models.score_terms.base import ScoreTerm
from recbole_unisid.models.score_terms.fit import fitted_weights
from recbole_unisid.plugins.loading import named_class, short_name

#: Numbers that the features of some histories take at once: 8 MB, which the heap keeps.
_HELD = 1 << 21


class ScoreTerms(nn.ModuleDict):
    """The terms of a model. Nothing is added before :meth:`fit`, and training is without them.

    The weights are to the model's own score, which stays as it is.
    """

    weights: Tensor
    eligible: Tensor

    def __init__(self, terms: dict[str, ScoreTerm], eligible: Tensor) -> None:
        super().__init__(terms)
        self.register_buffer("eligible", eligible, persistent=False)  # items that may be candidates
        self.register_buffer("weights", torch.zeros(len(self.features)))

    @property
    def features(self) -> list[str]:
        """Names of all features, in the order of the weights."""
        return [name for term in self.values() for name in term.features]  # type: ignore[union-attr]

    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        """All features, [features, batch, n_items + 1], of histories as :class:`ScoreTerm` reads them."""
        return torch.cat([term(histories, lengths) for term in self.values()])

    def add_to(self, scores: Tensor, histories: Tensor, lengths: Tensor) -> Tensor:
        """Add the terms to scores [batch, n_items + 1], in place."""
        if bool(self.weights.any()):
            for rows in self._rows(scores.shape):
                found = torch.einsum("f,fbn->bn", self.weights, self(histories[rows], lengths[rows]))
                scores[rows] += found
        return scores

    @torch.no_grad()
    def fit(self, model: Any, batches: list[Any]) -> None:
        """Fit the weights on batches of an evaluation loader, (interaction, _, _, targets), with all other items.

        `model` gives the scores, which are without terms meanwhile.
        """
        self.weights.zero_()
        unused = torch.ones(model.n_items, dtype=torch.bool, device=model.device)
        unused[self.eligible] = False

        def features() -> Iterator[tuple[Tensor, Tensor]]:
            for interaction, _, _, asked in batches:
                interaction, targets = interaction.to(model.device), asked.to(model.device)
                histories, lengths = interaction[model.ITEM_SEQ], interaction[model.ITEM_SEQ_LEN]
                base = model.full_sort_predict(interaction)[None]
                for rows in self._rows(base.shape[1:]):
                    found = torch.cat([base[:, rows], self(histories[rows], lengths[rows])])
                    known = ~unused[targets[rows]]  # an item that is never trained on may still be asked for
                    yield found[:, known], targets[rows][known]

        weights = fitted_weights(features, len(self.features) + 1, unused)
        self.weights.copy_(weights[1:] / weights[0].clamp(min=0.05))

    def append(self, vectors: Tensor | None, count: int) -> None:
        """Take in items after training; see :class:`ScoreTerm`."""
        for term in self.values():
            term.append(vectors, count)  # type: ignore[operator]

    def by_name(self) -> dict[str, float]:
        """The weight of every feature."""
        return dict(zip(self.features, self.weights.tolist(), strict=True))

    def _rows(self, shape: Any) -> Iterator[slice]:
        """Parts of a batch [batch, n_items + 1] whose features are held at once."""
        step = max(1, _HELD // (shape[1] * (len(self.features) + 1)))
        for start in range(0, shape[0], step):
            yield slice(start, start + step)


def make_score_terms(config: Any, dataset: Any, eligible: Tensor) -> ScoreTerms | None:
    """The terms that the setting `score_terms` lists, for the items that are trained on; None where it lists none."""
    names, known = config["score_terms"] or [], registered("score_terms")
    if names == ["all"]:
        reads_text = getattr(dataset, "semantics", None) is not None
        names = [name for name in known if name != "text" or reads_text]
    terms = {
        short_name(name): named_class("score_terms", name, known).from_config(config, dataset)
        for name in names
    }
    return ScoreTerms(terms, eligible) if terms else None
