"""Models of whole sequences: RecBole's base class, and a backbone over item vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_unisid.data.windows import TARGET_LIST
from recbole_unisid.errors import UserError
from recbole_unisid.items.fold import count_parameters
from recbole_unisid.items.part import SemanticPart
from recbole_unisid.items.representation import ItemRepresentation
from recbole_unisid.items.weak_text import id_width_of
from recbole_unisid.models.backbones import chosen_backbone
from recbole_unisid.models.backbones.base import Backbone, initialise
from recbole_unisid.models.losses import eligible_items, make_loss
from recbole_unisid.models.losses.next_item import Positions
from recbole_unisid.models.score_terms import make_score_terms


class OwnSequential(SequentialRecommender):
    """RecBole's base of a sequential model that is written here; RecBole's classes enter here alone."""

    input_type = InputType.POINTWISE
    #: What the model reads of the items' text beside what its semantic part does: ``tokens``, ``vectors`` or None.
    needs: str | None = None

    @classmethod
    def semantic_part(cls, config: Any) -> type[SemanticPart] | None:
        """The class of the items' semantic part; None where items have none, or one that is the model's own."""
        return None

    def inputs_and_targets(self, interaction: Any) -> tuple[Tensor, Tensor]:
        """Item numbers of a training batch and what follows each, int64 [batch, length]; 0 where there is none.

        The batch has ``target_list``, or is RecBole's prefix rows with one target each, ``item_id`` [batch].
        """
        inputs = interaction[self.ITEM_SEQ]
        if TARGET_LIST in interaction:
            return inputs, interaction[TARGET_LIST]
        last, targets = interaction[self.ITEM_SEQ_LEN] - 1, interaction[self.POS_ITEM_ID]
        return inputs, torch.zeros_like(inputs).scatter(1, last[:, None], targets[:, None])


class WholeSequenceRecommender(OwnSequential):
    """A causal backbone over item vectors; subclasses say what an item's semantic part is.

    It is trained at every position. `dataset` has ``semantics`` where the model reads text or tokens.
    """

    backbone: type[Backbone] | None = None  #: What reads a history; None is the setting `backbone`.
    make_loss: Callable[..., Any] = staticmethod(make_loss)
    divided: Callable[..., Tensor] | None = None  #: Computes a loss in parts (`models/shards.py: divide`).

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.items = self._item_representation(config, dataset)
        self.transformer = (self.backbone or chosen_backbone(config)).from_config(config, self.items.width)
        eligible = eligible_items(config, dataset)
        if config["split"] == "cold_items":
            self.items.leave_untrained(eligible)
        self.loss = self.make_loss(config, dataset, eligible)
        self.generator = getattr(self.loss, "generator", None)  # a checkpoint keeps its state
        self.apply(partial(initialise, deviation=config["initializer_range"]))
        self.transformer.start()
        self.items.start(config, getattr(dataset, "semantics", None))
        self.terms = make_score_terms(config, dataset, eligible) if self.scores_by_vectors else None
        self.items.new_items.like = None if self.terms is None else self.terms.texts
        self._catalogue: Tensor | None = None

    def _item_representation(self, config: Any, dataset: Any) -> ItemRepresentation:
        kind, (id_width, self.near_text_share) = self.semantic_part(config), id_width_of(config, dataset)
        if kind is None and not id_width:
            raise UserError(f"id_dim=0 leaves an item of {type(self).__name__} without any part; widen it.")
        part = None if kind is None else kind.from_config(config, dataset.semantics)
        return ItemRepresentation(self.n_items - 1, part, id_width=id_width, added=config["id_join"] == "add")

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Mean loss over the targets of a batch, shape []; see :meth:`inputs_and_targets`."""
        inputs, follow = self.inputs_and_targets(interaction)
        asked = follow > 0
        targets = follow[asked]  # [P]
        candidates = self.loss.draw(targets)
        padding = len(inputs) * self.max_seq_length - int((inputs > 0).sum())
        vectors, token_loss = self.items.of_batch(inputs, targets, candidates.numbers, padding)

        def mean(asked: Tensor, targets: Tensor, read: Tensor, own: Tensor, others: Tensor) -> Tensor:
            states = self.transformer(read)[asked]  # [P, width]
            return self.loss(Positions(states, targets, own, candidates, others, asked))  # type: ignore[no-any-return]

        whole = asked, targets, *vectors
        return token_loss + (mean(*whole) if self.divided is None else self.divided(mean, *whole))

    def predict(self, interaction: Any) -> Tensor:
        """Scores of one item per row, shape [batch]."""
        return self.score_candidates(interaction, interaction[self.ITEM_ID][:, None])[:, 0]

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores of all items, shape [batch, n_items] (RecBole's n_items counts padding, column 0)."""
        scores = self._last_states(interaction) @ self._item_vectors().T
        histories, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        return scores if self.terms is None else self.terms.add_to(scores, histories, lengths)

    def score_candidates(self, interaction: Any, candidates: Tensor) -> Tensor:
        """Scores of some items for each row, [batch, n] item numbers to [batch, n] scores."""
        if not self.scores_by_vectors or self.terms is not None:  # ranked as among all items
            return self.full_sort_predict(interaction).gather(1, candidates)
        return torch.einsum("bw,bnw->bn", self._last_states(interaction), self._item_vectors()[candidates])

    @property
    def scores_by_vectors(self) -> bool:
        """Whether a score is state @ item vector: not in a class that scores in a way of its own."""
        return type(self).full_sort_predict is WholeSequenceRecommender.full_sort_predict

    def _last_states(self, interaction: Any) -> Tensor:
        inputs, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        states: Tensor = self.transformer(self._item_vectors()[inputs[:, : max(1, int(lengths.max()))]])
        return states[torch.arange(len(states), device=states.device), lengths - 1]

    def _item_vectors(self) -> Tensor:
        """The catalogue's vectors, kept between batches of one evaluation."""
        if self.training or torch.is_grad_enabled():
            return self.items.all_items()
        if self._catalogue is None:
            self._catalogue = self.items.all_items()
        return self._catalogue

    def train(self, mode: bool = True) -> WholeSequenceRecommender:
        """Switch modes; vectors kept from an earlier evaluation are dropped, weights may have changed."""
        self._catalogue = None
        return super().train(mode)  # type: ignore[no-any-return]

    def parameter_counts(self) -> dict[str, int]:
        """Count parameters as ``result.json`` reports them; see :func:`~recbole_unisid.items.fold.count_parameters`."""
        return count_parameters(self, self.items, self.transformer)
