"""The backbones: what reads a history of item vectors."""

from __future__ import annotations

from typing import Any

from recbole_unisid.config.settings import registered
from recbole_unisid.models.backbones.base import Backbone
from recbole_unisid.plugins.loading import named_class


def make_backbone(config: Any, width: int) -> Backbone:
    """The backbone of the setting `backbone`, for item vectors of some width."""
    name = config["backbone"] or "transformer"
    kind: type[Backbone] = named_class("backbone", name, registered("backbone"))
    return kind.from_config(config, width)
