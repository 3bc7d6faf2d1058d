"""Items that the history has: whether people take them again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from recbole_unisid.models.score_terms.base import ScoreTerm, faded


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
        out.zero_()
        out[0].scatter_(1, histories, 1.0)
        out[1].scatter_(1, histories.gather(1, lengths[:, None] - 1), 1.0)
        out[2].scatter_add_(1, histories, faded(histories, lengths, self.rate))
        out[:, :, 0] = 0
        return out

    def append(self, vectors: Tensor | None, count: int) -> None:
        self.n_items += count
