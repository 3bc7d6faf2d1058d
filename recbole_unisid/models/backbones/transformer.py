"""Causal self-attention over item vectors (SASRec, Kang and McAuley 2018, as S3-Rec writes it)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from recbole_unisid.errors import UserError


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a position sees itself and what came before.

    Parameters
    ----------
    width : int
        Width of the item vectors; need not be a multiple of `heads` (72 = 64 + 8 in UniSID).
    attention_width : int
        Width of queries, keys and values together; a multiple of `heads`.
    heads : int
        Attention heads.
    dropout : float
        Share of attention weights dropped in training.
    """

    def __init__(self, width: int, attention_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if attention_width % heads:
            raise UserError(f"n_heads={heads} must divide attention_dim={attention_width}.")
        self.heads, self.dropout = heads, dropout
        self.query_key_value = nn.Linear(width, 3 * attention_width)
        self.output = nn.Linear(attention_width, width)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Attend, [batch, length, width] -> the same shape."""
        batch, length, _ = states.shape
        projected = self.query_key_value(states).view(batch, length, 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [batch, heads, length, head width]
        # Padding stands on the right: causality alone hides it from every real position.
        context = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout if self.training else 0.0, is_causal=True
        )
        joined = context.transpose(1, 2).reshape(batch, length, -1)  # [batch, length, attention width]
        attended: torch.Tensor = self.output(joined)
        return attended


class Block(nn.Module):
    """Attention and a feed-forward layer, each followed by dropout, residual and layer norm (post-LN)."""

    def __init__(
        self,
        width: int,
        attention_width: int,
        heads: int,
        inner_width: int,
        hidden_dropout: float,
        attention_dropout: float,
        eps: float,
    ) -> None:
        super().__init__()
        self.attention = CausalAttention(width, attention_width, heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, inner_width), nn.GELU(), nn.Linear(inner_width, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(hidden_dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Transform, [batch, length, width] -> the same shape."""
        states = self.attention_norm(states + self.dropout(self.attention(states)))
        transformed: torch.Tensor = self.feed_forward_norm(states + self.dropout(self.feed_forward(states)))
        return transformed


class CausalTransformer(nn.Module):
    """Item vectors of a history to one state a position, which scores the next item.

    Parameters
    ----------
    width : int
        Width of item vectors and of states.
    max_len : int
        Longest history; positions count from the oldest item of it.
    blocks, heads, attention_width, inner_width : int
        Sizes of the transformer.
    hidden_dropout, attention_dropout : float
        Shares dropped in training.
    eps : float
        Of the layer norms.
    """

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
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(hidden_dropout)
        sizes = (width, attention_width, heads, inner_width, hidden_dropout, attention_dropout, eps)
        self.blocks = nn.ModuleList(Block(*sizes) for _ in range(blocks))

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Encode histories.

        Parameters
        ----------
        items : Tensor, shape [batch, length, width]
            Item vectors, padding on the right.

        Returns
        -------
        Tensor, shape [batch, length, width]
            The state after each position; states of padding mean nothing.
        """
        length = items.shape[1]
        states: torch.Tensor = self.dropout(self.norm(items + self.positions.weight[:length]))
        for block in self.blocks:
            states = block(states)
        return states


def initialise(module: nn.Module, deviation: float, generator: torch.Generator | None = None) -> None:
    """Draw linear and embedding weights from N(0, deviation); zero biases; identity layer norms."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=deviation, generator=generator)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
