"""Likelihoods of the codes that lead on from some prefixes."""

from __future__ import annotations

from typing import Any

import torch

from recbole_unisid.items.trie import TrieLevel
from recbole_unisid.models.generative.code_decoder import CodeDecoder


def family_scores(
    decoder: CodeDecoder, state: Any, number: int, level: TrieLevel, nodes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score the children of each prefix.

    Among children, one without siblings is certain: the decoder is not even asked for it. So the deep
    levels of a catalogue, where few prefixes branch, cost little.

    Parameters
    ----------
    decoder : CodeDecoder
        Tells how likely each code is.
    state : object
        Of the step to this level.
    number : int
        The level, from 0.
    level : TrieLevel
        The same, in the tree.
    nodes : Tensor of int64, shape [batch, prefixes]
        Where the prefixes stand.

    Returns
    -------
    children : Tensor of int64, shape [batch, prefixes, most children]
    scores : Tensor, the same shape
        Log-likelihoods of their codes; ``-inf`` where a prefix has fewer children.
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
    """Log-probabilities among children of one parent.

    Parameters
    ----------
    logits : Tensor, shape [batch, children]
    parent : Tensor of int64, shape [children]
        Numbers below `parents`.
    parents : int

    Returns
    -------
    Tensor, shape [batch, children]
    """
    families = parent.expand(len(logits), -1)
    largest = logits.new_full((len(logits), parents), -torch.inf)
    largest = largest.scatter_reduce(1, families, logits, "amax")
    sums = torch.zeros_like(largest).index_add(1, parent, (logits - largest[:, parent]).exp())
    return logits - (largest + sums.log())[:, parent]
