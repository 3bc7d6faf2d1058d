"""Beam search and exact likelihoods over the tree of existing items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from recbole_unisid.items.trie import CodeTrie, TrieLevel
from recbole_unisid.models.tiger.decoder import CodeDecoder


def family_scores(
    decoder: CodeDecoder, state: Any, number: int, level: TrieLevel, nodes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score the children of each prefix, which stands at a node [batch, prefixes] of a level.

    Among children, one without siblings is certain: the decoder is not even asked for it. So the deep levels of a
    catalogue, where few prefixes branch, cost little. `state` is that of the step to this level. Children and the
    log-likelihoods of their codes are [batch, prefixes, most children], ``-inf`` where a prefix has fewer.
    """
    children, real = level.children(nodes)
    asked = real.sum(-1) > 1 if decoder.among_children else torch.ones_like(nodes, dtype=torch.bool)
    scores = torch.zeros(real.shape, device=nodes.device).masked_fill(~real, -torch.inf)
    places = asked.nonzero(as_tuple=True)
    likely = decoder.score(state, number, (places[0], places[1]))  # [asked, codes]
    found = likely.gather(1, level.code[children[places]]).masked_fill(~real[places], -torch.inf)
    scores[places] = found.log_softmax(-1) if decoder.among_children else found
    return children, scores


def log_softmax_of_families(logits: torch.Tensor, parent: torch.Tensor, parents: int) -> torch.Tensor:
    """Log-probabilities [batch, children] among children of one parent; `parent` [children] is below `parents`."""
    families = parent.expand(len(logits), -1)
    largest = logits.new_full((len(logits), parents), -torch.inf)
    largest = largest.scatter_reduce(1, families, logits, "amax")
    sums = torch.zeros_like(largest).index_add(1, parent, (logits - largest[:, parent]).exp())
    return logits - (largest + sums.log())[:, parent]


def beam_search(
    decoder: CodeDecoder, state: Any, batch: int, trie: CodeTrie, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find likely items, code by code, all users and `width` beams at once; no beam can leave the trie.

    `state` is what the decoder needs of the `batch` histories, computed once. Item numbers and log-likelihoods are
    [batch, width or less], most likely first; 0 and ``-inf`` where a history has fewer beams than the others.
    """
    device = trie.items.device
    scores = torch.zeros(batch, 1, device=device)
    nodes = torch.zeros(batch, 1, dtype=torch.int64, device=device)
    codes: torch.Tensor | None = None
    origin: torch.Tensor | None = None
    for number, level in enumerate(trie.levels):
        state = decoder.step(state, number, codes, origin)
        children, steps = family_scores(decoder, state, number, level, nodes)
        reached = (scores[..., None] + steps).flatten(1)  # [batch, beams * most children]
        scores, chosen = reached.topk(min(width, reached.shape[1]), dim=1)
        nodes, origin = children.flatten(1).gather(1, chosen), chosen // steps.shape[2]
        codes = level.code[nodes]
    items = torch.where(scores > -torch.inf, trie.items[nodes], 0)
    return items, scores


def spread_over_items(items: torch.Tensor, scores: torch.Tensor, n_items: int) -> torch.Tensor:
    """Lay lists out as scores of all items, shape [batch, n_items + 1]; what is not listed is at ``-inf``."""
    spread = scores.new_full((len(items), n_items + 1), -torch.inf)
    spread.scatter_(1, items, scores)  # places without an item write -inf into column 0, padding
    return spread


def share_of_top(listed: torch.Tensor, exact: torch.Tensor, k: int = 10) -> float:
    """Tell how much of the true best k lists hold, whatever their order: a mean over users between 0 and 1.

    The scores of lists, [batch, n_items + 1], are ``-inf`` for what they lack, the exact ones for what is no candidate.
    """
    best, items = exact.topk(min(k, exact.shape[1]), dim=1)
    asked = best > -torch.inf
    held = (listed.gather(1, items) > -torch.inf) & asked
    return float((held.sum(1) / asked.sum(1).clamp(min=1)).mean())


@dataclass
class _Walk:
    """One walk over the tree, depth first in blocks of neighbouring prefixes."""

    decoder: CodeDecoder
    trie: CodeTrie
    block: int  # prefixes a step at most
    scores: torch.Tensor  # [batch, n_items + 1], written to

    def below(
        self, number: int, first: int, reached: torch.Tensor, state: Any, origin: torch.Tensor | None
    ) -> None:
        """Score everything below some neighbouring prefixes of length `number`, the first at node `first`.

        `reached` [batch, prefixes] are their log-likelihoods; `origin` [prefixes] are their parents' places
        in `state`, that of the step that led to them (None for the empty prefix).
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
    """Log-likelihood of every item, every prefix of a history computed once; [batch, n_items + 1].

    Column 0 (padding) is at ``-inf``. `state` and `batch` are those of :func:`beam_search`. A step may hold
    about `numbers` numbers at once: the walk goes in blocks of so many prefixes.
    """
    device = trie.items.device
    scores = torch.full((batch, len(trie.items) + 1), -torch.inf, device=device)
    walk = _Walk(decoder, trie, max(1, numbers // max(1, batch * decoder.widest)), scores)
    walk.below(0, 0, torch.zeros(batch, 1, device=device), state, None)
    return scores


def score_candidates(decoder: CodeDecoder, state: Any, trie: CodeTrie, items: torch.Tensor) -> torch.Tensor:
    """Log-likelihood of some items of each history, [batch, candidates]; that of item 0 means nothing."""
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
