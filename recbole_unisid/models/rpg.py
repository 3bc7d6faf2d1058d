"""RPG: long unordered codes, all digits of the next item predicted at once (arXiv 2506.05781)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from recbole_unisid.errors import check_choice
from recbole_unisid.items.part import SemanticPart
from recbole_unisid.items.representation import ItemRepresentation, SemanticTokens
from recbole_unisid.models.whole_sequence import WholeSequenceRecommender

#: Values of the setting `loss`.
LOSSES = ("multi_token",)


class MeanTokens(SemanticTokens):
    """The mean of one learned vector a code (section 2.2): as large with 32 digits as with 4."""

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return super().forward(items) / self.rows.shape[1]


class DigitHeads(nn.Module):
    r"""A state to log-probabilities of every digit's codes, each digit by itself.

    Digit j has a residual head :math:`g_j(h) = h + \mathrm{SiLU}(W_j h + b_j)`, and the codes' own vectors
    :math:`e_{jk}`, those that represent items, are its classes (tau is the temperature):

    .. math:: \log P_j(k \mid h) = \log\mathrm{softmax}_k\left(\cos(g_j(h), e_{jk}) / \tau\right)
    """

    def __init__(self, width: int, codebook_sizes: Sequence[int], temperature: float) -> None:
        super().__init__()
        self.codebook_sizes, self.temperature = list(codebook_sizes), temperature
        self.heads = nn.ModuleList(nn.Linear(width, width) for _ in codebook_sizes)

    def forward(self, states: torch.Tensor, table: torch.Tensor) -> list[torch.Tensor]:
        """Log-probabilities of codes, [P, codes of the digit] each.

        `states` are [P, width], one a position; `table` holds the code vectors, digit after digit.
        """
        found = []
        classes = torch.split(functional.normalize(table, dim=-1), self.codebook_sizes)
        for head, vectors in zip(self.heads, classes, strict=True):
            read = functional.normalize(states + functional.silu(head(states)), dim=-1)  # [P, width]
            found.append(functional.log_softmax(read @ vectors.T / self.temperature, dim=-1))
        return found


def multi_token_loss(log_probabilities: Sequence[torch.Tensor], codes: torch.Tensor) -> torch.Tensor:
    r"""Mean over positions of :math:`-\sum_j \log P_j(c_j)`, the target's digits taken as independent.

    `log_probabilities` are those of :class:`DigitHeads`, `codes` [P, digits] the targets'.
    """
    digits = zip(log_probabilities, codes.T, strict=True)
    return torch.stack([functional.nll_loss(found, code) for found, code in digits]).sum()


#: Scores worked on at once, beside the result: 32 MB in float32.
_BLOCK = 2**23


def catalogue_digit_sums(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Sum each item's values over its digits, [batch, n_items]; items of equal digits are equal to the last bit.

    Nothing of the size users x items x digits is made. `values` [batch, sum of codebook sizes] say what each code of
    each digit is worth to each user, `rows` [n_items, digits] which of their columns an item's digits are.
    """
    table = values.T.contiguous()  # [sum of sizes, batch]: a digit is then a row to add
    scores = values.new_empty(len(values), len(rows))
    step = max(1, _BLOCK // max(len(values), 1))
    for start in range(0, len(rows), step):
        part = functional.embedding_bag(rows[start : start + step], table, mode="sum")  # [step, batch]
        scores[:, start : start + step] = part.T
    return scores


class RPG(WholeSequenceRecommender):
    """Items as means of their digits' vectors; an item's score is the log-probability of its digits.

    The whole catalogue is scored exactly instead of by the paper's search in a graph of items; this and the
    other differences stand in ``docs/rpg.md``. The settings are those of ``properties/model/RPG.yaml``.
    """

    @classmethod
    def semantic_part(cls, config: Any) -> type[SemanticPart] | None:
        """Means of the digits' vectors."""
        return MeanTokens

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        for parameter in self.heads.parameters():  # at first every digit reads the state itself
            nn.init.zeros_(parameter)

    def _item_representation(self, config: Any, dataset: Any) -> ItemRepresentation:
        tokens = MeanTokens.from_config(config, dataset.semantics)
        self.heads = DigitHeads(tokens.width, tokens.codebook_sizes, config["temperature"])
        return ItemRepresentation(self.n_items - 1, tokens, id_width=0)

    def make_loss(self, config: Any, dataset: Any, eligible: torch.Tensor) -> None:
        check_choice("loss", config["loss"], LOSSES)

    @property
    def tokens(self) -> MeanTokens:
        """The items' digits and the vectors of all codes."""
        return cast(MeanTokens, self.items.semantic)

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        """Mean over the targets of a batch of their digits' negative log-probability; see the base class."""
        inputs, targets = self.inputs_and_targets(interaction)
        asked, wanted = targets > 0, targets[targets > 0]
        distinct, place = torch.unique(inputs, return_inverse=True)
        states = self.transformer(self.items(distinct)[place])[asked]  # [P, width]
        codes = self.tokens.rows[wanted] - self.tokens.rows[0]  # padding's codes are 0: row 0 is the starts
        return multi_token_loss(self.heads(states, self.tokens.table.weight), codes)

    def predict(self, interaction: Any) -> torch.Tensor:
        rows = self.tokens.rows[interaction[self.ITEM_ID]]  # [batch, digits]
        scores: torch.Tensor = self._digit_values(interaction).gather(1, rows).sum(-1)
        return scores

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        return catalogue_digit_sums(self._digit_values(interaction), self.tokens.rows)

    def _digit_values(self, interaction: Any) -> torch.Tensor:
        """Log-probability of every code of every digit, shape [batch, sum of codebook sizes]."""
        states = self._last_states(interaction)
        return torch.cat(self.heads(states, self.tokens.table.weight), dim=-1)
