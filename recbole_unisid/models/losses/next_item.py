"""Next-item losses: what a loss is, and the default, a softmax among negatives that a batch shares."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, pad, softplus

from recbole_unisid.models.losses.draw import LARGE_CATALOGUE, distinct_numbers
from recbole_unisid.products import FILLED, fast_linear

CHUNK_SCORES = 1 << 19  #: Scores held at a time (2 MiB of float32): they stay in the processor's cache.
LEFT_OUT = -1e30  #: The score of a candidate that does not count; -inf would make NaN of none at all.


@dataclass(frozen=True)
class Candidates:
    """The items that targets compete with: shared by all positions, or each position's own."""

    numbers: Tensor | None  # item numbers, int64 [n] or [P, n]; None: all items and padding, [n_items + 1]
    offsets: Tensor | float | None = None  # added to scores of shared ones [n]: logQ correction; no gradient


@dataclass(frozen=True)
class Positions:
    """The P positions of a batch that ask for a target."""

    states: Tensor  # [P, width], after each position
    targets: Tensor  # int64 [P], the item that follows
    target_vectors: Tensor  # [P, width]
    candidates: Candidates  # what `draw` gave
    vectors: Tensor  # of the candidates, [n, width] or [P, n, width]
    asked: Tensor  # bool [batch, length]: where the batch asks for them, row by row

    def target_scores(self) -> Tensor:
        """Scores of the targets, shape [P]."""
        return (self.states * self.target_vectors).sum(-1)

    def scores(self) -> Tensor:
        """Scores of the candidates, [P, n]; of thousands of shared ones, :func:`shared_softmax_loss` is faster."""
        if self.vectors.dim() == 2:
            return self.states @ self.vectors.T
        return torch.einsum("pw,pnw->pn", self.states, self.vectors)


class Loss(nn.Module, ABC):
    """How a target is told from other items. A subclass is a choice of the setting `loss`.

    `dataset` has ``item_num`` (padding counted) and ``sequences``, which are None where a finished run is loaded.
    `eligible`, int64 [N], are the items that may be candidates: under the cold-item split, those that are trained on.
    """

    eligible: Tensor
    shares_candidates = True  # among the positions of a batch, as a softmax needs

    def __init__(self, config: Any, dataset: Any, eligible: Tensor) -> None:
        super().__init__()
        self.register_buffer("eligible", eligible, persistent=False)
        self.negatives: int = config["negatives"]
        # Of its own: processes that share a batch draw the same negatives, whatever dropout draws.
        self.generator = torch.Generator().manual_seed(config["seed"])

    @abstractmethod
    def draw(self, targets: Tensor) -> Candidates:
        """Choose the items that the targets of a batch, item numbers [P], compete with."""

    @abstractmethod
    def forward(self, positions: Positions) -> Tensor:
        """Mean loss over positions, shape []."""


class SampledSoftmax(Loss):
    r"""Cross-entropy of the target among itself and uniform negatives that the batch shares, with logQ correction.

    .. math:: -\log\frac{e^{s_+}}{e^{s_+} + \sum_j e^{s_j - \log E_j}}

    where :math:`E_j` is how often item j is expected in the sample: the sum then estimates the softmax's (Bengio and
    Senecal 2008; distinct uniform negatives: :math:`E = n / N`; with all of them it is the softmax).
    """

    def draw(self, targets: Tensor) -> Candidates:
        """Uniform negatives, as many as ``negatives`` says."""
        numbers = self.uniform()
        return Candidates(numbers, -math.log(len(numbers) / len(self.eligible)))

    def uniform(self) -> Tensor:
        """Distinct item numbers, shape [negatives], or all if there are no more."""
        if len(self.eligible) > LARGE_CATALOGUE:
            return self.eligible[distinct_numbers(self.negatives, len(self.eligible), self.generator)]
        return self.eligible[torch.randperm(len(self.eligible), generator=self.generator)[: self.negatives]]

    def forward(self, positions: Positions) -> Tensor:
        """See :class:`Loss`; a negative that is a position's target counts once, as the target."""
        numbers, offsets = positions.candidates.numbers, positions.candidates.offsets
        assert numbers is not None
        scores, hits = positions.target_scores(), matches(positions.targets, numbers)
        if isinstance(offsets, float):  # of all of them: the target's, the other way
            scores, offsets = scores - offsets, None
        return shared_softmax_loss(positions.states, scores, positions.vectors, offsets, hits)


