"""One level's codebook that learns while a network trains."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recbole_unisid.tokens.kmeans import KMeans
from recbole_unisid.tokens.quantiser import directions, fitted_lengths

#: Laplace smoothing of the code frequencies, as in VQ-VAE's EMA update.
_SMOOTHING = 1e-5


class Codebook(nn.Module):
    """The codes of one level, moved by exponential averages or by gradients.

    Parameters
    ----------
    size, width : int
        Codes, and numbers a code.
    distance : {"cosine", "euclidean"}
    learning : {"ema", "gradient"}
        Whether each code follows the moving average of the inputs that choose it (van den Oord et al.,
        arXiv 1711.00937, appendix A.1), or is a parameter for an optimiser.
    code_length : {"unit", "fitted"}
        Of a cosine level's codes: 1, or the mean projection of their inputs.
    decay : float
        Of the moving averages.
    dead_below : float
        A code whose moving number of inputs falls below this is replaced by one of them.

    Attributes
    ----------
    weight : Tensor, shape [size, width]
        The codes before :meth:`forward` sets their length.
    counts : Tensor, shape [size]
        Moving number of inputs a batch.
    sums : Tensor, shape [size, width]
        Moving sum of the inputs, of their directions at a cosine level.
    projections : Tensor, shape [size]
        Moving sum of the inputs' projections on the code's direction.
    """

    counts: Tensor
    sums: Tensor
    projections: Tensor

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
        """Put inputs drawn at random in the place of codes hardly used; how many there were.

        Parameters
        ----------
        inputs : Tensor, shape [n, width]
        generator : torch.Generator
            On the CPU.
        weights : Tensor, shape [n], optional
            How often each input occurs; it is drawn as often.
        """
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
