"""The residual quantiser as a layer that trains end to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recbole_unisid.errors import UserError, check_choice
from recbole_unisid.tokens.quantiser import CODE_LENGTHS, directions, fitted_lengths, nearest_codes, quantise
from recbole_unisid.tokens.residual_kmeans import KMeans


def straight_through(inputs: Tensor, quantised: Tensor) -> Tensor:
    """The quantised vectors, with the gradient of the inputs: ``z + sg(q - z)``.

    Bengio et al., arXiv 1308.3432; van den Oord et al. (VQ-VAE), arXiv 1711.00937. Shapes [n, width].
    """
    return inputs + (quantised - inputs).detach()


def rotation_trick(inputs: Tensor, quantised: Tensor) -> Tensor:
    """The quantised vectors, as the rotation and scaling that takes each input there.

    ``q = sg(|q| / |z| R) z`` with ``R = I - 2 r r^T + 2 q^ z^T``, ``r = (z^ + q^) / |z^ + q^|``, hats for unit vectors:
    the gradient is turned and scaled as the input was. Fifty et al., arXiv 2410.06424, equation 4. Shapes [n, width].
    An input that is zero or opposite to its code has no such rotation and passes straight through.
    """
    z, q = inputs.detach(), quantised.detach()
    z_norm, q_norm = z.norm(dim=1, keepdim=True), q.norm(dim=1, keepdim=True)  # [n, 1]
    z_unit, q_unit = z / z_norm.clamp(min=1e-12), q / q_norm.clamp(min=1e-12)
    middle = z_unit + q_unit
    middle_norm = middle.norm(dim=1, keepdim=True)
    r = middle / middle_norm.clamp(min=1e-12)
    along_r = (inputs * r).sum(dim=1, keepdim=True)
    along_z = (inputs * z_unit).sum(dim=1, keepdim=True)
    rotated = inputs - 2 * along_r * r + 2 * along_z * q_unit  # R z
    scaled = rotated * q_norm / z_norm.clamp(min=1e-12)
    possible = (z_norm > 1e-6) & (q_norm > 1e-6) & (middle_norm > 1e-6)
    return torch.where(possible, scaled, straight_through(inputs, q))


#: Gradient estimators by name.
ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "straight_through": straight_through,
    "rotation": rotation_trick,
}


#: Laplace smoothing of the code frequencies, as in VQ-VAE's EMA update.
_SMOOTHING = 1e-5


class Codebook(nn.Module):
    """The codes of one level, moved by exponential averages or by gradients.

    With `learning` ``ema`` each code follows the moving average (by `decay`) of the inputs that choose it (van den Oord
    et al., arXiv 1711.00937, appendix A.1); with ``gradient`` it is a parameter for an optimiser. A cosine level's
    codes are as long as `code_length` says: 1 (``unit``), or the mean projection of their inputs (``fitted``). A code
    whose moving number of inputs falls below `dead_below` is replaced by one of them; 0 never does.
    """

    counts: Tensor  # [size]: moving number of inputs a batch
    sums: Tensor  # [size, width]: moving sum of the inputs, of their directions at a cosine level
    projections: Tensor  # [size]: moving sum of the inputs' projections on the code's direction

    def __init__(
        self,
        size: int,
        width: int,
        distance: str,
        learning: str = "ema",
        code_length: str = "unit",
        decay: float = 0.8,
        dead_below: float = 2.0,
    ) -> None:
        super().__init__()
        self.distance, self.learning, self.code_length = distance, learning, code_length
        self.decay, self.dead_below = decay, dead_below
        self.weight = nn.Parameter(torch.zeros(size, width), requires_grad=learning == "gradient")
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", torch.zeros(size, width))
        self.register_buffer("projections", torch.ones(size))

    def forward(self) -> Tensor:
        """The codes as they enter ``q``, shape [size, width]."""
        weight = self.weight.clone()  # so that dead codes can be replaced before the backward pass
        return directions(weight) if self.distance == "cosine" and self.code_length == "unit" else weight

    def targets(self, inputs: Tensor) -> Tensor:
        """What codes of this level stand for: the inputs, or their directions where codes have length 1."""
        unit = self.distance == "cosine" and self.code_length == "unit"
        return directions(inputs) if unit else inputs

    @torch.no_grad()
    def initialise(self, inputs: Tensor, rng: np.random.Generator, iterations: int) -> None:
        """Start from a k-means of a first batch, shape [n, width]."""
        points = inputs.float().cpu().numpy()
        fitted = KMeans(iterations).fit(points, len(self.weight), self.distance, rng)
        codes = torch.from_numpy(fitted).to(self.weight)
        if self.distance == "cosine" and self.code_length == "fitted":
            codes = fitted_lengths(inputs, codes)
        self._set(torch.arange(len(codes), device=codes.device), codes, max(self.dead_below, 1.0))

    @torch.no_grad()
    def update(self, inputs: Tensor, chosen: Tensor, weights: Tensor) -> None:
        """Follow a batch: inputs [n, width], the code of each [n], and how often each occurs [n]."""
        points = directions(inputs) if self.distance == "cosine" else inputs
        lengths = (inputs * directions(self.weight)[chosen]).sum(dim=1)  # projection on the chosen direction
        _follow(self.counts, chosen, weights, self.decay)
        _follow(self.sums, chosen, points * weights[:, None], self.decay)
        _follow(self.projections, chosen, lengths * weights, self.decay)
        if self.learning == "gradient":
            return
        total = self.counts.sum()
        smooth = (self.counts + _SMOOTHING) / (total + len(self.counts) * _SMOOTHING) * total
        means = self.sums / smooth[:, None]
        if self.distance == "cosine":
            means = directions(means)
            if self.code_length == "fitted":
                means = means * (self.projections / smooth).clamp(min=1e-6)[:, None]
        self.weight.copy_(means)

    @torch.no_grad()
    def replace_dead(self, inputs: Tensor, generator: torch.Generator, weights: Tensor | None = None) -> int:
        """Put inputs [n, width], drawn by weights [n] or evenly on the CPU, in place of codes hardly used; how many."""
        dead = torch.nonzero(self.counts < self.dead_below)[:, 0]
        if not len(dead):
            return 0
        if weights is None:
            drawn = torch.randint(len(inputs), (len(dead),), generator=generator)
        else:
            drawn = torch.multinomial(weights.float().cpu(), len(dead), replacement=True, generator=generator)
        drawn = drawn.to(inputs.device)
        self._set(dead, self.targets(inputs)[drawn].to(self.weight), self.dead_below)
        return len(dead)

    def _set(self, rows: Tensor, codes: Tensor, count: float) -> None:
        """Make codes of these vectors, as if `count` inputs a batch had chosen each."""
        points = directions(codes) if self.distance == "cosine" else codes
        self.weight[rows] = codes
        self.counts[rows] = count
        self.sums[rows] = points * count
        self.projections[rows] = codes.norm(dim=1) * count


def _follow(average: Tensor, chosen: Tensor, values: Tensor, decay: float) -> None:
    """Move an average of per-code sums towards this batch's, in place."""
    batch = torch.zeros_like(average).index_add_(0, chosen, values.to(average))
    average.lerp_(batch, 1 - decay)


