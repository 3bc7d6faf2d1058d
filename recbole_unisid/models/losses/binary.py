"""Binary cross-entropy of a target and its own negatives, plain or calibrated."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recbole_unisid.models.losses.next_item import Candidates, Loss, Positions


class Bce(Loss):
    r"""Binary cross-entropy of a target and uniform negatives of each position's own.

    .. math:: -\beta \log \sigma(s_+) - \sum_j \log(1 - \sigma(s_j))

    with beta = 1; the UniSID paper has one negative.
    """

    calibration = 1.0
    shares_candidates = False

    def draw(self, targets: Tensor) -> Candidates:
        """Uniform item numbers [P, negatives]."""
        shape = (len(targets), self.negatives)
        drawn = torch.randint(len(self.eligible), shape, generator=self.generator)
        return Candidates(self.eligible[drawn])

    def forward(self, positions: Positions) -> Tensor:
        targets = self.calibration * functional.softplus(-positions.target_scores())  # [P]
        return (targets + functional.softplus(positions.scores()).sum(-1)).mean()


class Gbce(Bce):
    """Calibrated, gBCE: beta is :func:`gbce_calibration` (Petrov and Macdonald 2023, eq. 8)."""

    def __init__(self, config: Any, dataset: Any, eligible: Tensor) -> None:
        super().__init__(config, dataset, eligible)
        self.calibration = gbce_calibration(dataset.item_num - 1, self.negatives, config["gbce_t"])


def gbce_calibration(n_items: int, negatives: int, temperature: float) -> float:
    r"""The exponent of gBCE that undoes the overconfidence of sampled negatives.

    .. math:: \beta = \alpha\left(t\left(1 - \tfrac1\alpha\right) + \tfrac1\alpha\right),
              \quad \alpha = \tfrac{n}{N - 1}

    with N items in the catalogue, n negatives a position and a temperature t in [0, 1]: 0 is BCE, 1 is fully calibrated
    (Petrov and Macdonald 2023, eq. 10).

    >>> gbce_calibration(n_items=101, negatives=10, temperature=0.0)
    1.0
    """
    rate = min(1.0, negatives / max(n_items - 1, 1))
    return rate * (temperature * (1 - 1 / rate) + 1 / rate)
