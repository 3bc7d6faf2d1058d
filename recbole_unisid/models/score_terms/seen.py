"""Items that the history has: whether people take them again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from recbole_unisid.models.score_terms.base import Entries, ScoreTerm, faded


class Seen(ScoreTerm):
    """Whether an item is in the history, whether it is the last, and how lately it came: an offset by age.

    A product of a state and an item's vector is high for the items of the history, so that a model without this
    recommends them again, wanted or not.
    """

    features = ("seen", "seen_last", "seen_lately")

    def __init__(self, n_items: int, rate: float = 0.8) -> None:
        super().__init__()
        self.n_items, self.rate = n_items, rate

    @classmethod
    def from_config(cls, config: Any, dataset: Any) -> Self:
        return cls(dataset.item_num - 1)

    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        return self.write(
            torch.empty(3, len(histories), self.n_items + 1, device=histories.device), histories, lengths
        )

    def write(self, out: Tensor, histories: Tensor, lengths: Tensor) -> Tensor:
        for feature, entries in zip(out.zero_(), self.entries(histories, lengths), strict=True):
            entries.add_to(feature)
        return out

    def entries(self, histories: Tensor, lengths: Tensor) -> list[Entries]:
        rows, places = torch.nonzero(histories, as_tuple=True)
        items, width = histories[rows, places], self.n_items + 1
        once = torch.unique(rows * width + items)
        last = histories.gather(1, lengths[:, None] - 1)[:, 0]
        ends = torch.nonzero(last)[:, 0]
        ones = torch.ones(len(once) + len(ends), device=histories.device)
        return [
            Entries(once // width, once % width, ones[: len(once)]),
            Entries(ends, last[ends], ones[len(once) :]),
            Entries(rows, items, faded(histories, lengths, self.rate)[rows, places]),
        ]

    def append(self, vectors: Tensor | None, count: int) -> None:
        self.n_items += count
