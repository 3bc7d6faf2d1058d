"""A second target, the item after the next, with any loss."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from recbole_unisid.models.losses.next_item import Candidates, Loss, Positions


class Lookahead(nn.Module):
    """A loss, and `weight` times that loss of the item after the next, where the batch has it.

    The second one is a sum over the positions that have such an item, divided by all positions.
    """

    def __init__(self, loss: Loss, weight: float) -> None:
        super().__init__()
        self.loss, self.weight, self.generator = loss, weight, loss.generator

    def draw(self, targets: Tensor) -> Candidates:
        """What both targets are told from."""
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

    Parameters
    ----------
    asked : Tensor of bool, shape [batch, length]
        Where a target is asked for. Its P true places are numbered row by row, as ``states[asked]`` orders them.

    Returns
    -------
    here : Tensor of int64, shape [pairs]
        Numbers of the pairs' first positions.
    later : Tensor of int64, shape [pairs]
        Numbers of their second positions.

    Examples
    --------
    >>> import torch
    >>> consecutive(torch.tensor([[True, True, False], [False, True, True]]))
    (tensor([0, 2]), tensor([1, 3]))
    """
    number = asked.flatten().cumsum(0).view(asked.shape) - 1
    both = asked[:, :-1] & asked[:, 1:]
    return number[:, :-1][both], number[:, 1:][both]
