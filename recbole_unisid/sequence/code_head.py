"""A small head that writes an item code by code from one state of a sequence model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from recbole_unisid.sequence.code_decoder import follow


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
        self.from_state = nn.Linear(width, len(sizes) * inner)
        self.from_prefix = nn.ModuleList(nn.Linear(width, inner, bias=False) for _ in sizes)
        self.out = nn.ModuleList(nn.Linear(inner, width) for _ in sizes)
        self.bias = nn.Parameter(torch.zeros(sum(sizes)))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor, table: torch.Tensor, rows: torch.Tensor) -> list[torch.Tensor]:
        """Logits of every level of known items (teacher forcing).

        Parameters
        ----------
        states : Tensor, shape [positions, width]
            Of the histories.
        table : Tensor, shape [codes of all levels, width]
            Code vectors.
        rows : Tensor of int64, shape [positions, levels]
            The items' codes as rows of `table`.

        Returns
        -------
        list of Tensor, shape [positions, codes of the level] each
        """
        vectors = table[rows]  # [positions, levels, width]
        prefixes = vectors.cumsum(1) - vectors
        hidden = self.from_state(states)
        return [
            self._logits(level, states, hidden, prefixes[:, level], table) for level in range(rows.shape[1])
        ]

    def begin(self, states: torch.Tensor, table: torch.Tensor) -> HeadState:
        """The empty prefix of every history, states [batch, width]."""
        return HeadState(states, table, torch.zeros_like(states)[:, None])

    def step(
        self, state: HeadState, level: int, codes: torch.Tensor | None, origin: torch.Tensor | None
    ) -> tuple[torch.Tensor, HeadState]:
        """One code more; see :class:`~recbole_unisid.sequence.code_decoder.CodeDecoder`."""
        prefixes = state.prefixes
        if codes is not None and origin is not None:
            last = state.table[self.starts[level - 1] + codes]  # [batch, prefixes, width]
            prefixes = follow(prefixes, origin) + last
        hidden = self.from_state(state.states)[:, None]
        logits = self._logits(level, state.states[:, None], hidden, prefixes, state.table)
        logits = logits.float() / self.temperature
        scores = logits if self.among_children else functional.log_softmax(logits, dim=-1)
        return scores, HeadState(state.states, state.table, prefixes)

    def _logits(
        self,
        level: int,
        states: torch.Tensor,
        hidden: torch.Tensor,
        prefixes: torch.Tensor,
        table: torch.Tensor,
    ) -> torch.Tensor:
        """Logits of a level, [..., width] -> [..., codes]; `hidden` holds the states' part of all levels."""
        inner = self.from_prefix[level](prefixes)
        width = inner.shape[-1]
        inner = functional.gelu(inner + hidden[..., level * width : (level + 1) * width])
        query = states + self.out[level](self.dropout(inner))
        codes = slice(self.starts[level], self.starts[level + 1])
        logits: torch.Tensor = query @ table[codes].T + self.bias[codes]
        return logits
