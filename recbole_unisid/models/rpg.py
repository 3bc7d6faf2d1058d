"""RPG: long unordered codes, all digits of the next item predicted at once (arXiv 2506.05781)."""

from __future__ import annotations

from typing import Any

import torch

from recbole_unisid.items.mean_tokens import MeanTokens
from recbole_unisid.items.representation import ItemRepresentation, with_padding
from recbole_unisid.models.digit_heads import DigitHeads, multi_token_loss
from recbole_unisid.models.digit_sums import catalogue_digit_sums
from recbole_unisid.models.unisid import UniSID


class RPG(UniSID):
    """Items as means of their digits' vectors; an item's score is the log-probability of its digits.

    The whole catalogue is scored exactly instead of by the paper's search in a graph of items; this and the
    other differences stand in ``docs/rpg.md``.

    Parameters
    ----------
    config : UniSIDConfig
        ``properties/model/RPG.yaml``.
    dataset : PrefixRowDataset
        With ``semantics`` attached.
    """

    losses = ("multi_token",)

    def _item_representation(self, config: Any, dataset: Any) -> ItemRepresentation:
        semantics, width = dataset.semantics, config["semantic_dim"]
        codes = with_padding(torch.from_numpy(semantics.codes))
        tokens = MeanTokens(codes, semantics.codebook_sizes, width)
        self.heads = DigitHeads(width, semantics.codebook_sizes, config["temperature"])
        return ItemRepresentation(self.n_items - 1, tokens, width, 0)

    def _initialise_items(self, config: Any, dataset: Any) -> None:
        super()._initialise_items(config, dataset)
        self.heads.start_as_identity()

    @property
    def tokens(self) -> MeanTokens:
        """The items' digits and the vectors of all codes."""
        tokens = self.items.semantic
        assert isinstance(tokens, MeanTokens)
        return tokens

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        """Mean over the targets of a batch of their digits' negative log-probability; see the base class."""
        inputs, asked, wanted = self._positions(interaction)
        distinct, place = torch.unique(inputs, return_inverse=True)
        states = self.transformer(self.items(distinct)[place])[asked]  # [P, width]
        codes = self.tokens.rows[wanted] - self.tokens.rows[0]  # padding's codes are 0: row 0 is the starts
        return multi_token_loss(self.heads(states, self.tokens.table.weight), codes)

    def predict(self, interaction: Any) -> torch.Tensor:
        """Scores of one item per row, shape [batch]."""
        rows = self.tokens.rows[interaction[self.ITEM_ID]]  # [batch, digits]
        scores: torch.Tensor = self._digit_values(interaction).gather(1, rows).sum(-1)
        return scores

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        """Scores of all items, shape [batch, n_items] (RecBole's n_items counts padding, column 0)."""
        return catalogue_digit_sums(self._digit_values(interaction), self.tokens.rows)

    def _digit_values(self, interaction: Any) -> torch.Tensor:
        """Log-probability of every code of every digit, shape [batch, sum of codebook sizes]."""
        states = self._last_states(interaction)
        return torch.cat(self.heads(states, self.tokens.table.weight), dim=-1)
