"""Causal self-attention over item vectors (SASRec, Kang and McAuley 2018, as S3-Rec writes it)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from recbole_unisid.errors import UserError
from recbole_unisid.models.backbones.base import Backbone


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a position sees itself and what came before.

    `attention_width`, of queries, keys and values together, is a multiple of `heads`; `width`, of the item vectors,
    need not be (72 = 64 + 8 in UniSID). `dropout` is the share of attention weights dropped in training.
    """

    def __init__(self, width: int, attention_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if attention_width % heads:
            raise UserError(f"n_heads={heads} must divide attention_dim={attention_width}.")
        self.heads, self.dropout = heads, dropout
        self.query_key_value = nn.Linear(width, 3 * attention_width)
        self.output = nn.Linear(attention_width, width)

    def forward(self, states: Tensor) -> Tensor:
        """Attend, [batch, length, width] -> the same shape."""
        batch, length, _ = states.shape
        projected = self.query_key_value(states).view(batch, length, 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [batch, heads, length, head width]
        # Padding stands on the right: causality alone hides it from every real position.
        context = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout if self.training else 0.0, is_causal=True
        )
        attended: Tensor = self.output(context.transpose(1, 2).reshape(batch, length, -1))
        return attended


class Block(nn.Module):
    """Attention and a feed-forward layer, each followed by dropout, residual and layer norm (post-LN)."""

    def __init__(self, attention: CausalAttention, inner_width: int, dropout: float, eps: float) -> None:
        super().__init__()
        width = attention.output.out_features
        self.attention, self.attention_norm = attention, nn.LayerNorm(width, eps=eps)
        layers = nn.Linear(width, inner_width), nn.GELU(), nn.Linear(inner_width, width)
        self.feed_forward, self.feed_forward_norm = nn.Sequential(*layers), nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Transform, [batch, length, width] -> the same shape."""
        states = self.attention_norm(states + self.dropout(self.attention(states)))
        transformed: Tensor = self.feed_forward_norm(states + self.dropout(self.feed_forward(states)))
        return transformed


class CausalTransformer(Backbone):
    """Blocks of causal self-attention (``backbone: transformer``); positions count from the oldest item."""

    def __init__(
        self,
        width: int,
        max_len: int,
        blocks: int,
        heads: int,
        attention_width: int,
        inner_width: int,
        hidden_dropout: float,
        attention_dropout: float,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.positions = nn.Embedding(max_len, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=eps), nn.Dropout(hidden_dropout)
        self.blocks = nn.ModuleList()
        for _ in range(blocks):
            attention = CausalAttention(width, attention_width, heads, attention_dropout)
            self.blocks.append(Block(attention, inner_width, hidden_dropout, eps))

    @classmethod
    def from_config(cls, config: Any, width: int) -> Self:
        """See :class:`Backbone`."""
        longest, layers, heads = config["MAX_ITEM_LIST_LENGTH"], config["n_layers"], config["n_heads"]
        widths = config["attention_dim"], config["inner_size"]
        dropout = config["hidden_dropout_prob"], config["attn_dropout_prob"]
        return cls(width, longest, layers, heads, *widths, *dropout, float(config["layer_norm_eps"]))

    def forward(self, items: Tensor) -> Tensor:
        """See :class:`Backbone`."""
        states: Tensor = self.dropout(self.norm(items + self.positions.weight[: items.shape[1]]))
        for block in self.blocks:
            states = block(states)
        return states
