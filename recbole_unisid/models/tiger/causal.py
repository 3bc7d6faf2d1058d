"""The causal architecture: a transformer over item vectors, and a small head that writes codes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from recbole_unisid.items.representation import ItemRepresentation, SemanticTokens
from recbole_unisid.items.trie import CodeTrie
from recbole_unisid.models.backbones.base import Backbone
from recbole_unisid.models.tiger.decoder import CodeWriter, Places, follow, loss_among_children


@dataclass(frozen=True)
class HeadState:
    """What the head knows of some prefixes."""

    states: torch.Tensor  # [batch, width], of the histories
    table: torch.Tensor  # [codes of all levels, width], code vectors
    prefixes: torch.Tensor  # [batch, prefixes, width], sum of the code vectors of each


class CodeHead(nn.Module):
    r"""Codes of the next item, each given the history and the codes before it.

    .. math:: p(c_l \mid h, c_{<l}) = \mathrm{softmax}_k \langle h + f_l(h, \textstyle\sum_{j<l} e_j(c_j)),
              e_l(k) \rangle + b_l(k)

    f is a layer of its own for each level. The vectors e are those that the history is read with: an item's
    logits would be UniSID's score, cut into its levels, if f were zero. The softmax is over all codes of the
    level, or over those that lead on to an item (`among_children`): then the items' likelihoods sum to 1. `sizes` are
    the codes of each level, `inner` the width of the hidden layer of f; scoring divides logits by the temperature.
    """

    def __init__(
        self,
        sizes: list[int],
        width: int,
        inner: int,
        dropout: float,
        temperature: float,
        among_children: bool = True,
    ) -> None:
        super().__init__()
        self.among_children = among_children
        self.starts = [*itertools.accumulate(sizes, initial=0)]
        self.widest, self.temperature = max(*sizes, inner), temperature
        self.from_state = nn.ModuleList(nn.Linear(width, inner) for _ in sizes)
        self.from_prefix = nn.ModuleList(nn.Linear(width, inner, bias=False) for _ in sizes)
        self.out = nn.ModuleList(nn.Linear(inner, width) for _ in sizes)
        self.bias = nn.Parameter(torch.zeros(sum(sizes)))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        level: int,
        states: torch.Tensor,
        prefixes: torch.Tensor,
        table: torch.Tensor,
        hidden: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits of one level after known prefixes, [..., codes of the level].

        `states` and `prefixes`, sums of code vectors, are [..., width], `table` is [codes of all levels,
        width], and `hidden` is what :attr:`from_state` makes of the states, where it is known.
        """
        hidden = self.from_state[level](states) if hidden is None else hidden
        inner = functional.gelu(self.from_prefix[level](prefixes) + hidden)
        query = states + self.out[level](self.dropout(inner))
        codes = slice(self.starts[level], self.starts[level + 1])
        logits: torch.Tensor = query @ table[codes].T + self.bias[codes]
        return logits

    def begin(self, states: torch.Tensor, table: torch.Tensor) -> HeadState:
        """The empty prefix of every history, states [batch, width]."""
        return HeadState(states, table, torch.zeros_like(states)[:, None])

    def step(
        self, state: HeadState, level: int, codes: torch.Tensor | None, origin: torch.Tensor | None
    ) -> HeadState:
        """One code more; see :class:`~recbole_unisid.models.tiger.decoder.CodeDecoder`."""
        if codes is None or origin is None:
            return state
        last = state.table[self.starts[level - 1] + codes]  # [batch, prefixes, width]
        return HeadState(state.states, state.table, follow(state.prefixes, origin) + last)

    def score(self, state: HeadState, level: int, places: Places) -> torch.Tensor:
        """Scores of a level's codes; see :class:`~recbole_unisid.models.tiger.decoder.CodeDecoder`."""
        hidden = self.from_state[level](state.states)  # [batch, inner]: once a history
        users = places[0]
        logits = self(level, state.states[users], state.prefixes[places], state.table, hidden[users])
        logits = logits.float() / self.temperature
        return logits if self.among_children else functional.log_softmax(logits, dim=-1)


class CausalItems(CodeWriter):
    """A causal transformer over item vectors, whose state at every position a small head turns into codes.

    One pass trains all positions, a history costs one vector an item instead of one a code, and beams
    run the head alone. This is not TIGER's architecture but its task: the likelihood of codes.
    `codes` are int64 [n_items + 1, levels], those of the trie after a row of padding.
    """

    decoder: CodeHead

    def __init__(
        self,
        codes: torch.Tensor,
        sizes: list[int],
        trie: CodeTrie,
        transformer: Backbone,
        head: CodeHead,
        width: int,
    ) -> None:
        super().__init__()
        self.tokens = SemanticTokens(codes, sizes, width)
        self.items = ItemRepresentation(len(codes) - 1, self.tokens, id_width=0)
        self.transformer, self.decoder, self.trie = transformer, head, trie

    def loss(
        self, inputs: torch.Tensor, targets: torch.Tensor, users: torch.Tensor | None, smoothing: float
    ) -> torch.Tensor:
        """See :meth:`CodeWriter.loss`; users are not read."""
        asked = targets > 0
        wanted, trie = targets[asked], self.trie  # [P]
        states = self.transformer(self._vectors(inputs))[asked]  # [P, width]
        table = self.tokens.table.weight
        vectors = table[self.tokens.rows[wanted]]  # [P, levels, width]
        prefixes = vectors.cumsum(1) - vectors

        def logits(number: int, asked: torch.Tensor) -> torch.Tensor:
            return self.decoder(number, states[asked], prefixes[asked, number], table)  # type: ignore[no-any-return]

        if self.decoder.among_children:
            return loss_among_children(trie, wanted, logits, smoothing)
        losses = []
        for number, level in enumerate(trie.levels):
            code = level.code[trie.paths[wanted, number]]
            found = self.decoder(number, states, prefixes[:, number], table)
            losses.append(functional.cross_entropy(found, code, reduction="sum", label_smoothing=smoothing))
        return torch.stack(losses).sum() / len(wanted)

    def begin(self, inputs: torch.Tensor, lengths: torch.Tensor, users: torch.Tensor | None) -> Any:
        """See :meth:`CodeWriter.begin`; users are not read."""
        states = self.transformer(self._vectors(inputs))
        last = states[torch.arange(len(states), device=states.device), lengths - 1]
        return self.decoder.begin(last, self.tokens.table.weight)

    def _vectors(self, inputs: torch.Tensor) -> torch.Tensor:
        """Item vectors of histories, [batch, length] -> [batch, length, width]."""
        vectors: torch.Tensor = self.items(inputs.flatten())
        return vectors.view(*inputs.shape, -1)
