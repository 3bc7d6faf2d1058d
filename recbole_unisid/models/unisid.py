"""UniSID and its twins: one backbone, one loss menu, four item representations."""

from __future__ import annotations

from typing import Any

import torch

from recbole_unisid.items.initialisation import projection_from_vectors
from recbole_unisid.items.joint import JointTokens
from recbole_unisid.items.representation import (
    ItemRepresentation,
    SemanticTokens,
    TextProjection,
    with_padding,
)
from recbole_unisid.models.code_tables import start_code_table
from recbole_unisid.models.joint import joint_tokens, start_joint_tokens
from recbole_unisid.models.whole_sequence import WholeSequenceRecommender
from recbole_unisid.recbole_adapter.semantics import is_joint


class ItemID(WholeSequenceRecommender):
    """ID only: a learned vector per item (SASRec with this package's training)."""


class UniSID(WholeSequenceRecommender):
    """Unified: semantic tokens of the item's text beside a small ID token."""

    needs = "tokens"

    def _item_representation(self, config: Any, dataset: Any) -> ItemRepresentation:
        semantics = dataset.semantics
        tokens: torch.nn.Module
        if is_joint(config):
            tokens = joint_tokens(config, semantics.vectors)
        else:
            codes = with_padding(torch.from_numpy(semantics.codes))
            tokens = SemanticTokens(codes, semantics.codebook_sizes, config["semantic_dim"])
        return _joined(config, self.n_items - 1, tokens)

    def _initialise_items(self, config: Any, dataset: Any) -> None:
        super()._initialise_items(config, dataset)
        tokens = self.items.semantic
        if isinstance(tokens, JointTokens):
            start_joint_tokens(config, tokens)
        if isinstance(tokens, SemanticTokens):
            start_code_table(config, dataset.semantics, tokens)


class SemanticID(UniSID):
    """Semantic only: the tokens without an ID; items of one tuple score the same."""


class DenseText(WholeSequenceRecommender):
    """The text vector through a trained projection, no codes; `id_dim` above 0 adds the ID token."""

    needs = "vectors"

    def _item_representation(self, config: Any, dataset: Any) -> ItemRepresentation:
        vectors = with_padding(torch.from_numpy(dataset.semantics.vectors))
        text = TextProjection(vectors, config["semantic_dim"])
        return _joined(config, self.n_items - 1, text)

    def _initialise_items(self, config: Any, dataset: Any) -> None:
        super()._initialise_items(config, dataset)
        text = self.items.semantic
        if config["table_init"] == "text" and isinstance(text, TextProjection):
            weight, bias = projection_from_vectors(
                dataset.semantics.vectors, config["semantic_dim"], config["table_scale"]
            )
            text.projection.weight.data.copy_(torch.from_numpy(weight))
            text.projection.bias.data.copy_(torch.from_numpy(bias))


def _joined(config: Any, n_items: int, semantic: torch.nn.Module) -> ItemRepresentation:
    """A semantic part and an ID, as the settings join them."""
    added = config["id_join"] == "add"
    return ItemRepresentation(n_items, semantic, config["semantic_dim"], config["id_dim"], added)
