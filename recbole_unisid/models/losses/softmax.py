"""Cross-entropy over the whole catalogue."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_unisid.models.losses.next_item import Candidates, Loss, Positions, shared_softmax_loss


class Softmax(Loss):
    """Cross-entropy of the target among all items that are eligible."""

    offsets: Tensor

    def __init__(self, config: Any, dataset: Any, eligible: Tensor) -> None:
        super().__init__(config, dataset, eligible)
        offsets = torch.full((dataset.item_num - 1,), -torch.inf)
        offsets[eligible - 1] = 0.0
        self.register_buffer("offsets", offsets, persistent=False)

    def draw(self, targets: Tensor) -> Candidates:
        """Nothing is drawn."""
        return Candidates(None)

    def forward(self, positions: Positions) -> Tensor:
        states, items, targets = positions.states, positions.vectors, positions.targets
        hits = torch.arange(len(targets), device=targets.device), targets - 1
        return shared_softmax_loss(states, (states * items[targets]).sum(-1), items[1:], self.offsets, hits)
