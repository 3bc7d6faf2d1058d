"""A transformer over item vectors, trained at every position of whole sequences, with RecBole's contract."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType

from recbole_unisid.data.split import TRAIN
from recbole_unisid.errors import UserError
from recbole_unisid.items.fold import folded_counts
from recbole_unisid.items.joint import JointTokens
from recbole_unisid.items.representation import ItemRepresentation, TextProjection
from recbole_unisid.models.backbones.transformer import CausalTransformer, initialise
from recbole_unisid.models.losses.in_batch import log_expected_in_batch, target_shares
from recbole_unisid.models.losses.lookahead import consecutive
from recbole_unisid.models.losses.next_item import (
    binary_loss,
    gbce_calibration,
    log_expected_uniform,
    sampled_softmax_loss,
    softmax_loss,
)
from recbole_unisid.recbole_adapter.loaders import inputs_and_targets

#: Losses whose negatives are shared by a batch, and those that have the batch's own targets among them.
SHARED_NEGATIVES = ("sampled_softmax", "in_batch_softmax", "mixed_softmax")
IN_BATCH = ("in_batch_softmax", "mixed_softmax")


@dataclass(frozen=True)
class Candidates:
    """What targets are told from: shared by all positions, or each position's own.

    Parameters
    ----------
    vectors : Tensor, shape [n, width] or [P, n, width]
        Their vectors.
    numbers : Tensor of int64, shape [n] or [P, n], optional
        Their item numbers; None where they are the whole catalogue.
    log_expected : float or Tensor, shape [n], optional
        For the logQ correction of shared ones.
    """

    vectors: torch.Tensor
    numbers: torch.Tensor | None = None
    log_expected: float | torch.Tensor | None = None

    def of(self, positions: torch.Tensor) -> Candidates:
        """Those of some positions [p]."""
        return self if self.vectors.dim() == 2 else Candidates(self.vectors[positions])


class WholeSequenceRecommender(SequentialRecommender):
    """A causal transformer over item vectors, trained at every position of whole sequences.

    Subclasses say what an item's semantic part is. The contract is RecBole's: :meth:`calculate_loss`,
    :meth:`predict`, :meth:`full_sort_predict`; prefix rows with one target work as well as whole sequences.

    Parameters
    ----------
    config : UniSIDConfig
        See ``properties/model/``.
    dataset : PrefixRowDataset
        With ``semantics`` attached where the model reads text or tokens.
    """

    input_type = InputType.POINTWISE
    #: What the model needs of the items' text: ``tokens``, ``vectors`` or None.
    needs: str | None = None
    #: Values of the setting ``loss``.
    losses: tuple[str, ...] = (*SHARED_NEGATIVES, "softmax", "bce", "gbce")

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.loss_name, self.n_negatives = config["loss"], config["negatives"]
        if self.loss_name not in self.losses:
            raise UserError(f"There is no loss '{self.loss_name}'; choose one of {', '.join(self.losses)}.")
        if self.loss_name == "in_batch_softmax":
            self.n_negatives = 0  # uniform ones
        self.lookahead_weight = float(config["lookahead_weight"] or 0.0)
        self.calibration = 1.0
        if self.loss_name == "gbce":
            self.calibration = gbce_calibration(self.n_items - 1, self.n_negatives, config["gbce_t"])
        self.items = self._item_representation(config, dataset)
        self.transformer = CausalTransformer(
            self.items.width,
            self.max_seq_length,
            config["n_layers"],
            config["n_heads"],
            config["attention_dim"],
            config["inner_size"],
            config["hidden_dropout_prob"],
            config["attn_dropout_prob"],
            float(config["layer_norm_eps"]),
        )
        self._leave_out_cold_items(config, dataset)
        self.n_candidates = self.n_items - 1 if self.candidates is None else len(self.candidates)
        if self.loss_name in SHARED_NEGATIVES:  # distinct: with all items it is the softmax itself
            self.n_negatives = min(self.n_negatives, self.n_candidates)
        if self.loss_name in IN_BATCH and dataset.sequences is not None:  # a finished run trains no more
            trained = dataset.sequences.items[dataset.split.targets(TRAIN)]
            shares = torch.from_numpy(target_shares(trained, self.n_items - 1))
            self.register_buffer("target_shares", shares.float(), persistent=False)
            self.target_shares: torch.Tensor
        self.apply(partial(initialise, deviation=config["initializer_range"]))
        self._initialise_items(config, dataset)
        self._catalogue: torch.Tensor | None = None
        # Of its own: processes that share a batch draw the same negatives, whatever dropout draws.
        self.generator = torch.Generator().manual_seed(config["seed"])

    def _item_representation(self, config: Any, dataset: Any) -> ItemRepresentation:
        if not config["id_dim"]:
            raise UserError(
                f"id_dim=0 leaves an item of {type(self).__name__} without any part; give it a width, such as 64."
            )
        return ItemRepresentation(self.n_items - 1, None, 0, config["id_dim"])

    def _initialise_items(self, config: Any, dataset: Any) -> None:
        if self.items.ids is not None:
            torch.nn.init.zeros_(self.items.ids.weight[0].data)
        if self.items.lift is not None:
            torch.nn.init.orthogonal_(self.items.lift.weight)  # an ID is as long as it was

    def _leave_out_cold_items(self, config: Any, dataset: Any) -> None:
        """Under the cold-item split, items without training are no negatives and have a neutral ID."""
        self.candidates: torch.Tensor | None = None
        if config["split"] == "cold_items":
            counts = dataset.split.training_counts(dataset.sequences)
            cold = torch.from_numpy(counts == 0)
            cold[0] = False
            self.items.untrained = cold
            self.candidates = torch.from_numpy(counts).nonzero().flatten().to(self.device)

    # --- RecBole's contract -----------------------------------------------------------------------

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        """Mean loss over the targets of a batch.

        Parameters
        ----------
        interaction : Interaction
            ``item_id_list`` int64 [batch, length] with ``target_list`` of the same shape (0 = no target), or
            RecBole's prefix rows: ``item_id_list``, ``item_length`` and ``item_id`` [batch].

        Returns
        -------
        Tensor, shape []
        """
        inputs, asked, wanted = self._positions(interaction)
        (seen, positives, candidates), token_loss = self._encode(inputs, wanted)
        states = self.transformer(seen)[asked]  # [P, width]
        loss = token_loss + self._mean_loss(states, positives, wanted, candidates)
        here, later = consecutive(asked)
        if self.lookahead_weight and len(here):
            second = self._mean_loss(states[here], positives[later], wanted[later], candidates.of(here))
            # A sum over the positions that have a target after the next, divided by all P.
            loss = loss + self.lookahead_weight * second * (len(here) / len(wanted))
        return loss

    def _encode(
        self, inputs: torch.Tensor, wanted: torch.Tensor
    ) -> tuple[tuple[torch.Tensor, torch.Tensor, Candidates], torch.Tensor | float]:
        """Vectors of inputs and targets, what the targets are told from, and the tokens' own loss."""
        if self.loss_name == "softmax" and not isinstance(self.items.semantic, JointTokens):
            catalogue = self.items.all_items()
            return (catalogue[inputs], catalogue[wanted], Candidates(catalogue)), 0.0
        whole, log_expected = self.loss_name == "softmax", None
        numbers = (
            torch.arange(self.n_items, device=self.device) if whole else self._draw_negatives(len(wanted))
        )
        if self.loss_name in IN_BATCH:
            numbers = torch.cat([torch.unique(wanted), numbers])
        if self.loss_name in SHARED_NEGATIVES:
            log_expected = self._log_expected(numbers, len(wanted))
        padding = len(inputs) * self.max_seq_length - int((inputs > 0).sum())
        parts, token_loss = self.items.of_batch([inputs.flatten(), wanted, numbers.flatten()], padding)
        seen, positives, vectors = parts
        candidates = Candidates(vectors.view(*numbers.shape, -1), numbers, log_expected)
        return (seen.view(*inputs.shape, -1), positives, candidates), token_loss

    def _mean_loss(
        self, states: torch.Tensor, positives: torch.Tensor, wanted: torch.Tensor, candidates: Candidates
    ) -> torch.Tensor:
        """Mean over positions of the loss; states and positives are [P, width], wanted [P]."""
        if self.loss_name == "softmax":
            return softmax_loss(states, candidates.vectors, wanted, self.items.untrained)
        if candidates.numbers is not None and candidates.log_expected is not None:
            return sampled_softmax_loss(
                states, positives, candidates.vectors, wanted, candidates.numbers, candidates.log_expected
            )
        return binary_loss(states, positives, candidates.vectors, calibration=self.calibration)

    def _positions(self, interaction: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Inputs [batch, length], where a target is asked for (the same shape), and the P targets."""
        inputs, targets = inputs_and_targets(self, interaction)
        asked = targets > 0
        return inputs, asked, targets[asked]

    def _log_expected(self, negatives: torch.Tensor, positions: int) -> float | torch.Tensor:
        """Log of how often each of the shared negatives is expected among them."""
        if self.loss_name == "sampled_softmax":
            return log_expected_uniform(self.n_candidates, self.n_negatives)
        uniform = self.n_negatives / self.n_candidates
        return log_expected_in_batch(self.target_shares[negatives], positions, uniform)

    def _draw_negatives(self, positions: int) -> torch.Tensor:
        """Uniform item numbers: [n] distinct ones where the batch shares them, else [positions, n]."""
        n, count, generator = self.n_candidates, self.n_negatives, self.generator
        if self.loss_name in SHARED_NEGATIVES:
            drawn = torch.randperm(n, generator=generator)[:count].to(self.device)
        else:
            drawn = torch.randint(n, (positions, count), generator=generator).to(self.device)
        return drawn + 1 if self.candidates is None else self.candidates[drawn]

    def predict(self, interaction: Any) -> torch.Tensor:
        """Scores of one item per row, shape [batch]."""
        items = self.items(interaction[self.ITEM_ID])  # [batch, width]
        scores: torch.Tensor = (self._last_states(interaction) * items).sum(-1)
        return scores

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        """Scores of all items, shape [batch, n_items] (RecBole's n_items counts padding, column 0)."""
        scores: torch.Tensor = self._last_states(interaction) @ self._item_vectors().T
        return scores

    def score_candidates(self, interaction: Any, candidates: torch.Tensor) -> torch.Tensor:
        """Scores of some items for each row, [batch, n] item numbers to [batch, n] scores."""
        if type(self).full_sort_predict is not WholeSequenceRecommender.full_sort_predict:
            # A class that scores in a way of its own ranks by it among some items, too.
            return self.full_sort_predict(interaction).gather(1, candidates)
        items = self._item_vectors()[candidates]  # [batch, n, width]
        scores: torch.Tensor = torch.einsum("bw,bnw->bn", self._last_states(interaction), items)
        return scores

    def _last_states(self, interaction: Any) -> torch.Tensor:
        inputs, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        longest = max(1, int(lengths.max()))
        states: torch.Tensor = self.transformer(self._item_vectors()[inputs[:, :longest]])
        return states[torch.arange(len(states), device=states.device), lengths - 1]

    def _item_vectors(self) -> torch.Tensor:
        """The catalogue's vectors, kept between batches of one evaluation."""
        if self.training or torch.is_grad_enabled():
            return self.items.all_items()
        if self._catalogue is None:
            self._catalogue = self.items.all_items()
        return self._catalogue

    def train(self, mode: bool = True) -> WholeSequenceRecommender:
        """Switch modes; vectors kept from an earlier evaluation are dropped, weights may have changed."""
        self._catalogue = None
        super().train(mode)
        return self

    # --- parameters -------------------------------------------------------------------------------

    def parameter_counts(self) -> dict[str, int]:
        """Count parameters as ``result.json`` reports them.

        Returns
        -------
        dict of int
            ``tokens``: item tables that are learned (code vectors and IDs, padding not counted; the map through
            which IDs are added is no item's and counts with the network);
            ``training``: everything that gets a gradient; ``checkpoint``: every number stored;
            ``serving``: what scoring needs once items are folded to codes, tables and IDs, the integers of the
            codes apart as ``serving_codes``.
        """
        folded = folded_counts(self.items)
        # A dense text part has a vector an item and no tokens.
        tables = 0 if isinstance(self.items.semantic, TextProjection) else folded["tables"]
        return {
            "tokens": tables + folded["ids"],
            "training": sum(p.numel() for p in self.parameters() if p.requires_grad),
            "checkpoint": sum(value.numel() for value in self.state_dict().values()),
            "serving": sum(p.numel() for p in self.transformer.parameters())
            + folded["tables"]
            + folded["ids"]
            + folded["lift"],
            "serving_codes": folded["codes"],
        }
