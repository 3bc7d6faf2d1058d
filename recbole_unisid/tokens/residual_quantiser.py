"""The residual quantiser as a layer that trains end to end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.tokens.codebook import Codebook
from recbole_unisid.tokens.estimators import ESTIMATORS
from recbole_unisid.tokens.quantiser import CODE_LENGTHS, nearest_codes, quantise

LEARNING = ("ema", "gradient")


class QuantiserOutput(NamedTuple):
    """What the layer gives.

    Attributes
    ----------
    quantised : Tensor, shape [n, width]
        ``q = q_1 + ... + q_L``, with a gradient to the input by the chosen estimator.
    codes : Tensor of int64, shape [n, levels]
    commitment_loss : Tensor, scalar
        ``sum_l MSE(sg(q_l), r_l)``: draws the inputs to their codes.
    codebook_loss : Tensor, scalar
        ``sum_l MSE(q_l, sg(r_l))``: draws gradient codebooks to their inputs; 0 with EMA.
    """

    quantised: Tensor
    codes: Tensor
    commitment_loss: Tensor
    codebook_loss: Tensor


class ResidualQuantiser(nn.Module):
    """UniSID's mixed-metric residual quantiser with codebooks that learn.

    The first call, in either mode, starts the codebooks from k-means of its input. In training mode every call
    moves the codebooks (EMA), counts uses and replaces dead codes; in evaluation mode none does.

    Parameters
    ----------
    width : int
        Numbers a vector.
    codebook_sizes : sequence of int
        Codes of each level.
    distances : sequence of {"cosine", "euclidean"}
        One a level.
    learning : {"ema", "gradient"}
        How codebooks learn; see :class:`Codebook`.
    estimator : {"straight_through", "rotation"}
        How the gradient passes the quantiser.
    code_length : {"unit", "fitted"}
        Of a cosine level's codes.
    decay, dead_below : float
        Of the moving averages; below how many inputs a batch a code is dead. 0 never replaces any.
    kmeans_iterations : int
        Of the start.
    seed : int
        Of the k-means start and the replacement of dead codes.
    direct : bool
        With gradient codebooks: whether codes also get the gradient of what is made of ``q``, as a table of
        fixed codes does, beside the codebook loss.
    """

    initialised: Tensor
    steps: Tensor

    def __init__(
        self,
        width: int,
        codebook_sizes: Sequence[int],
        distances: Sequence[str],
        learning: str = "ema",
        estimator: str = "straight_through",
        code_length: str = "unit",
        decay: float = 0.8,
        dead_below: float = 2.0,
        kmeans_iterations: int = 100,
        seed: int = 2020,
        direct: bool = False,
    ) -> None:
        super().__init__()
        _check_name("learning", learning, LEARNING)
        _check_name("estimator", estimator, tuple(ESTIMATORS))
        _check_name("code_length", code_length, CODE_LENGTHS)
        if not 0 <= decay < 1 or dead_below < 0:
            raise UserError(f"decay={decay} must be in [0, 1) and dead_below={dead_below} at least 0.")
        if direct and learning != "gradient":
            raise UserError(
                f"learning={learning!r} moves codes by averages; direct needs learning='gradient'."
            )
        self.distances, self.learning, self.direct = tuple(distances), learning, direct
        self.estimator, self.kmeans_iterations, self.seed = estimator, kmeans_iterations, seed
        #: How codebooks learn, by the names of the parameters.
        self.options: dict[str, Any] = {
            "learning": learning,
            "estimator": estimator,
            "code_length": code_length,
            "decay": decay,
            "dead_below": dead_below,
        }
        self.levels = nn.ModuleList(
            Codebook(size, width, distance, learning, code_length, decay, dead_below)
            for size, distance in zip(codebook_sizes, distances, strict=True)
        )
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def codebooks(self) -> list[Tensor]:
        """The codes of each level as they enter ``q``, shapes [codes, width]."""
        return [codebook() for codebook in self.levels]

    def encode(self, inputs: Tensor) -> Tensor:
        """Codes of vectors [n, width], shape [n, levels]; nothing learns."""
        with torch.no_grad():
            return quantise(inputs, self.codebooks(), self.distances).codes

    def forward(
        self, inputs: Tensor, weights: Tensor | None = None, counted: Tensor | None = None
    ) -> QuantiserOutput:
        """Quantise vectors and, in training mode, learn from them.

        Parameters
        ----------
        inputs : Tensor, shape [n, width]
            ``z``.
        weights : Tensor, shape [n], optional
            How often each vector occurs, 1 by default: a batch of distinct items with weights counts and
            costs what the batch with all repetitions would.
        counted : Tensor, shape [n], optional
            How much each vector counts in the losses, where that is not how often it occurs.

        Returns
        -------
        QuantiserOutput
        """
        given = weights
        weights = torch.ones_like(inputs[:, 0]) if weights is None else weights.to(inputs)
        counted = weights if counted is None else counted.to(inputs)
        if not self.initialised:
            self.initialise(inputs, weights)
        parts = quantise(inputs, self.codebooks(), self.distances)
        commitment = codebook_loss = inputs.new_zeros(())
        for level, codebook in enumerate(self.levels):
            wanted, code = parts.residuals[:, level], parts.quantised[:, level]  # r_l, q_l: [n, width]
            commitment = commitment + _weighted_mse(wanted, code.detach(), counted)
            if self.learning == "gradient":
                target = codebook.targets(wanted.detach())  # type: ignore[operator]
                codebook_loss = codebook_loss + _weighted_mse(code, target, counted)
        if self.training:
            self._learn(parts.residuals.detach(), parts.codes, weights, given)
        total = parts.quantised.sum(dim=1)
        quantised = ESTIMATORS[self.estimator](inputs, total.detach())
        if self.direct:
            quantised = quantised + (total - total.detach())  # adds a gradient, and zero
        return QuantiserOutput(quantised, parts.codes, commitment, codebook_loss)

    @torch.no_grad()
    def initialise(self, inputs: Tensor, weights: Tensor | None = None) -> None:
        """Start every codebook from k-means of these vectors [n, width], each as often as its weight [n]."""
        rng = np.random.default_rng(self.seed)
        residuals = inputs.detach()
        if weights is not None:
            residuals = residuals.repeat_interleave(weights.round().long().clamp(min=1), dim=0)
        for codebook, distance in zip(self.levels, self.distances, strict=True):
            codebook.initialise(residuals, rng, self.kmeans_iterations)  # type: ignore[operator]
            codes = codebook()
            residuals = residuals - codes[nearest_codes(residuals, codes, distance)]
        self.initialised.fill_(True)

    def _learn(self, residuals: Tensor, codes: Tensor, weights: Tensor, given: Tensor | None) -> None:
        """Move the codebooks; draws depend on the seed and the step alone, so a resumed run repeats them."""
        self.steps += 1
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.steps))
        for level, codebook in enumerate(self.levels):
            codebook.update(residuals[:, level], codes[:, level], weights)  # type: ignore[operator]
            codebook.replace_dead(residuals[:, level], generator, given)  # type: ignore[operator]


def _weighted_mse(values: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean squared difference over vectors, each as often as its weight, and over their numbers; 0 of none."""
    squared = (values - targets).square().mean(dim=1)  # [n]
    return (squared * weights).sum() / weights.sum().clamp(min=1e-12)


def _check_name(setting: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{setting}={value!r} is none of {', '.join(known)}.{did_you_mean(value, known)}")
