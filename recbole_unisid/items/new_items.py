"""Items that were trained on never or little: what stands for their parts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize
from typing_extensions import Self

LOG = logging.getLogger("recbole_unisid")
#: Cosines that differ by this much weigh as 1 to e; chosen in results/cold-items.md.
TEMPERATURE = 0.03
#: Trained items that a new one is compared with, spread evenly over the catalogue where it has more.
MOST_COMPARED = 1 << 16
#: Cosines, and rows of vectors, held at a time.
_HELD, _ROWS = 1 << 24, 1 << 16
#: Share of the neighbours below which an item stays where it is, and how many items move at most.
LEAST_SHARE, MOST_MOVED = 0.05, 100_000

#: Vectors [n, width] of items by part, the semantic one and the ID; None where items have no such part.
Vectors = Sequence[Tensor | None]


class _Nearest(NamedTuple):
    """The trained items nearest to some others."""

    items: Tensor  # numbers of the others, [n]
    numbers: Tensor  # of the trained ones, [n, neighbours]
    weights: Tensor  # of the trained ones, [n, neighbours]


class _Kept(NamedTuple):
    """The neighbours of all untrained items that have a vector, and what they were found by."""

    nearest: _Nearest
    by: tuple[Callable[[Tensor], Tensor], int]
    untrained: Tensor


class NewItems(nn.Module):
    r"""Puts means over trained items in the place of untrained ones' parts, and moves what `shift` says.

    .. math:: p_j = \sum_{i \in N(j)} w_i\, p_i, \qquad w_i \propto \exp(\cos(t_i, t_j) / 0.03)

    N(j) are the `neighbours` trained items whose cosine with j is highest (of `MOST_COMPARED`), by the vectors t that
    `like` gives of item numbers, the semantic parts by default. Without neighbours, a semantic part or a vector of j
    other than zero, j keeps its own semantic part, and its ID is the mean of all trained ones.

    What `like` gives of an item never changes, so the neighbours are found once and kept while the untrained items are
    the same. Semantic parts are learned: without `like` they are compared at every call.
    """

    shift: Tensor | None

    def __init__(self, neighbours: int = 0) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.like: Callable[[Tensor], Tensor] | None = None
        #: What is added to all parts of items, [n_items + 1, width of all parts]: :func:`shrink_to_neighbours`.
        self.register_buffer("shift", None)
        self._kept: _Kept | None = None

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """The setting `new_item_neighbours`, where the model has it."""
        return cls(int(config["new_item_neighbours"] or 0) if "new_item_neighbours" in config else 0)

    def after_training(
        self, found: Vectors, parts: Sequence[nn.Module | None], items: Tensor, untrained: Tensor | None
    ) -> Vectors:
        """What was `found` of items [n] by the `parts`, moved, and other rows where `untrained`, bool [n_items + 1]."""
        if self.shift is not None:
            widths = [0 if part is None else part.shape[1] for part in found]
            moves = torch.split(self.shift[items], widths, dim=1)
            found = [None if part is None else part + move for part, move in zip(found, moves, strict=True)]
        if untrained is None:
            return found
        new, (semantic, ids) = untrained[items], parts
        trained = (~untrained).index_fill(0, items.new_zeros(1), False).nonzero().flatten()
        if not new.any() or not len(trained):
            return found
        found = _replaced(found, new, [None, None if ids is None else ids(trained).mean(0, keepdim=True)])
        if semantic is None or not self.neighbours:
            return found
        new = new.index_put((new,), (self.like or semantic)(items[new]).any(1))
        numbers, weights = self._neighbours_of(items[new], semantic, trained, untrained)
        return _replaced(found, new, _means(parts, numbers, weights))

    def append(self, count: int) -> None:
        """Take in items that came after training: they are not moved."""
        if self.shift is not None:
            self.shift = nn.functional.pad(self.shift, (0, 0, 0, count))

    def _neighbours_of(
        self, new: Tensor, semantic: nn.Module, trained: Tensor, untrained: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Trained items nearest to new ones [n], and their weights, [n, neighbours] each."""
        if self.like is None:
            return _nearest(semantic, new, trained, self.neighbours)[1:]
        by, kept = (self.like, self.neighbours), self._kept
        if kept is None or kept.by != by or not _same(kept.untrained, untrained):
            others = untrained.nonzero().flatten()  # ascending
            others = others[self.like(others).any(1)]
            kept = _Kept(_nearest(self.like, others, trained, self.neighbours), by, untrained.clone())
            self._kept = kept
        at = torch.searchsorted(kept.nearest.items, new)
        return kept.nearest.numbers[at], kept.nearest.weights[at]


@torch.no_grad()
def treat_untrained_as_new(model: Any, trained: NDArray[np.bool_]) -> None:
    """Make all items of a model but the `trained`, [n_items + 1] with padding first, new once training has ended.

    Nothing changes where new items have no neighbours, or where the split has set its new items apart from the start.
    """
    items = model.items
    never = np.flatnonzero(~trained[1:]) + 1
    wanted = items.semantic is not None and items.new_items.neighbours and items.untrained is None
    if not wanted or not len(never):
        return
    place = next(items.parameters()).device
    items.leave_untrained(torch.from_numpy(np.flatnonzero(trained[1:]) + 1).to(place))
    items.eval()(
        torch.from_numpy(never).to(place)
    )  # neighbours are found here, once, and not by two threads later
    if model.terms is not None:
        model.terms.count_as_new(torch.from_numpy(never).to(place))
    LOG.info("%d items were never trained on: they are new from here on", len(never))


