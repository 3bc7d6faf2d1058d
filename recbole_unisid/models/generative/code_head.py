"""A small head that writes an item code by code from one state of a sequence model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from recbole_unisid.models.generative.code_decoder import Places, follow


@dataclass(frozen=True)
class HeadState:
    """What the head knows of some prefixes.

    Attributes
    ----------
    states : Tensor, shape [batch, width]
        Of the histories.
    table : Tensor, shape [codes of all levels, width]
        Code vectors.
    prefixes : Tensor, shape [batch, prefixes, width]
        Sum of the code vectors of each prefix.
    """

    states: torch.Tensor
    table: torch.Tensor
    prefixes: torch.Tensor


class CodeHead(nn.Module):
    r"""Codes of the next item, each given the history and the codes before it.

    .. math:: p(c_l \mid h, c_{<l}) = \mathrm{softmax}_k \langle h + f_l(h, \textstyle\sum_{j<l} e_j(c_j)),
              e_l(k) \rangle + b_l(k)

    f is a layer of its own for each level. The vectors e are those that the history is read with: an
    item's logits would be UniSID's score, cut into its levels, if f were zero. The softmax is over all codes
    of the level, or over those that lead on to an item: then the items' likelihoods sum to 1.

    Parameters
    ----------
    sizes : list of int
        Codes of each level.
    width : int
        Width of states and of code vectors.
    inner : int
        Width of the hidden layer of f.
    dropout : float
        Share of hidden units dropped in training.
    temperature : float
        Logits are divided by it.
    among_children : bool
        Whether the softmax is over codes that lead on to an item.
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
        self, level: int, states: torch.Tensor, prefixes: torch.Tensor, table: torch.Tensor
    ) -> torch.Tensor:
        """Logits of one level after known prefixes (teacher forcing).

        Parameters
        ----------
        level : int
            From 0.
        states : Tensor, shape [positions, width]
            Of the histories.
        prefixes : Tensor, shape [positions, width]
            Sums of the code vectors of the levels before.
        table : Tensor, shape [codes of all levels, width]
            Code vectors.

        Returns
        -------
        Tensor, shape [positions, codes of the level]
        """
        return self._logits(level, states, self.from_state[level](states), prefixes, table)

    def begin(self, states: torch.Tensor, table: torch.Tensor) -> HeadState:
        """The empty prefix of every history, states [batch, width]."""
        return HeadState(states, table, torch.zeros_like(states)[:, None])

    def step(
        self, state: HeadState, level: int, codes: torch.Tensor | None, origin: torch.Tensor | None
    ) -> HeadState:
        """One code more; see :class:`~recbole_unisid.models.generative.code_decoder.CodeDecoder`."""
        if codes is None or origin is None:
            return state
        last = state.table[self.starts[level - 1] + codes]  # [batch, prefixes, width]
        return HeadState(state.states, state.table, follow(state.prefixes, origin) + last)

    def score(self, state: HeadState, level: int, places: Places) -> torch.Tensor:
        """Scores of a level's codes; see :class:`~recbole_unisid.models.generative.code_decoder.CodeDecoder`."""
        hidden = self.from_state[level](state.states)  # [batch, inner]: once a history
        users = places[0]
        logits = self._logits(level, state.states[users], hidden[users], state.prefixes[places], state.table)
        logits = logits.float() / self.temperature
        return logits if self.among_children else functional.log_softmax(logits, dim=-1)

    def _logits(
        self,
        level: int,
        states: torch.Tensor,
        hidden: torch.Tensor,
        prefixes: torch.Tensor,
        table: torch.Tensor,
    ) -> torch.Tensor:
        """Logits of a level, [..., width] -> [..., codes]; `hidden` is the states' part, [..., inner]."""
        inner = functional.gelu(self.from_prefix[level](prefixes) + hidden)
        query = states + self.out[level](self.dropout(inner))
        codes = slice(self.starts[level], self.starts[level + 1])
        logits: torch.Tensor = query @ table[codes].T + self.bias[codes]
        return logits
