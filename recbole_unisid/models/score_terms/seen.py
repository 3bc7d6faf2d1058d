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
        rates = (1.0, 0.0, self.rate)
        found = torch.zeros(len(rates), len(histories), self.n_items + 1, device=histories.device)
        for feature, rate in zip(found, rates, strict=True):
            feature.scatter_add_(1, histories, faded(histories, lengths, rate))
        found[0].clamp_(max=1)
        found[:, :, 0] = 0
        return found

    def append(self, vectors: Tensor | None, count: int) -> None:
        self.n_items += count
