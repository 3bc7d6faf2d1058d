"""Weights of scores by what they rank: NDCG@10 of the targets, raised from fitted weights one weight at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from recbole_unisid.distributed import mean_over_processes, world
from recbole_unisid.models.shards import each

#: How much a weight changes at once, up or down, and how often at most; items that are ranked with a target.
FACTOR, MOVES, KEPT = 1.25, 40, 256
_FACTORS, _ROUNDING = (FACTOR, 1 / FACTOR), 1e-9  # a gain of one case is its own standard error


def ranked_weights(
    features: Sequence[Callable[[], Iterable[tuple[Tensor, Tensor]]]],
    weights: Tensor,
    unused: Tensor,
    by: Callable[..., list[Tensor]] = each,
) -> Tensor:
    """Weights that rank the targets higher than those given, float64 [count].

    The likelihood asks for chances of the whole catalogue, and a model whose score is no good measure of them gets
    weights that do not rank well. So a weight at a time is multiplied or divided by `FACTOR`: of the changes whose gain
    in mean NDCG@10 is more than its own standard error over the cases the largest gain, until there is none. A target
    is ranked among the `KEPT` other items that score highest under the weights given; of equal scores it comes last.

    `features`, `unused` and `by` are those of :func:`~recbole_unisid.models.score_terms.fit.fitted_weights`.
    """
    count, given = len(weights), weights
    lists = [part for part in by(lambda parts: _shortlists(parts(), given, unused), features) if part.numel()]
    for _ in range(MOVES):
        sums = sum(by(partial(_gains, weights), lists), torch.zeros(2 * count, 3, dtype=torch.float64))
        total = torch.tensor(mean_over_processes(sums.flatten().tolist()), dtype=torch.float64) * world()
        cases, gain, squares = total.view(2 * count, 3).unbind(1)
        mean = gain / cases.clamp(min=1)
        error = ((squares / cases.clamp(min=1) - mean**2).clamp(min=0) / (cases - 1).clamp(min=1)).sqrt()
        clear = (cases > 1) & (mean > error * (1 + _ROUNDING))
        if not clear.any():
            break
        best = int(mean.where(clear, 0.0).argmax())
        weights = weights.clone()
        weights[best // 2] *= _FACTORS[best % 2]
    return weights


def _shortlists(parts: Iterable[tuple[Tensor, Tensor]], weights: Tensor, unused: Tensor) -> Tensor:
    """The features of some targets and of the items that score highest beside them, [count, cases, 1 + KEPT]."""
    kept = min(KEPT, int((~unused).sum()) - 1)
    lists = [weights.new_zeros(len(weights), 0, 1 + kept)]
    for found, targets in parts:
        scores = torch.einsum("f,fcn->cn", weights.to(found), found).masked_fill_(unused, -torch.inf)
        others = scores.scatter_(1, targets[:, None], -torch.inf).topk(kept).indices
        items = torch.cat([targets[:, None], others], dim=1)
        lists.append(found.gather(2, items.expand(len(found), -1, -1)))
    return torch.cat([part.to(lists[-1]) for part in lists], dim=1)


def _gains(weights: Tensor, lists: Tensor) -> Tensor:
    """Of every change, up and down of each weight: cases, sum of gains, sum of their squares, [2 * count, 3]."""
    scores = torch.einsum("f,fck->ck", weights.to(lists), lists)
    now, rows = _ndcg(scores), []
    for weight, feature in zip(weights.tolist(), lists, strict=True):
        for factor in _FACTORS:
            gains = _ndcg(scores + (factor - 1) * weight * feature) - now
            rows.append(torch.stack([gains.new_tensor(len(gains)), gains.sum(), gains.square().sum()]))
    return torch.stack(rows).cpu()


def _ndcg(scores: Tensor) -> Tensor:
    """NDCG@10 of the first of each row, float64 [cases]."""
    rank = 1 + (scores[:, 1:] >= scores[:, :1]).sum(1).double()
    return (1 / (rank + 1).log2()).masked_fill(rank > 10, 0.0)
