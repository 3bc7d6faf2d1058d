"""The next-item losses, shared by every model so that a comparison compares models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_unisid.config.settings import registered
from recbole_unisid.errors import UserError
from recbole_unisid.models.losses.next_item import Loss
from recbole_unisid.models.losses.wrappers import Lookahead, Smoothed
from recbole_unisid.plugins.loading import named_class


def eligible_items(config: Any, dataset: Any) -> Tensor:
    """The items that may be candidates, int64 [N]: all, or under the cold-item split those that are trained on."""
    if config["split"] != "cold_items":
        return torch.arange(1, dataset.item_num)
    return torch.from_numpy(dataset.split.training_counts(dataset.sequences)).nonzero().flatten()


def make_loss(config: Any, dataset: Any, eligible: Tensor) -> Loss | Smoothed | Lookahead:
    """The loss of the setting `loss`, with label smoothing and the second target that the settings put around it."""
    plain: Loss = named_class("loss", config["loss"], registered("loss"))(config, dataset, eligible)
    loss: Loss | Smoothed = plain
    if share := float(config["label_smoothing"] or 0.0):
        if not plain.shares_candidates:
            raise UserError(
                f"label_smoothing is for softmax losses, not for loss={config['loss']}; leave it out, or choose "
                "sampled_softmax."
            )
        loss = Smoothed(plain, share)
    weight = float(config["lookahead_weight"] or 0.0)
    return Lookahead(loss, weight) if weight else loss
