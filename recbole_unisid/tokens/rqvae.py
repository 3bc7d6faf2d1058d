"""RQ-VAE: an autoencoder of the vectors with the residual quantiser in its middle."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from recbole_unisid.array_file import Arrays
from recbole_unisid.errors import UserError
from recbole_unisid.tokens.residual_quantiser import ResidualQuantiser
from recbole_unisid.tokens.tokenizer import Tokenizer


class Rqvae(Tokenizer):
    """Residual-quantised autoencoder with UniSID's mixed-metric quantiser.

    ``z = encoder(x)``, ``q`` as in :mod:`recbole_unisid.tokens.quantiser`, ``x^ = decoder(q)``, trained on
    ``|x - x^|^2 + commitment * sum_l MSE(sg(q_l), r_l)`` and, with gradient codebooks,
    ``+ sum_l MSE(q_l, sg(r_l))`` (Zeghidour et al., arXiv 2107.03312; Rajput et al., arXiv 2305.05065).

    ``z`` is `latent_width` wide; the encoder's `hidden` widths stand before it, and the decoder mirrors them. The last
    five settings are those of :class:`ResidualQuantiser`.
    """

    name = "rqvae"

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        distances: Sequence[str] | None = None,
        seed: int = 2020,
        latent_width: int = 64,
        hidden: Sequence[int] = (512, 256),
        epochs: int = 100,
        batch_size: int = 1024,
        learning_rate: float = 1e-3,
        commitment: float = 1.0,
        learning: str = "ema",
        estimator: str = "straight_through",
        code_length: str = "unit",
        decay: float = 0.8,
        dead_below: float = 0.2,
    ) -> None:
        super().__init__(codebook_sizes, distances, seed)
        if min(latent_width, epochs, batch_size, *hidden) < 1 or learning_rate <= 0 or commitment < 0:
            raise UserError(
                "rqvae needs widths, epochs and a batch size of at least 1, a learning rate above 0, and a "
                "commitment of 0 or more."
            )
        self.latent_width, self.hidden = latent_width, tuple(hidden)
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.commitment = commitment
        # Built here too, so that bad settings are refused before any work.
        how = learning, estimator, code_length, decay, dead_below
        self.quantiser = ResidualQuantiser(latent_width, self.codebook_sizes, self.distances, *how, seed=seed)
        self.encoder, self.decoder = nn.Sequential(), nn.Sequential()

    @classmethod
    def of_networks(
        cls, encoder: nn.Sequential, decoder: nn.Sequential, quantiser: ResidualQuantiser, seed: int
    ) -> Rqvae:
        """The tokenizer of networks, as :func:`mlp` makes them, that were trained elsewhere on vectors not centred."""
        widths = [layer.in_features for layer in encoder if isinstance(layer, nn.Linear)]
        books = [book.detach().cpu().numpy().copy() for book in quantiser.codebooks()]
        sizes, width = [len(book) for book in books], books[0].shape[1]
        tokenizer = cls(sizes, quantiser.distances, seed, width, widths[1:], **quantiser.options)
        tokenizer.mean = np.zeros(widths[0], dtype=np.float32)
        tokenizer.codebooks = books
        tokenizer.encoder, tokenizer.decoder = copy.deepcopy(encoder).cpu(), copy.deepcopy(decoder).cpu()
        return tokenizer

    def options(self) -> dict[str, Any]:
        return {
            "latent_width": self.latent_width,
            "hidden": list(self.hidden),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "commitment": self.commitment,
            **self.quantiser.options,
        }

    def decode_latents(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return super().decode_latents(self.decoder(torch.from_numpy(latents)).numpy())

    def state(self) -> Arrays:
        """The codebooks and both networks."""
        weights = {key: tensor.detach().numpy() for key, tensor in self._networks().state_dict().items()}
        return {**super().state(), **weights}

    def restore(self, state: Arrays) -> None:
        super().restore(state)
        self._build_networks(len(self.mean))
        networks = self._networks()
        networks.load_state_dict({key: torch.from_numpy(state[key]) for key in networks.state_dict()})

    def _fit(self, vectors: NDArray[np.float32], item_ids: Sequence[str], show_progress: bool) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        self._build_networks(vectors.shape[1])
        for layer in [*self.encoder, *self.decoder]:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)
        self.quantiser = ResidualQuantiser(
            self.latent_width, self.codebook_sizes, self.distances, seed=self.seed, **self.quantiser.options
        )
        inputs = torch.from_numpy(vectors - self.mean)  # [items, width]
        modules = nn.ModuleList([self.encoder, self.decoder, self.quantiser])
        trained = [parameter for parameter in modules.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(trained, lr=self.learning_rate)
        for _ in tqdm(range(self.epochs), desc="Training RQ-VAE", disable=None if show_progress else True):
            order = torch.randperm(len(inputs), generator=generator)
            for start in range(0, len(order), self.batch_size):
                batch = inputs[order[start : start + self.batch_size]]  # [batch, width]
                output = self.quantiser(self.encoder(batch))
                reconstruction = (self.decoder(output.quantised) - batch).square().sum(dim=1).mean()
                loss = reconstruction + self.commitment * output.commitment_loss + output.codebook_loss
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        with torch.no_grad():
            self.codebooks = [codebook.detach().clone().numpy() for codebook in self.quantiser.codebooks()]

    def _encode_latents(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            latents: NDArray[np.float32] = self.encoder(torch.from_numpy(vectors - self.mean)).numpy()
        return latents

    def _networks(self) -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": self.encoder, "decoder": self.decoder})

    def _build_networks(self, width: int) -> None:
        widths = [width, *self.hidden, self.latent_width]
        with torch.random.fork_rng(devices=[]):  # the weights are set later; leave the global generator alone
            self.encoder, self.decoder = mlp(widths), mlp(widths[::-1])


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths, ReLU between; `widths` begins with the input's and ends with the output's."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
