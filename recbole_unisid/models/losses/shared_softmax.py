"""Cross-entropy among candidates that a batch shares, without ever holding all scores.

Autograd would keep the scores and several copies of them (masked, exponentiated, their gradient): the larger part
of the time and memory of training with thousands of negatives. The gradient is known in closed form, so
both are computed here in one pass over the scores, a chunk of positions at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

#: Scores held at a time (2 MiB of float32): they stay in the processor's cache.
CHUNK_SCORES = 1 << 19


def shared_softmax_loss(
    states: torch.Tensor,
    target_scores: torch.Tensor,
    candidates: torch.Tensor,
    offsets: torch.Tensor,
    hits: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    r"""Mean cross-entropy of each target among itself and the candidates.

    .. math:: \frac1P \sum_p \log\Bigl(e^{t_p} + \sum_{j \notin hits(p)} e^{h_p \cdot e_j + o_j}\Bigr) - t_p

    Parameters
    ----------
    states : Tensor, shape [P, width]
        States h of the positions.
    target_scores : Tensor, shape [P]
        Scores t of their targets.
    candidates : Tensor, shape [n, width]
        Vectors e of the candidates.
    offsets : Tensor, shape [n]
        Added to each candidate's scores; -inf leaves it out. No gradient.
    hits : pair of Tensor of int64, shape [h] each
        Positions (ascending) and candidates that are not to meet: the candidate is the position's target.

    Returns
    -------
    Tensor, shape []
    """
    # At least float32 and outside autocast: exponentials of thousands of scores are summed.
    dtype = torch.promote_types(states.dtype, torch.float32)
    with torch.autocast(states.device.type, enabled=False):
        loss: torch.Tensor = _SharedSoftmax.apply(  # type: ignore[no-untyped-call]
            states.to(dtype), target_scores.to(dtype), candidates.to(dtype), offsets.to(dtype), hits
        )
    return loss


def matches(targets: torch.Tensor, candidate_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a candidate is a position's target: positions (ascending) and candidates.

    Parameters
    ----------
    targets : Tensor of int64, shape [P]
        Item numbers of the targets.
    candidate_ids : Tensor of int64, shape [n]
        Item numbers of the candidates, possibly repeated.

    Examples
    --------
    >>> [t.tolist() for t in matches(torch.tensor([5, 7, 5]), torch.tensor([7, 5, 5]))]
    [[0, 0, 1, 2, 2], [1, 2, 0, 1, 2]]
    """
    ids, order = torch.sort(candidate_ids, stable=True)
    first = torch.searchsorted(ids, targets)
    counts = torch.searchsorted(ids, targets, right=True) - first  # [P]
    positions = torch.repeat_interleave(counts)  # [h]
    within = torch.arange(len(positions), device=ids.device) - (counts.cumsum(0) - counts)[positions]
    return positions, order[first[positions] + within]


class _SharedSoftmax(torch.autograd.Function):
    """The loss and, in the same pass, its gradient by states, target scores and candidates."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        target_scores: torch.Tensor,
        candidates: torch.Tensor,
        offsets: torch.Tensor,
        hits: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        count, rows = len(states), max(1, CHUNK_SCORES // max(1, len(candidates)))
        by_states, by_candidates = torch.empty_like(states), torch.zeros_like(candidates)
        by_targets, losses = torch.empty_like(target_scores), torch.empty_like(target_scores)
        starts = torch.arange(0, count + rows, rows, device=states.device)
        bounds = torch.searchsorted(hits[0], starts).tolist()
        room = states.new_empty(
            rows, len(candidates)
        )  # one for all chunks and of one size: the heap does not grow
        for chunk, start in enumerate(range(0, count, rows)):
            part, hit = slice(start, start + rows), slice(bounds[chunk], bounds[chunk + 1])
            scores = room[: len(states[part])]  # [rows, n]
            torch.addmm(offsets, states[part], candidates.T, out=scores)
            scores[hits[0][hit] - start, hits[1][hit]] = -torch.inf
            target_weight, total, losses[part] = _exponentiate(scores, target_scores[part])
            scale = 1 / (total * count)  # scores * scale: the softmax, divided by P
            by_targets[part] = target_weight * scale - 1 / count
            by_states[part] = (scores @ candidates) * scale[:, None]
            by_candidates.addmm_(scores.T, states[part] * scale[:, None])
        ctx.save_for_backward(by_states, by_targets, by_candidates)
        return losses.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        by_states, by_targets, by_candidates = ctx.saved_tensors
        return by_states * gradient, by_targets * gradient, by_candidates * gradient, None, None


def _exponentiate(
    scores: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Turn scores [rows, n] into exponentials, in place; the target's, the sum of all, and the losses: [rows]."""
    largest = torch.maximum(target, scores.amax(1)) if scores.shape[1] else target
    target_weight = (target - largest).exp()
    total = scores.sub_(largest[:, None]).exp_().sum(1) + target_weight
    return target_weight, total, total.log() + largest - target
