"""A batch's own targets as negatives, and how often an item is expected among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_unisid.data.split import TRAIN
from recbole_unisid.models.losses.next_item import Candidates, SampledSoftmax


class MixedSoftmax(SampledSoftmax):
    """The softmax of :class:`SampledSoftmax` among the batch's own targets, each once, and uniform negatives."""

    target_shares: Tensor

    def __init__(self, config: Any, dataset: Any, eligible: Tensor) -> None:
        super().__init__(config, dataset, eligible)
        if dataset.sequences is not None:  # a finished run trains no more
            trained = dataset.sequences.items[dataset.split.targets(TRAIN)]
            shares = torch.from_numpy(target_shares(trained, dataset.item_num - 1)).float()
            self.register_buffer("target_shares", shares, persistent=False)

    def draw(self, targets: Tensor) -> Candidates:
        uniform = self.uniform()
        numbers, share = torch.cat([torch.unique(targets), uniform]), len(uniform) / len(self.eligible)
        expected = log_expected_in_batch(self.target_shares[numbers], len(targets), share)
        return Candidates(numbers, -expected)


class InBatchSoftmax(MixedSoftmax):
    """The batch's own targets alone, each once."""

    def __init__(self, config: Any, dataset: Any, eligible: Tensor) -> None:
        super().__init__(config, dataset, eligible)
        self.negatives = 0  # uniform ones


def target_shares(targets: NDArray[np.int64], n_items: int) -> NDArray[np.float64]:
    """Share of an epoch's targets, item numbers from 1, that each item is, shape [n_items + 1]; 0 for padding."""
    counts = np.bincount(targets, minlength=n_items + 1)
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def log_expected_in_batch(shares: Tensor, positions: int, uniform: float = 0.0) -> Tensor:
    r"""Log of how often items are expected among the distinct targets of a batch and uniform draws.

    .. math:: \log\left(1 - (1 - p_j)^{P - 1} + n / N\right)

    where :math:`p_j` is the item's share of all targets. For the position whose loss it is, its own target
    is given and P - 1 others are drawn. An item is counted once however often the batch asks for it, so that
    this is the probability that one of them is j; uniform draws add their own expectation. Divided by it,
    the scores of all negatives estimate the sum over the catalogue without bias (Yi et al. 2019, "Sampling-
    bias-corrected neural modeling", with counts in place of their streaming estimate), as far as a batch is
    a random sample: ours holds whole sequences. `shares` [n] are those of the negatives, from :func:`target_shares`.
    """
    others = max(1, positions - 1)
    # As expm1 and log1p: most shares are tiny.
    return torch.log(uniform - torch.expm1(others * torch.log1p(-shares)))
