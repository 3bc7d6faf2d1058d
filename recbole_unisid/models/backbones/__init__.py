"""The backbones: what reads a history of item vectors."""

from __future__ import annotations

from typing import Any

from recbole_unisid.config.settings import registered
from recbole_unisid.models.backbones.base import Backbone
from recbole_unisid.plugins.loading import named_class


def chosen_backbone(config: Any) -> type[Backbone]:
    """The class of the setting `backbone`."""
    return named_class("backbone", config["backbone"] or "transformer", registered("backbone"))
