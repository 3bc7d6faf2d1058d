"""Semantic tokens that learn with the model: text -> encoder -> residual quantiser (UniSID, end to end)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from recbole_unisid import distributed
from recbole_unisid.config.settings import as_list
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.items.initialisation import linear_through_relu, projection_from_vectors
from recbole_unisid.items.part import PartCounts, SemanticPart, with_padding
from recbole_unisid.tokens.quantiser import level_distances
from recbole_unisid.tokens.residual_quantiser import ResidualQuantiser
from recbole_unisid.tokens.rqvae import Rqvae, mlp

#: What a setting may be.
_CHOICES = {"updates": ("one", "three"), "losses": ("all", "inputs")}


@dataclass(frozen=True)
class JointOptions:
    """How tokens learn beside the next-item loss: the settings ``joint_*``.

    `weight` is that of reconstruction and commitment together (the paper's ``w_rq``), `commitment` that of the second
    within it. With three `updates` a step, the codebooks move after the inputs, the targets and the negatives, each
    with the codebooks that the one before it left. `quantiser` has further arguments of :class:`ResidualQuantiser`.
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

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """The settings ``joint_*``."""
        learning = str(config["joint_learning"])
        return cls(
            hidden=tuple(as_list(config["joint_hidden"]) or ()),
            weight=float(config["joint_weight"]),
            commitment=float(config["joint_commitment"]),
            updates=str(config["joint_updates"]),
            losses=str(config["joint_losses"]),
            padding=bool(config["joint_padding"]),
            quantiser={
                "learning": "ema" if learning == "ema" else "gradient",
                "direct": learning == "direct",
                "estimator": config["joint_estimator"],
                "code_length": config["joint_code_length"],
                "decay": float(config["joint_decay"]),
                "dead_below": float(config["joint_dead_below"]),
                "kmeans_iterations": config["joint_kmeans_iterations"],
            },
        )


class JointTokens(SemanticPart):
    """An item's text vector through an encoder and a residual quantiser, trained end to end (``semantics: joint``).

    ``z = encoder(t)``, ``q`` as in :mod:`recbole_unisid.tokens.quantiser` with the gradient straight through to
    ``z``, ``t^ = decoder(q)``; beside the next-item loss the tokens learn by

    ``weight * ( |t - t^|^2 + commitment * sum_l MSE(sg(q_l), r_l) )``,

    a mean over items, each as often as it occurs (arXiv 2502.16474, sections 3.2 and 3.4). The frozen text `vectors`
    are [n_items + 1, text width], row 0 (padding) zero; `seed` is that of the codebooks' start and of what takes the
    place of dead codes.
    """

    needs, label, learns = "vectors", "tokens", True
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

    @classmethod
    def from_config(cls, config: Any, semantics: Any) -> Self:
        """See :class:`SemanticPart`.

        Raises UserError: for settings out of range, collision strategies (learned codes have none) or several
        processes.
        """
        if distributed.world() > 1:
            raise UserError(
                "semantics=joint moves its codebooks by whole batches and trains in one process; start the run "
                "without torchrun."
            )
        if config["collisions"] != "none":
            raise UserError(
                f"collisions={config['collisions']} is for fixed codes; with semantics=joint: none."
            )
        sizes = as_list(config["codebook_sizes"]) or []
        if not sizes:
            raise UserError("codebook_sizes is empty: give the codes of each level, such as [256,256,256].")
        distances = level_distances(len(sizes), as_list(config["distances"]))
        texts, options = with_padding(torch.from_numpy(semantics.vectors)), JointOptions.from_config(config)
        return cls(texts, sizes, distances, config["semantic_dim"], options, config["seed"])

    def start(self, config: Any, semantics: Any) -> None:
        """Let the encoder start as the text's PCA where ``table_init`` is ``text``; else it stays random.

        Raises UserError: when a hidden layer is too narrow to carry the projection.
        """
        if config["table_init"] != "text":
            return
        if min(self.options.hidden) < 2 * self.width:
            raise UserError(
                f"table_init=text needs joint_hidden of at least {2 * self.width} (twice semantic_dim); "
                "widen it or set table_init=normal."
            )
        weight, bias = projection_from_vectors(self.vectors[1:].numpy(), self.width, config["table_scale"])
        layers = [layer for layer in self.encoder if isinstance(layer, nn.Linear)]
        for layer in [*layers, *(layer for layer in self.decoder if isinstance(layer, nn.Linear))]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        linear_through_relu(torch.from_numpy(weight), torch.from_numpy(bias), layers)

    def forward(self, items: Tensor) -> Tensor:
        """Represent items, int64 [n] -> [n, width], by the codebooks as they are; nothing learns."""
        latents = self.encoder(self.vectors[items])  # [n, width]
        self._start_codebooks(latents)
        codes = self.quantiser.encode(latents)
        books = self.quantiser.codebooks()
        return torch.stack([book[codes[:, level]] for level, book in enumerate(books)]).sum(0)

    @torch.no_grad()
    def codes(self) -> Tensor:
        """Codes of the catalogue by the codebooks as they are, shape [n_items + 1, levels]; row 0 is padding."""
        latents = self.encoder(self.vectors)
        self._start_codebooks(latents)
        return self.quantiser.encode(latents)

    def learn(self, distinct: Tensor, places: Sequence[Tensor], padding: int) -> tuple[list[Tensor], Tensor]:
        """See :class:`SemanticPart`; the vectors have a gradient to the encoder."""
        texts = self.vectors[distinct]
        latents = self.encoder(texts)  # [m, width]
        counts = [torch.bincount(place, minlength=len(distinct)) for place in places]
        occurrences = torch.stack(counts).to(self.vectors)  # [roles, m]
        occurrences[:, 0] = padding if self.options.padding else 0
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

    def _call(self, texts: Tensor, latents: Tensor, times: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise the items that occur and learn from them; texts are [m, text width], latents [m, width].

        `times` [m] says how often each occurs, `counted` [m] how often it counts in the loss, which is a sum over
        items. Vectors [m, width] are zero where an item does not occur.
        """
        rows = times.nonzero()[:, 0]
        out = self.quantiser(latents[rows], times[rows], counted[rows])
        vectors = latents.new_zeros(latents.shape).index_copy(0, rows, out.quantised)
        loss = self.options.commitment * out.commitment_loss + out.codebook_loss
        asked = counted[rows].nonzero()[:, 0]
        rebuilt = self.decoder(out.quantised[asked])
        errors = (rebuilt - texts[rows[asked]]).square().sum(dim=1)  # [asked]
        return vectors, loss * counted.sum() + (errors * counted[rows[asked]]).sum()

    def _start_codebooks(self, latents: Tensor) -> None:
        """Codebooks that no batch has started yet start from what is asked for first."""
        if not self.quantiser.initialised:
            self.quantiser.initialise(latents)

    def fold(self, numbers: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The codes by the codebooks as they are, and the codebooks."""
        return self.codes()[numbers], tuple(self.quantiser.codebooks())

    def counts(self, n_items: int) -> PartCounts:
        books = self.quantiser.codebooks()
        numbers = sum(book.numel() for book in books)
        return PartCounts(numbers, len(books), numbers)

    def learned_tokens(self) -> tuple[Rqvae, Tensor]:
        """What it has learned, as the tokenizer that gives codes to further items' text, and the codes."""
        return Rqvae.of_networks(self.encoder, self.decoder, self.quantiser, self.seed), self.codes()[1:]
