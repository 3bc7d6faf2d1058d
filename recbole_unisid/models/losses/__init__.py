"""The next-item losses by name, shared by every model so that a comparison compares models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_unisid.models.losses.lookahead import Lookahead
from recbole_unisid.models.losses.next_item import Loss
from recbole_unisid.plugins.loading import named_class

#: Values of the setting `loss`, and the class of each; ``module:Class`` of the user's own is one, too.
LOSSES = {
    "sampled_softmax": "recbole_unisid.models.losses.next_item:SampledSoftmax",
    "in_batch_softmax": "recbole_unisid.models.losses.in_batch:InBatchSoftmax",
    "mixed_softmax": "recbole_unisid.models.losses.in_batch:MixedSoftmax",
    "softmax": "recbole_unisid.models.losses.softmax:Softmax",
    "bce": "recbole_unisid.models.losses.binary:Bce",
    "gbce": "recbole_unisid.models.losses.binary:Gbce",
}


def eligible_items(config: Any, dataset: Any) -> Tensor:
    """The items that may be candidates, int64 [N]: all, or under the cold-item split those that are trained on."""
    if config["split"] != "cold_items":
        return torch.arange(1, dataset.item_num)
    return torch.from_numpy(dataset.split.training_counts(dataset.sequences)).nonzero().flatten()


def make_loss(config: Any, dataset: Any, eligible: Tensor) -> Loss | Lookahead:
    """The loss of the settings `loss` and `lookahead_weight`, of the items that are eligible as candidates."""
    loss: Loss = named_class("loss", config["loss"], LOSSES)(config, dataset, eligible)
    weight = float(config["lookahead_weight"] or 0.0)
    return Lookahead(loss, weight) if weight else loss
