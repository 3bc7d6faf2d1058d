"""Beam search that only existing items come out of."""

from __future__ import annotations

from typing import Any

import torch

from recbole_unisid.items.trie import CodeTrie
from recbole_unisid.models.generative.code_decoder import CodeDecoder
from recbole_unisid.models.generative.families import family_scores


def beam_search(
    decoder: CodeDecoder, state: Any, batch: int, trie: CodeTrie, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find likely items, code by code, all users and beams at once.

    Parameters
    ----------
    decoder : CodeDecoder
        Tells how likely each next code is.
    state : object
        What the decoder needs of the histories, computed once.
    batch : int
        Histories.
    trie : CodeTrie
        Existing items: no beam can leave it.
    width : int
        Beams a history.

    Returns
    -------
    items : Tensor of int64, shape [batch, width or less]
        Item numbers, most likely first; 0 where a history has fewer beams than the others.
    scores : Tensor of float, same shape
        Log-likelihoods; ``-inf`` where there is no item.
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
    """Tell how much of the true best k lists hold, whatever their order.

    Parameters
    ----------
    listed, exact : Tensor, shape [batch, n_items + 1]
        Scores of lists (``-inf`` for what they lack) and of all items; items that are no candidates are
        at ``-inf`` in `exact`.
    k : int
        Items asked for.

    Returns
    -------
    float
        Between 0 and 1, a mean over the users.
    """
    best, items = exact.topk(min(k, exact.shape[1]), dim=1)
    asked = best > -torch.inf
    held = (listed.gather(1, items) > -torch.inf) & asked
    return float((held.sum(1) / asked.sum(1).clamp(min=1)).mean())
