"""A model's score terms together: their weights, how they are fitted, and what they add."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recbole_unisid.config.settings import registered
from recbole_unisid.errors import UserError
from recbole_unisid.models.score_terms.base import Entries, ScoreTerm
from recbole_unisid.models.score_terms.fit import fitted_weights
from recbole_unisid.models.score_terms.ranked import ranked_weights
from recbole_unisid.models.score_terms.text import TextSimilarity
from recbole_unisid.models.shards import each, in_turn, row_halves, safe_in_threads
from recbole_unisid.plugins.loading import named_class, short_name

#: Numbers that the features of some histories take where they are summed, and how many such parts are held: 32 MB.
_HELD, _PARTS = 1 << 21, 4
_OF_THREAD = threading.local()  # what a thread holds for the terms that it asked last


class ScoreTerms(nn.ModuleDict):
    """The terms of a model. Nothing is added before :meth:`fit`, and training is without them.

    The weights are to the model's own score, which stays as it is. Those that are fitted are multiplied by `scales`, by
    feature, where they are given.
    """

    weights: Tensor
    unused: Tensor

    def __init__(
        self, terms: Mapping[str, ScoreTerm], unused: Tensor, scales: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(terms)
        self.scales = dict(scales or {})
        #: Padding and items that are never trained on, bool [n_items + 1]: no candidates where weights are fitted.
        self.register_buffer("unused", unused, persistent=False)
        self.register_buffer("weights", torch.zeros(len(self.features)))

    @property
    def features(self) -> list[str]:
        """Names of all features, in the order of the weights."""
        return [name for term in self.values() for name in term.features]  # type: ignore[union-attr]

    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        """All features, [features, batch, n_items + 1], of histories as :class:`ScoreTerm` reads them."""
        out = self.weights.new_empty(len(self.features), len(histories), len(self.unused))
        return self._write(out, histories, lengths)

    def _write(self, out: Tensor, histories: Tensor, lengths: Tensor) -> Tensor:
        start = 0
        for term in self.values():
            stop = start + len(term.features)  # type: ignore[arg-type]
            term.write(out[start:stop], histories, lengths)  # type: ignore[operator]
            start = stop
        return out

    def add_to(self, scores: Tensor, histories: Tensor, lengths: Tensor) -> Tensor:
        """Add the terms to scores [batch, n_items + 1], in place."""
        if bool(self.weights.any()):
            for rows, found in self._parts(scores, histories, lengths, 0):
                scores[rows] += torch.einsum("f,fbn->bn", self.weights, found)
        return scores

    def parts(self, history: Tensor, items: Tensor) -> dict[str, Tensor]:
        """What each feature adds to the scores of items [k] after a history, [1, length]: [k] by feature."""
        found = self(history, torch.tensor([history.shape[1]], device=history.device))[:, 0, items]
        return dict(zip(self.features, self.weights[:, None] * found, strict=True))

    @torch.no_grad()
    def check(self, histories: Tensor, lengths: Tensor) -> None:
        """Raise a UserError where a term, which may be the user's own, does not give what :class:`ScoreTerm` says."""
        for name, term in self.items():
            wanted = (len(term.features), len(histories), len(self.unused))  # type: ignore[arg-type]
            found = term(histories, lengths)
            if (
                not isinstance(found, Tensor)
                or found.shape != wanted
                or not bool(torch.isfinite(found).all())
            ):
                given = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise UserError(
                    f"score_terms: '{name}' gives {given}; finite features {list(wanted)} are wanted, "
                    "[features, batch, n_items + 1]."
                )

    @torch.no_grad()
    def fit(self, model: Any, *cases: list[Any], ranked: list[Any] | None = None) -> None:
        """Fit the weights on batches of an evaluation loader, (interaction, _, _, targets), with all other items.

        Of several lists of batches, the last decides; those before it are a few cases each, for a cheap start. By the
        batches that are to be `ranked` the weights are moved afterwards. `model` gives the scores, which are without
        terms meanwhile.
        """
        self.weights.zero_()
        weights, by = None, each if safe_in_threads(model) else in_turn
        for batches in cases:
            features = self._of_batches(model, batches)
            weights = fitted_weights(features, len(self.features) + 1, self.unused, weights, by)
        assert weights is not None
        used = weights[1:] / weights[0].clamp(min=0.05)  # beside the model's score as it is
        weights = torch.cat([weights.new_ones(1), used])
        if ranked is not None:
            weights = ranked_weights(self._of_batches(model, ranked), weights, self.unused, by)
        self.weights.copy_(weights[1:] / weights[0] * self._scales().to(weights))

    def _of_batches(
        self, model: Any, batches: list[Any]
    ) -> list[Callable[[], Iterator[tuple[Tensor, Tensor]]]]:
        """What gives the features and targets of each half of a batch, as often as it is asked."""
        return [
            partial(self._features, model, interaction[rows], asked[rows])
            for interaction, _, _, asked in batches
            for rows in row_halves(len(asked))
        ]

    def _features(self, model: Any, interaction: Any, asked: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The model's score and the features, [1 + features, cases, n_items + 1], and the targets, part by part."""
        interaction, targets = interaction.to(model.device), asked.to(model.device)
        known = ~self.unused[targets]  # an item that is never trained on may still be asked for
        if not known.any():
            return
        interaction, targets = interaction[known], targets[known]
        histories, lengths = interaction[model.ITEM_SEQ], interaction[model.ITEM_SEQ_LEN]
        scores = model.full_sort_predict(interaction)
        for rows, found in self._parts(scores, histories, lengths, 1):
            yield found, targets[rows]

    def leave_scales(self) -> None:
        """Take the weights as they were fitted, without `scales`."""
        self.weights /= self._scales()
        self.scales = {}

    def _scales(self) -> Tensor:
        return self.weights.new_tensor([self.scales.get(name, 1.0) for name in self.features])

    def count_as_new(self, items: Tensor) -> None:
        """Take items [n] for new ones; see :class:`ScoreTerm`."""
        for term in self.values():
            term.count_as_new(items)  # type: ignore[operator]

    def append(self, vectors: Tensor | None, count: int) -> None:
        """Take in items after training; see :class:`ScoreTerm`."""
        self.unused = torch.cat([self.unused, self.unused.new_ones(count)])
        for term in self.values():
            term.append(vectors, count)  # type: ignore[operator]

    @property
    def texts(self) -> Callable[[Tensor], Tensor] | None:
        """Text vectors of item numbers [n] by the term of texts, [n, width]; None where there is none."""
        term = dict(self.items()).get("text")
        return term.of if isinstance(term, TextSimilarity) else None

    def by_name(self) -> dict[str, float]:
        """The weight of every feature."""
        return dict(zip(self.features, self.weights.tolist(), strict=True))

    def _parts(
        self, scores: Tensor, histories: Tensor, lengths: Tensor, own: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """Rows of a batch [batch, n_items + 1] and their features [features, rows, n_items + 1], part by part.

        With `own` = 1 the scores themselves are the first. What is given is overwritten by the next parts.
        """
        (batch, width), count = scores.shape, len(self.features) + own
        step = max(1, _HELD // (width * (len(self.features) + 1)))
        many = step if own else step * _PARTS  # moments are summed over parts that lie in one piece
        held = self._held_for(scores, count, min(many, batch))
        for start in range(0, batch, many):
            rows = slice(start, start + many)
            found = held[:, : len(scores[rows])]
            if own:
                found[0] = scores[rows]
            sparse = self._fill(found[own:], histories[rows], lengths[rows])
            try:
                for first in range(0, found.shape[1], step):
                    part = slice(start + first, start + min(first + step, found.shape[1]))
                    yield part, found[:, first : first + step]
            finally:  # who asks may stop
                for feature, entries in sparse:
                    entries.clear(feature)

    def _held_for(self, scores: Tensor, *shape: int) -> Tensor:
        """Where this thread holds the features of some histories, 0 where they are sparse; kept from call to call."""
        width = scores.shape[1]
        terms, held = getattr(_OF_THREAD, "held", (None, scores))
        if (
            terms is None
            or terms() is not self
            or held.shape != (*shape, width)
            or held.device != scores.device
        ):
            held = scores.new_zeros(*shape, width)
            _OF_THREAD.held = weakref.ref(self), held
        return held

    def _fill(self, out: Tensor, histories: Tensor, lengths: Tensor) -> list[tuple[Tensor, Entries]]:
        """Write all features over `out`, whose sparse ones are 0 before; the sparse ones with their entries."""
        start, sparse = 0, list[tuple[Tensor, Entries]]()
        for term in self.values():
            stop = start + len(term.features)  # type: ignore[arg-type]
            entries = term.entries(histories, lengths)  # type: ignore[operator]
            if entries is None:
                term.write(out[start:stop], histories, lengths)  # type: ignore[operator]
            else:
                sparse += zip(out[start:stop], entries, strict=True)
            start = stop
        for feature, entries in sparse:
            entries.add_to(feature)
        return sparse


def make_score_terms(config: Any, dataset: Any, eligible: Tensor) -> ScoreTerms | None:
    """The terms that the setting `score_terms` lists, for the items that are trained on; None where it lists none."""
    names, known = list(config["score_terms"] or []), registered("score_terms")
    if "all" in names:
        reads_text = getattr(dataset, "semantics", None) is not None
        names[:0] = [name for name in known if name != "text" or reads_text]
    names = [name for name in dict.fromkeys(names) if name != "all"]
    if len(set(map(short_name, names))) < len(names):
        raise UserError(f"score_terms: two of {', '.join(names)} have one name; rename a class.")
    kinds = {short_name(name): named_class("score_terms", name, known) for name in names}
    unused = torch.ones(dataset.item_num, dtype=torch.bool).index_fill(0, eligible, False)
    terms = {name: kind.from_config(config, dataset) for name, kind in kinds.items()}
    scales = {"popularity": config["popularity_scale"]} if "popularity_scale" in config else None
    return ScoreTerms(terms, unused, scales) if terms else None
