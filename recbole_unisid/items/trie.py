"""The code tuples of a catalogue as a tree in tensors: which codes may follow which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.errors import UserError


class TrieLevel(NamedTuple):
    """The step from prefixes of one length to those of the next; children of a node are neighbours."""

    start: torch.Tensor  # [nodes + 1]: the children of node n are start[n] .. start[n + 1] - 1
    code: torch.Tensor  # [children]: the code that leads to each, ascending within a parent
    parent: torch.Tensor  # [children]: where from

    def children(self, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """List nodes' children and which are real, both [*nodes, most of any]; child 0 where a node has fewer."""
        first = self.start[nodes]
        count = self.start[nodes + 1] - first
        most = int(count.max()) if count.numel() else 0
        place = torch.arange(most, device=nodes.device)
        real = place < count[..., None]
        return torch.where(real, first[..., None] + place, 0), real


@dataclass(frozen=True)
class CodeTrie:
    """All prefixes of all items' tuples."""

    levels: tuple[TrieLevel, ...]  # one a code of a tuple; the first has one node, the empty prefix
    #: [n_items]: numbers (from 1) of the whole tuples, in the order of the last level's children
    items: torch.Tensor
    #: [n_items + 1, levels]: the child that each item's tuple goes to; row 0 (padding) means nothing
    paths: torch.Tensor

    @staticmethod
    def of(codes: NDArray[np.int64]) -> CodeTrie:
        """Build the tree of a catalogue: row r of the codes [n_items, levels] belongs to item r + 1.

        The size of the tree grows with the items, not with the codebooks. A UserError where items share a tuple: a
        generated one would not say which of them is meant.

        >>> trie = CodeTrie.of(np.array([[1, 0], [0, 2], [1, 3]]))
        >>> trie.levels[0].code.tolist(), trie.levels[1].start.tolist(), trie.items.tolist()
        ([0, 1], [0, 1, 3], [2, 1, 3])
        """
        order = np.lexsort(codes.T[::-1])
        ordered = codes[order]
        fresh = np.ones(len(codes), dtype=bool)  # rows that begin a prefix of the length at hand
        fresh[1:] = False
        node = np.zeros(len(codes), dtype=np.int64)  # of every row, at that length
        levels, paths = [], np.zeros((len(codes) + 1, codes.shape[1]), dtype=np.int64)
        for number, column in enumerate(ordered.T):
            fresh = fresh.copy()
            fresh[1:] |= column[1:] != column[:-1]
            parent = node[fresh]
            start = np.concatenate([[0], np.bincount(parent, minlength=node[-1] + 1).cumsum()])
            levels.append(TrieLevel(*(torch.from_numpy(part) for part in (start, column[fresh], parent))))
            node = fresh.cumsum() - 1
            paths[order + 1, number] = node
        if not fresh.all():
            shared = len(codes) - int((np.bincount(node) == 1).sum())
            raise UserError(
                f"{shared} of {len(codes)} items share their codes with another item, so a list of codes does not "
                "name an item; choose a collision strategy: --collisions=suffix or --collisions=balanced."
            )
        return CodeTrie(tuple(levels), torch.from_numpy(order + 1), torch.from_numpy(paths))

    def to(self, device: torch.device) -> CodeTrie:
        """The same tree on another device."""
        levels = tuple(TrieLevel(*(part.to(device) for part in level)) for level in self.levels)
        return CodeTrie(levels, self.items.to(device), self.paths.to(device))

    def prefixes(self, items: torch.Tensor, number: int) -> torch.Tensor:
        """The nodes that the first `number` codes of some items lead to, the shape of `items`."""
        return torch.zeros_like(items) if number == 0 else self.paths[items, number - 1]
