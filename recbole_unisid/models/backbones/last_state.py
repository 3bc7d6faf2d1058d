"""The state after a history's last item alone: of the last block only what that state needs, for the export."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_unisid.models.backbones.transformer import (
    Block,
    CausalAttention,
    CausalLowPass,
    CausalTransformer,
)


def last_states(backbone: nn.Module, items: Tensor, lengths: Tensor) -> Tensor:
    """Encode histories, float32 [batch, length, width] padded on the right and int64 [batch] -> [batch, width].

    In evaluation mode the same as the backbone's states at ``lengths - 1``, to rounding. The last block of a
    transformer that is written here asks with that position alone; of any other backbone, a user's own class among
    them, all states are computed and one is taken.
    """
    at = (lengths - 1)[:, None]
    block = _last_block(backbone)
    if block is None or not isinstance(backbone, CausalTransformer):
        return _pick(backbone(items), at).squeeze(1)
    if backbone.positions is not None:
        items = items + backbone.positions.weight[: items.shape[1]]
    states: Tensor = backbone.norm(items)
    for earlier in backbone.blocks[:-1]:
        states = earlier(states)
    last = _pick(states, at)  # [batch, 1, width]
    lags = at - torch.arange(states.shape[1], device=at.device)  # [batch, length]; below 0 is padding
    mixed: Tensor = block.attention_norm(last + _attend(block.attention, states, last, lags))
    if block.low_pass is not None:
        mixed = mixed + block.share * (_filter(block.low_pass, states, last, lags) - mixed)
    encoded: Tensor = block.feed_forward_norm(mixed + block.feed_forward(mixed))
    return encoded.squeeze(1)


def _last_block(backbone: nn.Module) -> Block | None:
    """The last block of a transformer; None where it, or what surrounds it, is not the one that is written here."""
    if type(backbone).forward is not CausalTransformer.forward:
        return None
    blocks: Any = backbone.blocks
    block = blocks[-1]
    ours = type(block) is Block and type(block.attention) is CausalAttention
    return block if ours and type(block.low_pass) in (type(None), CausalLowPass) else None


def _pick(states: Tensor, at: Tensor) -> Tensor:
    """The states at positions, [batch, length, width] and [batch, 1] -> [batch, 1, width]."""
    return states.gather(1, at[:, :, None].expand(-1, -1, states.shape[-1]))


def _attend(attention: CausalAttention, states: Tensor, last: Tensor, lags: Tensor) -> Tensor:
    """What the last position attends to, [batch, 1, width]; see :class:`CausalAttention`."""
    weights, biases = attention.query_key_value.weight.chunk(3), attention.query_key_value.bias.chunk(3)
    head = len(weights[0]) // attention.heads
    query, key, value = (
        functional.linear(rows, weight, bias).view(*rows.shape[:2], attention.heads, head).transpose(1, 2)
        for rows, weight, bias in zip((last, states, states), weights, biases, strict=True)
    )  # [batch, heads, 1 or length, head width]
    scores = query @ key.transpose(2, 3) / math.sqrt(head)
    context = scores.masked_fill((lags < 0)[:, None, None], -math.inf).softmax(-1) @ value
    attended: Tensor = attention.output(context.transpose(1, 2).flatten(2))
    return attended


def _filter(low_pass: CausalLowPass, states: Tensor, last: Tensor, lags: Tensor) -> Tensor:
    """What the last position's filter gives, [batch, 1, width]; see :class:`CausalLowPass`."""
    taps = len(low_pass.logits)
    logits = low_pass.logits[lags.clamp(0, taps - 1)].masked_fill((lags < 0) | (lags >= taps), -math.inf)
    low = logits.softmax(-1)[:, None] @ states
    filtered: Tensor = low_pass.norm(last + low + low_pass.gain.square() * (last - low))
    return filtered
