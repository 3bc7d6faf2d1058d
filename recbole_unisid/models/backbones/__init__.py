"""The backbones by name: what reads a history of item vectors."""

from __future__ import annotations

from typing import Any

from recbole_unisid.models.backbones.base import Backbone
from recbole_unisid.plugins.loading import named_class

#: Values of the setting `backbone`, and the class of each; ``module:Class`` of the user's own is one, too.
BACKBONES = {
    "transformer": "recbole_unisid.models.backbones.transformer:CausalTransformer",
}


def make_backbone(config: Any, width: int) -> Backbone:
    """The backbone of the setting `backbone`, for item vectors of some width."""
    kind: type[Backbone] = named_class("backbone", config["backbone"] or "transformer", BACKBONES)
    return kind.from_config(config, width)
