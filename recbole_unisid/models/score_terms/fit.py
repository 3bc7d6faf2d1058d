"""Weights of scores by Newton's method: a conditional logit over the catalogue, with a weak prior."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from recbole_unisid.distributed import mean_over_processes, world
from recbole_unisid.models.shards import each

#: Steps at most, the largest change of a weight that still counts as one, and the share of a sum that is rounding.
STEPS, SMALL, ROUNDING = 25, 1e-3, 1e-6


def fitted_weights(
    features: Sequence[Callable[[], Iterable[tuple[Tensor, Tensor]]]],
    count: int,
    unused: Tensor,
    start: Tensor | None = None,
    by: Callable[..., list[Tensor]] = each,
) -> Tensor:
    r"""The weights w under which the targets are most likely, float64 [count].

    .. math:: \sum_c \Bigl(\langle w, f_{c, t_c} \rangle - \log \sum_j e^{\langle w, f_{cj} \rangle}\Bigr)
              - \tfrac12 \lVert w - w_0 \rVert^2

    The sum is over cases c with targets t, that inside over items j. The prior :math:`w_0 = (1, 0, \dots, 0)` leaves
    the first feature, a model's score, as it is where there are few cases. The sum is concave: the result does not
    depend on the `start`, w_0 by default. Each of `features` gives at every call the same parts of some cases, features
    [count, cases, n_items + 1] and targets [cases]; `by` is the map that goes through them. `unused`, bool [n_items +
    1], are no candidates: padding, and items that are never trained on.
    """
    prior = torch.zeros(count, dtype=torch.float64)
    prior[0] = 1.0
    weights, step, last = prior if start is None else start, torch.zeros_like(prior), -torch.inf
    for _ in range(STEPS):
        value, gradient, curvature = _moments(features, weights, prior, unused, by)
        if not value >= last - ROUNDING * abs(value):  # too far, or no number: go half the way back
            step = step / 2
            weights = weights - step
        else:
            last, step = value, torch.linalg.solve(curvature, gradient)
            weights = weights + step
        if step.abs().max() < SMALL:
            break
    return weights


def _moments(
    features: Sequence[Callable[[], Iterable[tuple[Tensor, Tensor]]]],
    weights: Tensor,
    prior: Tensor,
    unused: Tensor,
    by: Callable[..., list[Tensor]],
) -> tuple[float, Tensor, Tensor]:
    """The sum to be maximised, its gradient, and minus its second derivatives, over all processes."""
    count = len(weights)
    found = by(lambda parts: _moments_of(parts(), weights, unused), features)  # in the order of the cases
    own = sum(found, torch.zeros(1 + count + count * count, dtype=torch.float64))
    total = torch.tensor(mean_over_processes(own.tolist()), dtype=torch.float64) * world()
    apart = weights - prior
    curvature = total[1 + count :].view(count, count) + torch.eye(count, dtype=torch.float64)
    return float(total[0]) - 0.5 * float(apart @ apart), total[1 : 1 + count] - apart, curvature


def _moments_of(parts: Iterable[tuple[Tensor, Tensor]], weights: Tensor, unused: Tensor) -> Tensor:
    """Those of some cases without the prior, one after another, float64 [1 + count + count^2]."""
    count = len(weights)
    value, gradient = 0.0, torch.zeros(count, dtype=torch.float64)
    curvature = torch.zeros(count, count, dtype=torch.float64)
    for found, targets in parts:
        scores = torch.einsum("f,fcn->cn", weights.to(found), found)
        log_shares = scores.masked_fill_(unused, -torch.inf).log_softmax(1)
        cases = torch.arange(len(targets), device=targets.device)
        value += float(log_shares[cases, targets].double().sum())
        shared = found * log_shares.exp()  # [count, cases, n_items + 1]
        mean = shared.sum(2)  # [count, cases]
        gradient += (found[:, cases, targets] - mean).double().sum(1).cpu()
        curvature += (shared.flatten(1) @ found.flatten(1).T - mean @ mean.T).double().cpu()
    return torch.cat([gradient.new_tensor([value]), gradient, curvature.flatten()])
