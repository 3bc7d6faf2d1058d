"""What reads a history: item vectors to states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self


class Backbone(nn.Module, ABC):
    """Item vectors of a history to one state a position, which scores the next item.

    A subclass is a choice of the setting `backbone`. A state follows the items up to its position alone: not later
    ones, not padding, which stands on the right, and not other histories of the batch.
    """

    @classmethod
    @abstractmethod
    def from_config(cls, config: Any, width: int) -> Self:
        """Build a backbone for item vectors of some width, for ``MAX_ITEM_LIST_LENGTH`` items at most."""

    @abstractmethod
    def forward(self, items: Tensor) -> Tensor:
        """Encode histories, float32 [batch, length, width] -> the state after each position, of the same shape."""

    def start(self) -> None:
        """Set the weights that do not start at random; called once all of the model's have been drawn."""


def initialise(module: nn.Module, deviation: float, generator: torch.Generator | None = None) -> None:
    """Draw linear and embedding weights from N(0, deviation); zero biases; identity layer norms."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=deviation, generator=generator)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class TransformerSettings:
    """What the settings say of a transformer; `taps` 0 is one without a low-pass."""

    max_len: int
    blocks: int
    heads: int
    attention_width: int
    inner_width: int
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    eps: float = 1e-12
    positions: bool = True
    taps: int = 0
    scale: float = 4.0  # of the exponential that the low-pass starts as, in positions
    share: float = 0.7  # of the low-pass beside attention

    @classmethod
    def from_config(cls, config: Any, filtered: bool = False) -> Self:
        """Read the settings of a model."""
        attention = config["attention_dim"] or config["n_heads"] * config["head_dim"]
        sizes = config["n_layers"], config["n_heads"], attention, config["inner_size"]
        dropouts = config["hidden_dropout_prob"], config["attn_dropout_prob"]
        eps, positions = float(config["layer_norm_eps"]), config["positions"] != "none"
        taps = config["filter_taps"] if filtered else 0
        low_pass = taps, config["filter_scale"], config["filter_mix"]
        return cls(config["MAX_ITEM_LIST_LENGTH"], *sizes, *dropouts, eps, positions, *low_pass)
