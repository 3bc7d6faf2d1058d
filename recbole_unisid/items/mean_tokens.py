"""Long unordered codes to one vector an item: the mean of their vectors (RPG, arXiv 2506.05781, section 2.2)."""

from __future__ import annotations

import torch

from recbole_unisid.items.representation import SemanticTokens


class MeanTokens(SemanticTokens):
    """The mean of one learned vector per code: as large with 32 digits as with 4.

    Parameters
    ----------
    codes, codebook_sizes, width
        As in :class:`SemanticTokens`.
    """

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Represent items, int64 [n] -> [n, width]."""
        return super().forward(items) / self.rows.shape[1]
