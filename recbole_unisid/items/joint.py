"""Semantic tokens that learn with the model: text -> encoder -> residual quantiser (UniSID, end to end)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.tokens.residual_quantiser import ResidualQuantiser
from recbole_unisid.tokens.rqvae import Rqvae, mlp

#: What a setting may be.
_CHOICES = {"updates": ("one", "three"), "losses": ("all", "inputs")}


@dataclass(frozen=True)
class JointOptions:
    """How tokens learn beside the next-item loss.

    Attributes
    ----------
    hidden : tuple of int
        Widths between the text's and the codes'; the decoder mirrors them.
    weight : float
        Of reconstruction and commitment together (the paper's ``w_rq``).
    commitment : float
        Of the commitment loss within it.
    updates : {"one", "three"}
        How often a step moves the codebooks: once with all items of the batch, or after the inputs, the
        targets and the negatives, each with the codebooks that the one before it left.
    losses : {"all", "inputs"}
        Whose reconstruction and commitment count.
    padding : bool
        Whether padded positions take part like an item whose text vector is zero.
    quantiser : dict
        Further arguments of :class:`ResidualQuantiser`.
    """

    hidden: tuple[int, ...] = (512, 256)
    weight: float = 1.0
    commitment: float = 1.0
    updates: str = "one"
    losses: str = "all"
    padding: bool = False
    quantiser: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = str(getattr(self, name))
            if value not in known:
                raise UserError(
                    f"joint_{name}={value} is none of {', '.join(known)}.{did_you_mean(value, known)}"
                )
        if not self.hidden or min(self.hidden) < 1 or self.weight < 0 or self.commitment < 0:
            raise UserError(
                f"joint_hidden={list(self.hidden)} needs widths of 1 or more, joint_weight={self.weight} and "
                f"joint_commitment={self.commitment} must not be negative."
            )


class JointTokens(nn.Module):
    """An item's text vector through an encoder and a residual quantiser, all of it trained end to end.

    ``z = encoder(t)``, ``q`` as in :mod:`recbole_unisid.tokens.quantiser` with the gradient straight through to
    ``z``, ``t^ = decoder(q)``; beside the next-item loss the tokens learn by

    ``weight * ( |t - t^|^2 + commitment * sum_l MSE(sg(q_l), r_l) )``,

    a mean over items, each as often as it occurs (arXiv 2502.16474, sections 3.2 and 3.4).

    Parameters
    ----------
    vectors : Tensor of float32, shape [n_items + 1, text width]
        Text embeddings, frozen; row 0 (padding) is zero.
    codebook_sizes, distances
        As in :class:`ResidualQuantiser`.
    width : int
        Width of the codes.
    options : JointOptions
        How they learn.
    seed : int
        Of the codebooks' start and of what takes the place of dead codes.
    """

    vectors: Tensor

    def __init__(
        self,
        vectors: Tensor,
        codebook_sizes: Sequence[int],
        distances: Sequence[str],
        width: int,
        options: JointOptions,
        seed: int,
    ) -> None:
        super().__init__()
        widths = [vectors.shape[1], *options.hidden, width]
        self.options, self.width, self.seed = options, width, seed
        self.register_buffer("vectors", vectors, persistent=True)
        self.encoder, self.decoder = mlp(widths), mlp(widths[::-1])
        quantiser = dict(options.quantiser or {})
        self.quantiser = ResidualQuantiser(width, codebook_sizes, distances, seed=seed, **quantiser)

    def forward(self, items: Tensor) -> Tensor:
        """Represent items, int64 [n] -> [n, width], by the codebooks as they are; nothing learns."""
        latents = self.encoder(self.vectors[items])  # [n, width]
        self._start(latents)
        codes = self.quantiser.encode(latents)
        books = self.quantiser.codebooks()
        return torch.stack([book[codes[:, level]] for level, book in enumerate(books)]).sum(0)

    @torch.no_grad()
    def codes(self) -> Tensor:
        """Codes of the catalogue by the codebooks as they are, shape [n_items + 1, levels]; row 0 is padding."""
        latents = self.encoder(self.vectors)
        self._start(latents)
        return self.quantiser.encode(latents)

    def learn(self, distinct: Tensor, places: Sequence[Tensor], padding: int) -> tuple[list[Tensor], Tensor]:
        """Represent a training batch's items and learn from them.

        Parameters
        ----------
        distinct : Tensor of int64, shape [m]
            The batch's items, each once, ascending; the first is 0, padding.
        places : sequence of Tensor of int64
            Where in `distinct` the items of each role are: inputs, targets, negatives; shape [n] each.
        padding : int
            Padded positions of each role, where they take part.

        Returns
        -------
        list of Tensor, shape [n, width] each
            Vectors by role, with a gradient to the encoder.
        loss : Tensor, shape []
            What the tokens learn by, beside the next-item loss.
        """
        texts = self.vectors[distinct]
        latents = self.encoder(texts)  # [m, width]
        occurrences = torch.stack([self._occurrences(place, len(distinct), padding) for place in places])
        counted = occurrences.clone()  # [roles, m]: how much each item counts in the losses
        if self.options.losses == "inputs":
            counted[1:] = 0
        by_role, losses = [], []
        if self.options.updates == "three":
            for place, times, weights in zip(places, occurrences, counted, strict=True):
                vectors, loss = self._call(texts, latents, times, weights)
                by_role.append(vectors[place])
                losses.append(loss)
        else:
            vectors, loss = self._call(texts, latents, occurrences.sum(0), counted.sum(0))
            by_role, losses = [vectors[place] for place in places], [loss]
        return by_role, self.options.weight * torch.stack(losses).sum() / counted.sum()

    def _occurrences(self, place: Tensor, m: int, padding: int) -> Tensor:
        """How often each distinct item occurs in a role, shape [m]; padding as often as it is said to."""
        times = torch.bincount(place, minlength=m).to(self.vectors)
        times[0] = padding if self.options.padding else 0
        return times

    def _call(self, texts: Tensor, latents: Tensor, times: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise the items that occur and learn from them.

        Parameters
        ----------
        texts, latents : Tensor, shape [m, text width] and [m, width]
        times, counted : Tensor, shape [m]
            How often each item occurs, and how much it counts in the losses.

        Returns
        -------
        vectors : Tensor, shape [m, width]
            Zero where an item does not occur.
        loss : Tensor, shape []
            Summed over items, as often as each counts.
        """
        rows = times.nonzero()[:, 0]
        out = self.quantiser(latents[rows], times[rows], counted[rows])
        vectors = latents.new_zeros(latents.shape).index_copy(0, rows, out.quantised)
        loss = self.options.commitment * out.commitment_loss + out.codebook_loss
        asked = counted[rows].nonzero()[:, 0]
        rebuilt = self.decoder(out.quantised[asked])
        errors = (rebuilt - texts[rows[asked]]).square().sum(dim=1)  # [asked]
        return vectors, loss * counted.sum() + (errors * counted[rows[asked]]).sum()

    def _start(self, latents: Tensor) -> None:
        """Codebooks that no batch has started yet start from what is asked for first."""
        if not self.quantiser.initialised:
            self.quantiser.initialise(latents)

    def tokenizer(self) -> Rqvae:
        """What it has learned, as the tokenizer that gives codes to further items' text."""
        return Rqvae.of_networks(self.encoder, self.decoder, self.quantiser, self.seed)
