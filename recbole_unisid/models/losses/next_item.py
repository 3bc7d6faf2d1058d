"""Next-item losses, shared by every model so that a comparison compares models.

A score is the inner product of a state h and an item vector e. Each function takes the states of P
positions that have a target and returns the mean loss over them.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from recbole_unisid.models.losses.shared_softmax import matches, shared_softmax_loss


def softmax_loss(
    states: torch.Tensor, items: torch.Tensor, targets: torch.Tensor, left_out: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy over the whole catalogue.

    Parameters
    ----------
    states : Tensor, shape [P, width]
        States of the positions.
    items : Tensor, shape [n_items + 1, width]
        All item vectors; row 0 is padding and no candidate.
    targets : Tensor of int64, shape [P]
        Item numbers from 1.
    left_out : Tensor of bool, shape [n_items + 1], optional
        Items that are no candidates (never trained on), none of them a target.
    """
    offsets = items.new_zeros(len(items) - 1)
    if left_out is not None:
        offsets = offsets.masked_fill(left_out[1:], -torch.inf)
    hits = torch.arange(len(targets), device=targets.device), targets - 1
    return shared_softmax_loss(states, (states * items[targets]).sum(-1), items[1:], offsets, hits)


def sampled_softmax_loss(
    states: torch.Tensor,
    positives: torch.Tensor,
    negatives: torch.Tensor,
    targets: torch.Tensor,
    negative_ids: torch.Tensor,
    log_expected: float | torch.Tensor,
) -> torch.Tensor:
    r"""Cross-entropy of the target among itself and negatives shared by the batch, with the logQ correction.

    .. math:: -\log\frac{e^{s_+}}{e^{s_+} + \sum_j e^{s_j - \log E_j}}

    where :math:`E_j` is how often item j is expected in the sample: the sum then estimates the softmax's
    (Bengio and Senecal 2008; uniform negatives: :math:`E = n / N`; with all of them it is the softmax).

    Parameters
    ----------
    states, positives : Tensor, shape [P, width]
        States and the vectors of their targets.
    negatives : Tensor, shape [n, width]
        Vectors of the shared negatives.
    targets : Tensor of int64, shape [P]
        Item numbers of the targets.
    negative_ids : Tensor of int64, shape [n]
        Item numbers of the negatives; a negative that is a position's target counts once, as the target.
    log_expected : float or Tensor, shape [n]
        log E of each negative.
    """
    expected = torch.as_tensor(log_expected, dtype=states.dtype, device=states.device)
    return shared_softmax_loss(
        states,
        (states * positives).sum(-1),
        negatives,
        -expected.expand(len(negatives)),
        matches(targets, negative_ids),
    )


def binary_loss(
    states: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, calibration: float = 1.0
) -> torch.Tensor:
    r"""Binary cross-entropy of a target and its own negatives.

    .. math:: -\beta \log \sigma(s_+) - \sum_j \log(1 - \sigma(s_j))

    Parameters
    ----------
    states, positives : Tensor, shape [P, width]
        States and the vectors of their targets.
    negatives : Tensor, shape [P, n, width]
        Vectors of each position's negatives.
    calibration : float
        The exponent beta of gBCE (Petrov and Macdonald 2023, eq. 8); 1 is plain BCE, as in the UniSID
        paper with n = 1.
    """
    target_score = (states * positives).sum(-1)  # [P]
    scores = torch.einsum("pw,pnw->pn", states, negatives)  # [P, n]
    loss = calibration * functional.softplus(-target_score) + functional.softplus(scores).sum(-1)
    return loss.mean()


def gbce_calibration(n_items: int, negatives: int, temperature: float) -> float:
    r"""The exponent of gBCE that undoes the overconfidence of sampled negatives.

    .. math:: \beta = \alpha\left(t\left(1 - \tfrac1\alpha\right) + \tfrac1\alpha\right),
              \quad \alpha = \tfrac{n}{N - 1}

    Parameters
    ----------
    n_items : int
        Items in the catalogue.
    negatives : int
        Negatives a position.
    temperature : float
        t in [0, 1]: 0 is BCE, 1 is fully calibrated (Petrov and Macdonald 2023, eq. 10).

    Examples
    --------
    >>> gbce_calibration(n_items=101, negatives=10, temperature=0.0)
    1.0
    """
    rate = min(1.0, negatives / max(n_items - 1, 1))
    return rate * (temperature * (1 - 1 / rate) + 1 / rate)


def log_expected_uniform(n_items: int, negatives: int) -> float:
    """Log of how often an item is expected among `negatives` distinct uniform draws."""
    return math.log(negatives / n_items)
