"""Text without tokens: the item's text vector through a trained linear map (``semantics: text``, ``DenseText``)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from recbole_unisid.items.initialisation import projection_from_vectors
from recbole_unisid.items.part import SemanticPart, with_padding


class TextProjection(SemanticPart):
    """The item's text vector, of [n_items + 1, text width] with padding first, through a trained linear map."""

    needs, grows = "vectors", True
    vectors: Tensor

    def __init__(self, vectors: Tensor, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("vectors", vectors, persistent=True)
        self.projection = nn.Linear(vectors.shape[1], width)

    @classmethod
    def from_config(cls, config: Any, semantics: Any) -> Self:
        return cls(with_padding(torch.from_numpy(semantics.vectors)), config["semantic_dim"])

    def start(self, config: Any, semantics: Any) -> None:
        """Let the projection start as the text's PCA where ``table_init`` is ``text``."""
        if config["table_init"] == "text":
            weight, bias = projection_from_vectors(semantics.vectors, self.width, config["table_scale"])
            self.projection.weight.data.copy_(torch.from_numpy(weight))
            self.projection.bias.data.copy_(torch.from_numpy(bias))

    def forward(self, items: Tensor) -> Tensor:
        projected: Tensor = self.projection(self.vectors[items])
        return projected

    def append(self, content: Tensor) -> None:
        self.vectors = torch.cat([self.vectors, content.to(self.vectors)])
