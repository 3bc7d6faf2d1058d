"""Items that were never trained on: what stands for their parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from typing_extensions import Self

#: Cosines that differ by this much weigh as 1 to e; chosen in results/cold-items.md.
TEMPERATURE = 0.03
#: Cosines held at a time.
_HELD = 1 << 24

#: Vectors [n, width] of items by part, the semantic one and the ID; None where items have no such part.
Vectors = Sequence[Tensor | None]


@dataclass
class NewItems:
    r"""Puts means over trained items in the place of untrained ones' parts.

    .. math:: p_j = \sum_{i \in N(j)} w_i\, p_i, \qquad w_i \propto \exp(\cos(t_i, t_j) / 0.03)

    N(j) are the `neighbours` trained items whose cosine with j is highest, by the vectors t that `like` gives of item
    numbers, the semantic parts by default. Without neighbours, a semantic part or a vector of j other than zero, j
    keeps its own semantic part, and its ID is the mean of all trained ones.
    """

    neighbours: int = 0
    like: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """The setting `new_item_neighbours`, where the model has it."""
        return cls(int(config["new_item_neighbours"] or 0) if "new_item_neighbours" in config else 0)

    def __call__(
        self, found: Vectors, parts: Sequence[nn.Module | None], items: Tensor, untrained: Tensor
    ) -> Vectors:
        """What was `found` of items [n] by the `parts`, other rows where they are `untrained`, bool [n_items + 1]."""
        new, (semantic, ids) = untrained[items], parts
        trained = (~untrained).index_fill(0, items.new_zeros(1), False).nonzero().flatten()
        if not new.any() or not len(trained):
            return found
        found = _replaced(found, new, [None, None if ids is None else ids(trained).mean(0, keepdim=True)])
        like = self.like or semantic
        if like is None or semantic is None or not self.neighbours:
            return found
        new = new & like(items).any(1)
        return _replaced(found, new, _means_of_nearest(parts, like, items[new], trained, self.neighbours))


def _replaced(found: Vectors, rows: Tensor, by: Vectors) -> Vectors:
    """What was found, with some rows as given, one for all or one each; in the type of what was found."""
    count = int(rows.sum())
    return [
        part if part is None or given is None else part.index_put((rows,), given.to(part).expand(count, -1))
        for part, given in zip(found, by, strict=True)
    ]


@torch.no_grad()
def _means_of_nearest(
    parts: Sequence[nn.Module | None],
    like: Callable[[Tensor], Tensor],
    new: Tensor,
    trained: Tensor,
    neighbours: int,
) -> Vectors:
    """Weighted means of the parts of trained items, a row a new one."""
    known, means = normalize(like(trained)), [list[Tensor]() for _ in parts]
    for some in torch.split(new, max(1, _HELD // len(trained))):
        cosines, places = (normalize(like(some)) @ known.T).topk(min(neighbours, len(trained)))
        weights = (cosines / TEMPERATURE).softmax(1)[:, :, None]
        for part, rows in zip(parts, means, strict=True):
            if part is not None:
                vectors = part(trained[places].flatten()).view(*places.shape, -1)
                rows.append((vectors * weights).sum(1))
    return [torch.cat(rows) if rows else None for rows in means]
