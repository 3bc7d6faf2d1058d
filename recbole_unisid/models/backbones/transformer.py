"""Causal self-attention over item vectors (SASRec, Kang and McAuley 2018, as S3-Rec writes it)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from recbole_unisid.errors import UserError
from recbole_unisid.models.backbones.base import Backbone, sizes_from


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a position sees itself and what came before."""

    def __init__(self, width: int, attention_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if attention_width % heads:
            raise UserError(f"n_heads={heads} must divide attention_dim={attention_width}.")
        self.heads, self.dropout = heads, dropout
        self.query_key_value = nn.Linear(width, 3 * attention_width)
        self.output = nn.Linear(attention_width, width)

    def forward(self, states: Tensor) -> Tensor:
        """Attend, [batch, length, width] -> the same shape; causality hides padding, on the right."""
        batch, length, _ = states.shape
        projected = self.query_key_value(states).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = projected  # each [batch, heads, length, head width]
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
        states = self.mix(states)
        transformed: Tensor = self.feed_forward_norm(states + self.dropout(self.feed_forward(states)))
        return transformed

    def mix(self, states: Tensor) -> Tensor:
        """Mix positions, [batch, length, width] -> the same shape."""
        attended: Tensor = self.attention_norm(states + self.dropout(self.attention(states)))
        return attended


class CausalTransformer(Backbone):
    """Blocks of causal self-attention (``backbone: transformer``); positions, if any, count from the oldest item."""

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
        positions: bool = True,
        block: Callable[[CausalAttention, int, float, float], Block] = Block,
    ) -> None:
        super().__init__()
        self.positions = nn.Embedding(max_len, width) if positions else None
        self.norm, self.dropout = nn.LayerNorm(width, eps=eps), nn.Dropout(hidden_dropout)
        self.blocks = nn.ModuleList()
        for _ in range(blocks):
            attention = CausalAttention(width, attention_width, heads, attention_dropout)
            self.blocks.append(block(attention, inner_width, hidden_dropout, eps))

    @classmethod
    def from_config(cls, config: Any, width: int) -> Self:
        """See :class:`Backbone`."""
        return cls(width, *sizes_from(config))

    def forward(self, items: Tensor) -> Tensor:
        """See :class:`Backbone`."""
        if self.positions is not None:
            items = items + self.positions.weight[: items.shape[1]]
        states: Tensor = self.dropout(self.norm(items))
        for block in self.blocks:
            states = block(states)
        return states
