"""T5 over rows of different lengths without padding: the layers, weights and dropout of transformers' T5.

Rows with equally many tokens stand together. What looks at one token (products with weights, norms, dropout) runs over
all tokens of a step at once, attention over the rows of one length at a time, so there is nothing to mask. A head's
query and key weights are multiplied first, and so are its value and output weights:

.. math:: q_i^\\top k_j = x_i^\\top (W_q^\\top W_k) y_j, \\quad
          W_o \\textstyle\\sum_j a_j W_v y_j = (W_o W_v) \\textstyle\\sum_j a_j y_j

so that what is read, :math:`y`, is key and value of all heads as it is. Heads of half the model's width (TIGER's) cost
as much this way as apart; a decoder, which asks from few places, is spared keys and values of the whole history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_unisid.models.tiger.packed_layers import Group, attend, chunked, dropout, feed_forward, unit


def answers(t5: Any, tokens: Tensor, given: Tensor) -> Tensor:
    """States that T5's output reads its answers from, [batch, length, width].

    `tokens` are int64 [batch, longest], padded with 0 on the right, and `given` what the decoder reads, [batch,
    length].
    """
    seen = tokens > 0
    lengths, order = seen.sum(1).sort(stable=True)
    counts = torch.bincount(lengths).tolist()
    groups = [(rows, length) for length, rows in enumerate(counts) if rows]
    read = _encode(t5.encoder, tokens[order][seen[order]], chunked(groups))
    states = _decode(t5.decoder, given[order], read, groups)
    return scaled(t5, states.view(*given.shape, -1)[order.argsort()])


def scaled(t5: Any, states: Tensor) -> Tensor:
    """States of the decoder as the output's weights, which T5 shares with the input, want them."""
    config = t5.config
    scale: float = config.d_model**-0.5
    return states * scale if getattr(config, "scale_decoder_outputs", config.tie_word_embeddings) else states


def _encode(stack: Any, tokens: Tensor, groups: list[Group]) -> Tensor:
    """States of all tokens of all rows, [tokens, width]."""
    rate, bias = _rate(stack), _bias(stack, max(group.read for group in groups))
    states = dropout(stack.embed_tokens(tokens), rate)
    for block in stack.block:
        attention, dense = block.layer
        states = _attend_itself(attention, states, bias, groups, rate)
        states = _feed_forward(dense, states, rate)
    return _finish(stack, states, rate)


def _decode(stack: Any, given: Tensor, read: Tensor, groups: list[tuple[int, int]]) -> Tensor:
    """States of the decoder's tokens [batch, length] as [batch * length, width]; rows stand as `read` has them."""
    rate, (rows, length) = _rate(stack), given.shape
    later = torch.ones(length, length, dtype=torch.bool, device=given.device).triu(1)
    bias = _bias(stack, length).masked_fill(later[:, None], -torch.inf)
    across = chunked(groups, length)
    states = dropout(stack.embed_tokens(given.flatten()), rate)
    for block in stack.block:
        attention, cross, dense = block.layer
        states = _attend_itself(attention, states, bias, chunked([(rows, length)]), rate)
        asks, gives = _products(cross.EncDecAttention, cross.layer_norm.weight, None)
        found = attend(_norm(cross.layer_norm, states), read, (asks, gives), None, across, rate)
        states = states + dropout(found, rate)
        states = _feed_forward(dense, states, rate)
    return _finish(stack, states, rate)


def _rate(stack: Any) -> float:
    return float(stack.dropout.p) if stack.training else 0.0


def _bias(stack: Any, length: int) -> Tensor:
    """What is added to the scores, [asking, heads, read]."""
    bias: Tensor = stack.block[0].layer[0].SelfAttention.compute_bias(length, length)
    return bias[0].transpose(0, 1)


def _finish(stack: Any, states: Tensor, rate: float) -> Tensor:
    last = stack.final_layer_norm
    return dropout(_norm(last, states) * last.weight, rate)


def _attend_itself(layer: Any, states: Tensor, bias: Tensor, groups: Sequence[Group], rate: float) -> Tensor:
    weight = layer.layer_norm.weight
    products = _products(layer.SelfAttention, weight, weight)
    normed = _norm(layer.layer_norm, states)
    return states + dropout(attend(normed, normed, products, bias, groups, rate), rate)


def _products(attention: Any, asking: Tensor, read: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weights that ask, [width, heads * width], and that give, [heads * width, width].

    `asking` and `read` are the scales of the norms of both sides.
    """
    query, key, value = (
        part.weight.unflatten(0, (attention.n_heads, -1)) for part in (attention.q, attention.k, attention.v)
    )  # [heads, head width, width]
    output = attention.o.weight.unflatten(1, (attention.n_heads, -1)).permute(1, 2, 0)
    query = query * asking
    if read is not None:
        key, value = key * read, value * read
    asks = (query.transpose(1, 2) @ key).transpose(0, 1).flatten(1)
    return asks, (value.transpose(1, 2) @ output).flatten(0, 1)


def _feed_forward(layer: Any, states: Tensor, rate: float) -> Tensor:
    dense = layer.DenseReluDense
    inner = dense.wi.weight * layer.layer_norm.weight
    return states + dropout(feed_forward(_norm(layer.layer_norm, states), inner, dense.wo.weight, rate), rate)


def _norm(layer: Any, states: Tensor) -> Tensor:
    """A layer's norm without its scale, which the weights behind it take."""
    return unit(states, layer.variance_epsilon)
