"""BSARec and WEARec as their papers train them: prefix rows padded on the left, a softmax over all items."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_unisid.errors import UserError
from recbole_unisid.models.backbones.base import initialise
from recbole_unisid.models.backbones.dropout import FastDropout
from recbole_unisid.models.losses.next_item import shared_softmax_loss
from recbole_unisid.models.whole_sequence import OwnSequential


def fourier_basis(length: int) -> Tensor:
    r"""The real orthonormal Fourier basis U, [length, length]: 1, cos, sin, cos, sin, ... of ascending frequency.

    Row r has frequency (r + 1) // 2; odd rows are cosines. With a real gain for each frequency,
    :math:`U^\top \mathrm{diag}(g)\, U x` is what a real FFT, the product and the inverse give.
    """
    row, place = torch.arange(length)[:, None], torch.arange(length)
    angle = 2 * math.pi * ((row + 1) // 2 * place).double() / length
    waves = torch.where((row % 2 == 1) | (row == 0), angle.cos(), angle.sin())
    return functional.normalize(waves, dim=1).float()


class PublishedBlock(nn.Module):
    """A mix of positions and a feed-forward layer, each with dropout, residual and layer norm (post-LN)."""

    basis: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, self.heads, inner = config["hidden_size"], config["n_heads"], config["inner_size"]
        if width % self.heads:
            raise UserError(f"n_heads={self.heads} must divide hidden_size={width}.")
        self.dropout, self.share = FastDropout(config["hidden_dropout_prob"]), config["filter_mix"]
        self.layer_norm = partial(nn.LayerNorm, width, eps=float(config["layer_norm_eps"]))
        self.filter_norm, self.norm = self.layer_norm(), self.layer_norm()
        self.feed_forward = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        self.register_buffer("basis", fourier_basis(config["MAX_ITEM_LIST_LENGTH"]), persistent=False)

    def forward(self, states: Tensor, real: Tensor, newest: bool) -> Tensor:
        """Transform [batch, length, width], `real` [batch, length] items; `newest`: to the last state alone."""
        mixed = self.mix(states, real, newest)
        transformed: Tensor = self.norm(self.dropout(self.feed_forward(mixed), mixed))
        return transformed

    def mix(self, states: Tensor, real: Tensor, newest: bool) -> Tensor:
        """Mix positions; see :meth:`forward`."""
        raise NotImplementedError


class BSARecBlock(PublishedBlock):
    r"""Self-attention beside a low-pass over the whole row, padding included.

    .. math:: \mathrm{LFC}(x) + \beta^2 (x - \mathrm{LFC}(x)), \qquad
              \alpha\, \mathrm{filter}(x) + (1 - \alpha)\, \mathrm{attention}(x)

    LFC keeps the c // 2 + 1 lowest frequencies. A position sees itself and items before it; padding, as in the
    authors' code, sees the whole row.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        width = config["hidden_size"]
        self.query_key_value, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attention_dropout, self.attention_norm = (
            FastDropout(config["attn_dropout_prob"]),
            self.layer_norm(),
        )
        self.beta, self.rows = nn.Parameter(torch.randn(width)), 2 * (config["filter_cutoff"] // 2) + 1

    def mix(self, states: Tensor, real: Tensor, newest: bool) -> Tensor:
        waves, here = self.basis[: self.rows], states[:, -1:] if newest else states
        low = ((waves[:, -1:] if newest else waves).T @ (waves @ states)).to(here)
        filtered = self.filter_norm(self.dropout(torch.lerp(low, here, self.beta.square()), here))
        attended = self.output(self.attend_newest(states, real) if newest else self.attend(states, real))
        return torch.lerp(self.attention_norm(self.dropout(attended, here)), filtered, self.share)

    def attend(self, states: Tensor, real: Tensor) -> Tensor:
        """Give what every position gathers, [batch, length, width]."""
        batch, length, width = states.shape
        parts = self.query_key_value(states).chunk(3, dim=-1)
        query, key, value = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)
        hidden = real[:, :, None] & ~(real[:, None] & real.new_ones(length, length).tril())
        scores = (query @ key.mT / math.sqrt(query.shape[-1])).masked_fill_(hidden[:, None], -torch.inf)
        context: Tensor = self.attention_dropout(scores.softmax(-1)) @ value
        return context.transpose(1, 2).reshape(batch, length, width)

    def attend_newest(self, states: Tensor, real: Tensor) -> Tensor:
        """Give what the newest position gathers, [batch, 1, width], without keys and values of any position.

        The query goes through the keys' weights (their bias moves all scores alike), the result through the values'.
        """
        batch, _, width = states.shape
        weights = self.query_key_value.weight.view(3, self.heads, -1, width)  # [3, heads, head width, width]
        bias = self.query_key_value.bias.view(3, self.heads, -1)
        query = torch.einsum("bw,hdw->bhd", states[:, -1], weights[0]) + bias[0]
        scores = torch.einsum("bhd,hdw->bhw", query / math.sqrt(query.shape[-1]), weights[1]) @ states.mT
        hidden = real[:, -1:] & ~real  # [batch, length]
        attention = self.attention_dropout(scores.masked_fill(hidden[:, None], -torch.inf).softmax(-1))
        context: Tensor = torch.einsum("bhw,hdw->bhd", attention @ states, weights[2])
        context = context + attention.sum(-1, keepdim=True) * bias[2]  # dropout leaves another sum than 1
        return context.reshape(batch, 1, width)


