"""The last transformer layer of RecBole's models at the one position that they read, to the same bits.

SASRec computes its last layer for all positions of a sequence and keeps one. Only keys and values are needed of all.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from recbole.model.layers import TransformerLayer
from recbole.model.sequential_recommender import FDSA, SASRec, SASRecF
from torch import Tensor, nn

from recbole_unisid.recbole_adapter.dropout import drop_at
from recbole_unisid.recbole_adapter.wanted_rows import Wanted

LOG = logging.getLogger("recbole_unisid")

#: Smaller batches are left to RecBole: products of a few rows have bits of their own.
_FEWEST = 64


def keep_last_position(network: nn.Module) -> None:
    """Let a model compute its last layer where it reads it, if it is one of RecBole's that read one position alone.

    The model and its layers are changed in place; a class that is derived from RecBole's is left as it is.
    """
    kind = type(network)
    if kind in (SASRec, SASRecF, FDSA):
        network.__class__ = type(kind.__name__, (_LastRead, kind), {})
        for layer in _last_layers(network):
            layer.__class__ = LastPositionLayer
            layer.equal = {}


def _last_layers(network: Any) -> list[Any]:
    names = ("trm_encoder", "item_trm_encoder", "feature_trm_encoder")
    return [getattr(network, name).layer[-1] for name in names if hasattr(network, name)]


class _LastRead:
    """What a model does besides: it tells its last layers which position it reads."""

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        layers = _last_layers(self)
        for layer in layers:
            layer.positions = item_seq_len - 1
        try:
            found: Tensor = super().forward(item_seq, item_seq_len)  # type: ignore[misc]
        finally:
            for layer in layers:
                layer.positions = None
        return found

    def gather_indexes(self, output: Tensor, gather_index: Tensor) -> Tensor:
        if output.dim() == 2:  # of a layer that gave this position alone
            return output
        found: Tensor = super().gather_indexes(output, gather_index)  # type: ignore[misc]
        return found


class LastPositionLayer(TransformerLayer):
    """A layer that gives [batch, width], the rows at `positions`, where they are known."""

    positions: Tensor | None = None
    #: For each kind of input that was met, whether both ways gave the same bits.
    equal: dict[tuple[Any, ...], bool]

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        """RecBole's forward, at one position a sequence where it is asked for and has the same bits."""
        x, positions = hidden_states, self.positions
        if positions is not None and _is_plain(x) and len(x) >= _FEWEST:
            kind = (x.shape, self.training, torch.is_grad_enabled(), torch.get_num_threads())
            if kind not in self.equal:
                self.equal[kind] = self._is_equal(x, attention_mask, positions)
                if not self.equal[kind]:
                    LOG.info("the last layer is computed whole: its rows are rounded in another way here")
            if self.equal[kind]:
                return self.at(x, attention_mask, positions)
        whole: Tensor = super().forward(x, attention_mask)
        return whole

    def at(self, x: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """One position of each sequence, [batch, width]; `x` and `mask` are those of the whole layer."""
        attention, feed = self.multi_head_attention, self.feed_forward
        batch, length, width = x.shape
        wanted = Wanted(positions, length)

        def joined(part: Any, layer: nn.Linear, dropout: nn.Dropout, rows: Tensor, before: Tensor) -> Tensor:
            dropped = drop_at(wanted.linear(rows, layer).unsqueeze(1), positions, length, dropout)
            return wanted.norm(dropped.squeeze(1) + before, part.LayerNorm)

        row, query, keys, values = wanted.reads(x, attention)
        keys, values = (attention.transpose_for_scores(whole).transpose(1, 2) for whole in (keys, values))
        scores = wanted.times(attention.transpose_for_scores(query), keys.transpose(2, 3))
        seen = mask.gather(2, positions.view(-1, 1, 1, 1).expand(-1, 1, 1, length)).squeeze(2)
        shares = attention.softmax(scores / attention.sqrt_attention_head_size + seen)
        shares = drop_at(shares, positions, length, attention.attn_dropout)
        context = wanted.times(shares, values).view(batch, width)
        hidden = joined(attention, attention.dense, attention.out_dropout, context, row)
        inner = feed.intermediate_act_fn(wanted.linear(hidden, feed.dense_1))
        return joined(feed, feed.dense_2, feed.dropout, inner, hidden)

    def _is_equal(self, x: Tensor, mask: Tensor, positions: Tensor) -> bool:
        """Whether outputs, gradients and the state of the generator are those of the whole layer, to the last bit."""
        given = x.detach().requires_grad_()
        learned = [given, *(part for part in self.parameters() if part.requires_grad)]
        slope = torch.randn(len(x), x.shape[2], generator=torch.Generator().manual_seed(0))
        found = []
        with torch.random.fork_rng(devices=[]):
            state = torch.get_rng_state()
            for whole in (True, False):
                torch.set_rng_state(state)
                if whole:
                    rows = super().forward(given, mask)[torch.arange(len(x)), positions]
                else:
                    rows = self.at(given, mask, positions)
                slopes = torch.autograd.grad(rows, learned, slope) if rows.requires_grad else ()
                found.append((rows.detach(), torch.get_rng_state(), *slopes))
        return all(torch.equal(wanted, ours) for wanted, ours in zip(*found, strict=True))


def _is_plain(x: Tensor) -> bool:
    whole = x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous()
    return whole and not torch.is_autocast_enabled("cpu")
