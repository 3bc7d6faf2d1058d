"""Which targets of a batch have the target after them in the batch, too."""

from __future__ import annotations

import torch


def consecutive(asked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
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
    >>> consecutive(torch.tensor([[True, True, False], [False, True, True]]))
    (tensor([0, 2]), tensor([1, 3]))
    """
    number = asked.flatten().cumsum(0).view(asked.shape) - 1
    both = asked[:, :-1] & asked[:, 1:]
    return number[:, :-1][both], number[:, 1:][both]
