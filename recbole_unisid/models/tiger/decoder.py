"""What a model that writes items code by code offers to beams and exact scorers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from recbole_unisid.items.representation import ItemRepresentation
from recbole_unisid.items.trie import CodeTrie, TrieLevel

#: Which prefixes of which histories: two tensors of int64 that index [batch, prefixes] together.
Places = tuple[torch.Tensor, torch.Tensor]


class CodeDecoder(Protocol):
    """Scores of the next code, many prefixes of one user at a time."""

    #: Numbers that one prefix needs at once at most, about: callers bound their memory by it.
    widest: int
    #: Whether the likelihood of a code is one among the codes that lead on to an item (then :meth:`score`
    #: gives logits) or among all codes (then it gives log-probabilities).
    among_children: bool

    def step(self, state: Any, level: int, codes: torch.Tensor | None, origin: torch.Tensor | None) -> Any:
        """Take one code more; returns the state for :meth:`score` and the next step, which asks for `level`, from 0.

        `state` is what the history left, or what the step before returned, and is never changed. `codes` [batch,
        prefixes] are the last of every prefix, `origin` says which prefix of `state` each goes on from; None at level
        0, where the empty prefix is the only one.
        """
        ...

    def score(self, state: Any, level: int, places: Places) -> torch.Tensor:
        """Tell how likely every code of a level is after some of the prefixes, [..., codes of the level].

        `state` is that of the step to this level, and `places` broadcast to [...].
        """
        ...


def follow(kept: torch.Tensor, origin: torch.Tensor) -> torch.Tensor:
    """Put what is kept of prefixes [batch, old, ...] into the order of those that go on from them.

    `origin` [batch, new] are numbers of old ones. A view where there was one: nothing is copied for every
    beam.
    """
    if kept.shape[1] == 1:
        return kept.expand(-1, origin.shape[1], *kept.shape[2:])
    return kept[torch.arange(len(kept), device=kept.device)[:, None], origin]


def children_loss(
    level: TrieLevel, nodes: torch.Tensor, wanted: torch.Tensor, logits: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """Summed cross-entropy of a code among those that lead on to an item, shape [].

    Each position has a prefix at a node [positions], a wanted child [positions] and logits of the level's
    codes [positions, codes]; `smoothing` is the share of the answer's probability given to all children.
    """
    logits = logits.float() if logits.dtype.itemsize < 4 else logits  # exponentials are summed up
    children, real = level.children(nodes)  # [positions, most children]
    family = logits.gather(1, level.code[children])
    total = family.masked_fill(~real, -torch.inf).logsumexp(1)
    answer = logits.gather(1, level.code[wanted][:, None])[:, 0]
    if smoothing:
        mean = family.masked_fill(~real, 0.0).sum(1) / real.sum(1)
        answer = (1 - smoothing) * answer + smoothing * mean
    return (total - answer).sum()


def loss_among_children(
    trie: CodeTrie,
    wanted: torch.Tensor,
    logits: Callable[[int, torch.Tensor], torch.Tensor],
    smoothing: float,
) -> torch.Tensor:
    """Mean over wanted items [targets] of the loss of their codes among those that lead on to an item, shape [].

    `logits` gives those of a level's codes, [asked, codes], for some of the targets, a mask [targets].
    """
    losses = []
    for number, level in enumerate(trie.levels):
        child, nodes = trie.paths[wanted, number], trie.prefixes(wanted, number)
        # A code without an alternative costs nothing and teaches nothing.
        branching = level.start[nodes + 1] - level.start[nodes] > 1
        found = logits(number, branching)
        losses.append(children_loss(level, nodes[branching], child[branching], found, smoothing))
    return torch.stack(losses).sum() / len(wanted)


class CodeWriter(nn.Module):
    """A model of the next item's codes."""

    decoder: CodeDecoder  # goes on from what :meth:`begin` gives
    items: ItemRepresentation  # what an item is to the model, for the report's neighbours

    def loss(
        self, inputs: torch.Tensor, targets: torch.Tensor, users: torch.Tensor | None, smoothing: float
    ) -> torch.Tensor:
        """Mean over targets of an item's negative log-likelihood, in nats.

        Whole sequences and what follows, int64 [batch, length], are padded with 0 on the right; a target of 0 is not
        asked for. `users` [batch] are for architectures that read them.
        """
        raise NotImplementedError

    def begin(self, inputs: torch.Tensor, lengths: torch.Tensor, users: torch.Tensor | None) -> Any:
        """Read histories once, int64 [batch, length]; returns the decoder's state of the empty prefix."""
        raise NotImplementedError
