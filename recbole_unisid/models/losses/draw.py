"""Drawing from a large catalogue in time that its size does not enter."""

from __future__ import annotations

import torch
from torch import Tensor

#: Items above which negatives are drawn, and ID tables are trained, by what a step touches alone.
LARGE_CATALOGUE = 100_000


def distinct_numbers(count: int, among: int, generator: torch.Generator) -> Tensor:
    """Distinct uniform numbers below `among`, ascending, int64 [count], or all if there are no more.

    What was drawn before is drawn again, so that all sets of that size are equally likely.

    >>> distinct_numbers(3, 3, torch.Generator())
    tensor([0, 1, 2])
    """
    if 2 * count > among:
        return torch.randperm(among, generator=generator)[:count].sort().values
    drawn = torch.empty(0, dtype=torch.int64)
    while len(drawn) < count:
        drawn = torch.unique(
            torch.cat([drawn, torch.randint(among, (count - len(drawn),), generator=generator)])
        )
    return drawn
