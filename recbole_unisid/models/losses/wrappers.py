"""What any loss may have around it: label smoothing, and a second target, the item after the next."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from recbole_unisid.models.losses.next_item import Candidates, Loss, Positions


class Smoothed(nn.Module):
    r"""A softmax loss with a share :math:`\epsilon` of the target's probability given to all candidates alike.

    The normaliser is common to all (Szegedy et al. 2016, section 7), so that one term of scores is left, and the mean
    over candidates that a batch shares is one product; sampled ones count as they are, without the logQ correction:

    .. math:: (1 - \epsilon)(\log Z - s_+) + \frac{\epsilon}{n} \sum_j (\log Z - s_j)
              = (\log Z - s_+) + \epsilon \Bigl(s_+ - \frac1n \sum_j s_j\Bigr)
    """

    def __init__(self, loss: Loss, share: float) -> None:
        super().__init__()
        self.loss, self.share, self.generator = loss, share, loss.generator

    def draw(self, targets: Tensor) -> Candidates:
        """The items that the targets compete with."""
        return self.loss.draw(targets)

    def forward(self, positions: Positions) -> Tensor:
        """Mean loss over positions, shape []."""
        candidates = positions.vectors  # [n, width]
        if positions.candidates.numbers is None:  # all items, padding first
            candidates = candidates[self.loss.eligible]
        mean_score = positions.states.mean(0) @ candidates.mean(0)
        loss: Tensor = self.loss(positions) + self.share * (positions.target_scores().mean() - mean_score)
        return loss


class Lookahead(nn.Module):
    """A loss, and `weight` times that loss of the item after the next, where the batch has it.

    The second one is a sum over the positions that have such an item, divided by all positions.
    """

    def __init__(self, loss: Loss | Smoothed, weight: float) -> None:
        super().__init__()
        self.loss, self.weight, self.generator = loss, weight, loss.generator

    def draw(self, targets: Tensor) -> Candidates:
        """The items that both targets compete with."""
        return self.loss.draw(targets)

    def forward(self, positions: Positions) -> Tensor:
        """Mean loss over positions, shape []."""
        first: Tensor = self.loss(positions)
        here, later = consecutive(positions.asked)
        if not len(here):
            return first
        numbers, vectors = positions.candidates.numbers, positions.vectors
        if vectors.dim() == 3:  # each position's own
            numbers, vectors = None if numbers is None else numbers[here], vectors[here]
        shifted = replace(
            positions,
            states=positions.states[here],
            targets=positions.targets[later],
            target_vectors=positions.target_vectors[later],
            candidates=replace(positions.candidates, numbers=numbers),
            vectors=vectors,
        )
        second: Tensor = self.loss(shifted)
        return first + self.weight * second * (len(here) / len(positions.targets))


def consecutive(asked: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of neighbouring positions that both have a target: the second's is the item after the next of the first.

    The places where a target is `asked` for, bool [batch, length], are numbered row by row, as ``states[asked]`` orders
    them. Numbers of the pairs' first and second positions, int64 [pairs] each.

    >>> import torch
    >>> consecutive(torch.tensor([[True, True, False], [False, True, True]]))
    (tensor([0, 2]), tensor([1, 3]))
    """
    number = asked.flatten().cumsum(0).view(asked.shape) - 1
    both = asked[:, :-1] & asked[:, 1:]
    return number[:, :-1][both], number[:, 1:][both]