def matches(targets: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Where a candidate is a position's target: positions (ascending) and candidates, which may be repeated."""
    ids, order = torch.sort(candidates, stable=True)
    first = torch.searchsorted(ids, targets)
    counts = torch.searchsorted(ids, targets, right=True) - first  # [P]
    positions = torch.repeat_interleave(counts)  # [h]
    within = torch.arange(len(positions), device=ids.device) - (counts.cumsum(0) - counts)[positions]
    return positions, order[first[positions] + within]


def shared_softmax_loss(
    states: Tensor, target_scores: Tensor, candidates: Tensor, offsets: Tensor | None, hits: Sequence[Tensor]
) -> Tensor:
    r"""Mean cross-entropy of each target among itself and the candidates.

    .. math:: \frac1P \sum_p \log\Bigl(e^{t_p} + \sum_{j \notin hits(p)} e^{h_p \cdot e_j + o_j}\Bigr) - t_p

    States h [P, width] with their targets' scores t [P], candidates e [n, width] with offsets o [n] (-inf leaves one
    out; no gradient; None: 0), and `hits` of :func:`matches`: the candidate is the target there, and they do not meet.
    """
    dtype = torch.promote_types(states.dtype, torch.float32)  # exponentials of thousands of scores are summed
    with torch.autocast(states.device.type, enabled=False):
        given = [x if x is None else x.to(dtype) for x in (states, target_scores, candidates, offsets)]
        if not len(candidates):
            return (states.sum() + target_scores.sum() + candidates.sum()) * 0.0
        return _SharedSoftmax.apply(*given, hits)  # type: ignore[no-untyped-call,no-any-return]


class _SharedSoftmax(torch.autograd.Function):
    """The loss, softplus(log sum_j e^(s_j) - t), and in the same pass its gradient, a chunk of positions at a time."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        states, target_scores, candidates, offsets, hits = given
        count, rows = len(states), max(1, CHUNK_SCORES // len(candidates))
        fast = (states.device.type, states.dtype) == ("cpu", torch.float32)
        times, more = (fast_linear, -count % FILLED) if fast else (linear, 0)
        states, target_scores = pad(states, (0, 0, 0, more)), pad(target_scores, (0, more))
        offsets = None if offsets is None else offsets.clamp_min(LEFT_OUT)
        margins, by_states = torch.empty_like(target_scores), torch.empty_like(states)
        by_candidates = candidates.new_zeros(candidates.T.shape)  # [width, n]: its products are faster so
        bounds = torch.searchsorted(hits[0], torch.arange(0, count + rows, rows).to(hits[0])).tolist()
        for start, *hit in zip(range(0, count, rows), bounds[:-1], bounds[1:], strict=True):
            met, part = slice(*hit), slice(start, start + rows)
            scores = times(states[part], candidates, offsets)
            scores[hits[0][met] - start, hits[1][met]] = LEFT_OUT
            largest, chances = scores.amax(1), torch.softmax(scores, 1, out=scores)  # `exp` is slower
            margins[part] = largest - chances.amax(1).log() - target_scores[part]
            shares = (margins[part].sigmoid() / count)[:, None]
            by_states[part] = times(chances, candidates.T, None) * shares
            by_candidates += times((states[part] * shares).T, chances.T, None)
        ctx.save_for_backward(by_states[:count], margins[:count].sigmoid() / -count, by_candidates.T)
        return (softplus(margins, threshold=40) + 0 * target_scores)[:count].mean()  # inf: NaN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return *(part * gradient for part in ctx.saved_tensors), None, None