class WEARecBlock(PublishedBlock):
    r"""A filter that follows the row's mean beside a Haar wavelet whose details are weighed; no attention.

    With :math:`(s, o) = \mathrm{MLP}(\mathrm{mean}(x))` for each head and frequency, Fourier coefficients become
    :math:`X g (1 + s) + b + o`, and a pair of neighbours :math:`m \pm d` becomes :math:`m \pm w d`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        width, length, deviation = config["hidden_size"], len(self.basis), config["initializer_range"]
        if length % 2:
            raise UserError(f"WEARec takes positions in pairs: MAX_ITEM_LIST_LENGTH={length} must be even.")
        shape = self.heads, length // 2 + 1
        self.adapt = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2 * math.prod(shape)))
        self.gain, self.bias = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.full(shape, -0.1))
        self.detail = nn.Parameter(torch.randn(length // 2, width) * deviation)

    def mix(self, states: Tensor, real: Tensor, newest: bool) -> Tensor:
        batch, length, width = states.shape
        here, waves = (states[:, -1:], self.basis[:, -1:]) if newest else (states, self.basis)
        scale, shift = self.adapt(states.mean(1)).view(batch, self.heads, -1, 2).unbind(-1)
        frequency = (torch.arange(length, device=states.device) + 1) // 2
        gain, bias = (part[..., frequency].mT for part in (self.gain * (1 + scale), self.bias + shift))
        # The published bias adds to real parts: in this basis to cosines, as the transform of (sqrt(length), 0, ...).
        bias = bias * self.basis[:, :1] * math.sqrt(length)
        found = (self.basis @ states).view(batch, length, self.heads, -1) * gain[..., None] + bias[..., None]
        filtered = (waves.T @ found.view(batch, length, width)).to(here)
        pairs = (states[:, -2:] if newest else states).view(batch, -1, 2, width)
        mean, half = pairs.mean(2), (pairs[:, :, 0] - pairs[:, :, 1]) / 2 * self.detail[-pairs.shape[1] :]
        local = torch.stack([mean + half, mean - half], dim=2).view(batch, -1, width)[:, -here.shape[1] :]
        mixed: Tensor = self.filter_norm(self.dropout(torch.lerp(local, filtered, self.share), here))
        return mixed


class PublishedRecommender(OwnSequential):
    """Embeddings, blocks of one kind, and the newest position's state times the items' vectors.

    Positions count from the newest item: RecBole's rows, padded on the right, are moved to the right.
    """

    block: type[PublishedBlock]

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        width = config["hidden_size"]
        self.item_embedding = nn.Embedding(self.n_items, width, padding_idx=0)
        self.positions = nn.Embedding(self.max_seq_length, width)
        self.norm = nn.LayerNorm(width, eps=float(config["layer_norm_eps"]))
        self.dropout = FastDropout(config["hidden_dropout_prob"])
        self.blocks = nn.ModuleList(self.block(config) for _ in range(config["n_layers"]))
        self.apply(partial(initialise, deviation=config["initializer_range"]))
        nn.init.zeros_(self.item_embedding.weight[0])

    def forward(self, interaction: Any) -> Tensor:
        """Encode the histories of a batch, [batch, width]."""
        histories, longest = interaction[self.ITEM_SEQ], self.max_seq_length
        place = torch.arange(longest, device=histories.device) + interaction[self.ITEM_SEQ_LEN][:, None]
        histories = functional.pad(histories, (0, longest - histories.shape[1])).gather(1, place % longest)
        states: Tensor = self.dropout(self.norm(self.item_embedding(histories) + self.positions.weight))
        for block in self.blocks:
            states = block(states, histories > 0, newest=block is self.blocks[-1])
        return states[:, -1]

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Mean cross-entropy of the rows' targets among all items, shape []."""
        states, targets = self(interaction), interaction[self.POS_ITEM_ID]
        scores = (states * self.item_embedding(targets)).sum(-1)
        offsets = states.new_zeros(self.n_items).index_fill(0, targets.new_zeros(1), -torch.inf)  # of padding
        hits = torch.arange(len(targets), device=targets.device), targets
        return shared_softmax_loss(states, scores, self.item_embedding.weight, offsets, hits)

    def predict(self, interaction: Any) -> Tensor:
        """Scores of one item per row, shape [batch]."""
        return torch.einsum("bw,bw->b", self(interaction), self.item_embedding(interaction[self.ITEM_ID]))

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Scores of all items, shape [batch, n_items] (RecBole's n_items counts padding, column 0)."""
        return functional.linear(self(interaction), self.item_embedding.weight)


class BSARec(PublishedRecommender):
    """Beyond self-attention (Shin et al., AAAI 2024, arXiv 2312.10325)."""

    block = BSARecBlock


class WEARec(PublishedRecommender):
    """Wavelet-enhanced adaptive frequency filter (Xu et al., AAAI 2026, arXiv 2511.07028)."""

    block = WEARecBlock
