"""Exact likelihoods of items: of the whole catalogue with shared prefixes, or of some candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from recbole_unisid.items.trie import CodeTrie
from recbole_unisid.models.generative.code_decoder import CodeDecoder
from recbole_unisid.models.generative.families import family_scores, log_softmax_of_families


@dataclass
class _Walk:
    """One walk over the tree, depth first in blocks of neighbouring prefixes.

    Attributes
    ----------
    decoder : CodeDecoder
    trie : CodeTrie
    block : int
        Prefixes a step at most.
    scores : Tensor, shape [batch, n_items + 1]
        Written to.
    """

    decoder: CodeDecoder
    trie: CodeTrie
    block: int
    scores: torch.Tensor

    def below(
        self, number: int, first: int, reached: torch.Tensor, state: Any, origin: torch.Tensor | None
    ) -> None:
        """Score everything below some prefixes of length `number`, which are neighbours.

        Parameters
        ----------
        number : int
            Codes of the prefixes.
        first : int
            The first prefix's node.
        reached : Tensor, shape [batch, prefixes]
            Their log-likelihoods.
        state : object
            Of the step that led to them.
        origin : Tensor of int64, shape [prefixes], or None
            Their parents' places in `state`; None for the empty prefix.
        """
        level, batch = self.trie.levels[number], len(reached)
        for begin in range(0, reached.shape[1], self.block):
            part = reached[:, begin : begin + self.block]
            low, high = first + begin, first + begin + part.shape[1]
            codes = came = None
            if origin is not None:
                codes = self.trie.levels[number - 1].code[low:high].expand(batch, -1)
                came = origin[begin : begin + self.block].expand(batch, -1)
            after = self.decoder.step(state, number, codes, came)
            children = slice(int(level.start[low]), int(level.start[high]))
            parent = level.parent[children] - low  # [children]
            found = part[:, parent] + self._steps(number, after, level.start[low : high + 1].diff(), children)
            if number + 1 == len(self.trie.levels):
                self.scores[:, self.trie.items[children]] = found
            else:
                self.below(number + 1, children.start, found, after, parent)

    def _steps(self, number: int, state: Any, counts: torch.Tensor, children: slice) -> torch.Tensor:
        """Log-likelihoods of the codes to some neighbouring children, [batch, children].

        `counts` are the children of each parent; only children are asked for (:func:`family_scores`).
        """
        level, batch = self.trie.levels[number], len(self.scores)
        asked = counts > 1 if self.decoder.among_children else torch.ones_like(counts, dtype=torch.bool)
        place = asked.cumsum(0) - 1  # of each parent among those asked for
        parents = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        shown = asked[parents]
        users = torch.arange(batch, device=counts.device)[:, None]
        likely = self.decoder.score(state, number, (users, asked.nonzero().flatten()[None]))
        parent = place[parents[shown]]
        found = likely[:, parent, level.code[children][shown]]  # [batch, shown]
        if self.decoder.among_children:
            found = log_softmax_of_families(found, parent, int(asked.sum()))
        steps = found.new_zeros(batch, len(parents))
        steps[:, shown] = found
        return steps


def score_catalogue(
    decoder: CodeDecoder, state: Any, batch: int, trie: CodeTrie, numbers: int = 1 << 24
) -> torch.Tensor:
    """Log-likelihood of every item, every prefix of a history computed once.

    Parameters
    ----------
    decoder : CodeDecoder
        Tells how likely each next code is.
    state : object
        What it needs of the histories.
    batch : int
        Histories.
    trie : CodeTrie
        The catalogue.
    numbers : int
        Numbers a step may hold at once, about: the walk goes in blocks of so many prefixes.

    Returns
    -------
    Tensor, shape [batch, n_items + 1]
        Column 0 (padding) is at ``-inf``.
    """
    device = trie.items.device
    scores = torch.full((batch, len(trie.items) + 1), -torch.inf, device=device)
    walk = _Walk(decoder, trie, max(1, numbers // max(1, batch * decoder.widest)), scores)
    walk.below(0, 0, torch.zeros(batch, 1, device=device), state, None)
    return scores


def score_candidates(decoder: CodeDecoder, state: Any, trie: CodeTrie, items: torch.Tensor) -> torch.Tensor:
    """Log-likelihood of some items of each history.

    Parameters
    ----------
    decoder : CodeDecoder
        Tells how likely each next code is.
    state : object
        What it needs of the histories.
    trie : CodeTrie
        The catalogue.
    items : Tensor of int64, shape [batch, candidates]
        Item numbers; 0 gives a number that means nothing.

    Returns
    -------
    Tensor, shape [batch, candidates]
    """
    batch, candidates = items.shape
    scores = torch.zeros(batch, candidates, device=items.device)
    last: torch.Tensor | None = None
    origin: torch.Tensor | None = None
    for number, level in enumerate(trie.levels):
        state = decoder.step(state, number, last, origin)
        # All begin at the one empty prefix; from then on each goes on from itself.
        nodes = trie.prefixes(items, number)[:, : 1 if number == 0 else candidates]
        _, family = family_scores(decoder, state, number, level, nodes)
        child = trie.paths[items, number]
        place = (child - level.start[nodes])[..., None]  # among its siblings
        scores = scores + family.expand(-1, candidates, -1).gather(2, place)[..., 0]
        last = level.code[child]
        origin = (torch.arange(candidates, device=items.device) * (number > 0)).expand(batch, -1)
    return scores