LEARNING = ("ema", "gradient")


class QuantiserOutput(NamedTuple):
    """What the layer gives."""

    quantised: Tensor  # [n, width]: q_1 + ... + q_L, with a gradient to the input by the chosen estimator
    codes: Tensor  # int64 [n, levels]
    commitment_loss: Tensor  # sum_l MSE(sg(q_l), r_l): draws the inputs to their codes
    codebook_loss: Tensor  # sum_l MSE(q_l, sg(r_l)): draws gradient codebooks to their inputs; 0 with EMA


class ResidualQuantiser(nn.Module):
    """UniSID's mixed-metric residual quantiser with codebooks that learn.

    The first call, in either mode, starts the codebooks from k-means of its input. In training mode every call
    moves the codebooks (EMA), counts uses and replaces dead codes; in evaluation mode none does.

    Each level is a :class:`Codebook`; the gradient passes them by one of :data:`ESTIMATORS`. `seed` is that of the
    k-means start and of the replacement of dead codes. With `direct`, gradient codebooks get the gradient of what is
    made of ``q`` beside the codebook loss, as a table of fixed codes does.
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
        check_choice("learning", learning, LEARNING)
        check_choice("estimator", estimator, ESTIMATORS)
        check_choice("code_length", code_length, CODE_LENGTHS)
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
        """Quantise vectors [n, width] and, in training mode, learn from them.

        `weights` [n] say how often each vector occurs, 1 by default: a batch of distinct items with weights counts and
        costs what the batch with all repetitions would. `counted` [n] are the losses' weights where they are others.
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
