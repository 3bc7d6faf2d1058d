"""UniSID and its twins: one backbone, one loss menu, four item representations."""

from __future__ import annotations

from typing import Any

from recbole_unisid.items.part import SemanticPart, part_named
from recbole_unisid.items.text import TextProjection
from recbole_unisid.models.whole_sequence import WholeSequenceRecommender


class ItemID(WholeSequenceRecommender):
    """ID only: a learned vector per item (SASRec with this package's training)."""


class UniSID(WholeSequenceRecommender):
    """Unified: semantic tokens of the item's text, or what else `semantics` names, beside a small ID token."""

    @classmethod
    def semantic_part(cls, config: Any) -> type[SemanticPart] | None:
        """What the setting `semantics` names."""
        return part_named(config["semantics"])


class SemanticID(UniSID):
    """Semantic only: the tokens without an ID; items of one tuple score the same."""


class DenseText(WholeSequenceRecommender):
    """The text vector through a trained projection, no codes; `id_dim` above 0 adds the ID token."""

    @classmethod
    def semantic_part(cls, config: Any) -> type[SemanticPart] | None:
        """The projection, whatever `semantics` says."""
        return TextProjection