@torch.no_grad()
def shrink_to_neighbours(model: Any, counts: NDArray[np.int64], shrinkage: float) -> None:
    r"""Move a model's items that were trained on little towards their neighbours once training has ended.

    .. math:: p_j \leftarrow p_j + \exp(-n_j / s) \left(
              m_j \frac{\sum_i w_i \lVert p_i \rVert}{\lVert m_j \rVert} - p_j\right)

    n_j are the `counts`, [n_items + 1] with padding first, s is the `shrinkage` (0: nothing moves), m_j the mean that
    :class:`NewItems` makes of the neighbours of j, other than itself: made as long as they are on average, as an item
    that is shorter than others is recommended less. Items of count 0 stay, and those of shares below `LEAST_SHARE`.
    """
    items, new_items = model.items, model.items.new_items
    if not shrinkage or items.semantic is None or not new_items.neighbours:
        return
    shares = np.exp(-counts / shrinkage)
    shares[(counts == 0) | (shares < LEAST_SHARE)] = 0
    place, like = next(items.parameters()).device, new_items.like or items.semantic
    trained, few = (torch.from_numpy(np.flatnonzero(each)).to(place) for each in (counts, shares))
    trained, few = (each[like(each).any(1)] for each in (trained, few))
    if len(trained) < 2 or not 0 < len(few) <= MOST_MOVED:
        if len(few) > MOST_MOVED:
            LOG.warning(
                "%d items have little training: too many to be moved towards their nearest texts", len(few)
            )
        return
    parts = (items.semantic, items.ids)
    near = _nearest(like, few, trained, new_items.neighbours)
    means = _means(parts, near.numbers, near.weights, keep_length=True)
    moves = [mean - part(few) for part, mean in zip(parts, means, strict=True) if mean is not None]
    moved = torch.cat(moves, dim=1) * torch.from_numpy(shares).to(moves[0])[few, None]
    new_items.shift = moved.new_zeros(items.n_items + 1, moved.shape[1]).index_copy(0, few, moved)
    model.train().eval()  # it may hold vectors from before
    LOG.info("%d items have little training: they are moved towards their nearest texts", len(few))


def _same(one: Tensor, other: Tensor) -> bool:
    return one.device == other.device and torch.equal(one, other)


def _replaced(found: Vectors, rows: Tensor, by: Vectors) -> Vectors:
    """What was found, with some rows as given, one for all or one each; in the type of what was found."""
    count = int(rows.sum())
    return [
        part if part is None or given is None else part.index_put((rows,), given.to(part).expand(count, -1))
        for part, given in zip(found, by, strict=True)
    ]


@torch.no_grad()
def _nearest(like: Callable[[Tensor], Tensor], some: Tensor, trained: Tensor, neighbours: int) -> _Nearest:
    """The trained items, ascending, whose cosine with some others, or with some of themselves, is highest."""
    trained = trained[:: -(-len(trained) // MOST_COMPARED)].contiguous()
    known, count = normalize(like(trained)), min(neighbours, len(trained))
    numbers, weights = [], []
    for few in torch.split(some, max(1, _HELD // len(trained))):
        cosines = (normalize(like(few)) @ known.T).masked_fill_(
            ~known.any(1), -2.0
        )  # what has no text comes last
        own = torch.searchsorted(trained, few).clamp(max=len(trained) - 1)[:, None]
        itself = trained[own] == few[:, None]  # is no neighbour of its own
        cosines.scatter_(1, own, cosines.gather(1, own).masked_fill(itself, -torch.inf))
        cosines, places = cosines.topk(count)
        numbers.append(trained[places])
        weights.append((cosines / TEMPERATURE).softmax(1))
    return _Nearest(some, torch.cat(numbers), torch.cat(weights))


@torch.no_grad()
def _means(
    parts: Sequence[nn.Module | None], numbers: Tensor, weights: Tensor, keep_length: bool = False
) -> list[Tensor | None]:
    """Weighted means of the parts of items [n, neighbours], [n, width] each; as long as they are where that is kept."""
    means, held = [list[Tensor]() for _ in parts], max(1, _ROWS // max(1, numbers.shape[1]))
    for some, shares in zip(torch.split(numbers, held), torch.split(weights, held), strict=True):
        for part, rows in zip(parts, means, strict=True):
            if part is not None:
                found, by = part(some.flatten()), shares[:, :, None]
                vectors = found.view(*some.shape, found.shape[1])  # there may be none of them
                mean = (vectors * by).sum(1)
                if keep_length:
                    length = (vectors.norm(dim=2, keepdim=True) * by).sum(1)
                    mean *= length / mean.norm(dim=1, keepdim=True).clamp(min=1e-12)
                rows.append(mean)
    return [torch.cat(rows) if rows else None for rows in means]
