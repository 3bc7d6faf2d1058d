"""Items as words of a sequence model: which token stands for which code of which level."""

from __future__ import annotations

import itertools

import torch
from torch import nn


class CodeVocabulary(nn.Module):
    """Token numbers of padding, of hashed users and of the codes of every level (TIGER, section 3.2).

    Token 0 pads and begins every answer; tokens 1 .. users are users; the codes follow, level by level.

    Parameters
    ----------
    codes : Tensor of int64, shape [n_items + 1, levels]
        Codes of every item; row 0 (padding) is not used.
    sizes : list of int
        Codes of each level.
    users : int
        Buckets that users are hashed into; 0 for none.
    """

    def __init__(self, codes: torch.Tensor, sizes: list[int], users: int) -> None:
        super().__init__()
        self.sizes, self.users, self.levels = list(sizes), users, len(sizes)
        self.starts = [1 + users + before for before in itertools.accumulate([0, *sizes[:-1]])]
        self.size = 1 + users + sum(sizes)
        tokens = codes + torch.tensor(self.starts)
        tokens[0] = 0
        self.register_buffer("tokens", tokens, persistent=True)
        self.tokens: torch.Tensor

    def histories(self, items: torch.Tensor, users: torch.Tensor | None) -> torch.Tensor:
        """Write histories as tokens.

        Parameters
        ----------
        items : Tensor of int64, shape [batch, length]
            Item numbers, oldest first; 0 pads on the right.
        users : Tensor of int64, shape [batch], or None
            User numbers; None leaves the user's token out.

        Returns
        -------
        Tensor of int64, shape [batch, length * levels], with a user's token in front one more
        """
        tokens = self.tokens[items].flatten(1)
        if not self.users or users is None:
            return tokens
        return torch.cat([1 + users[:, None] % self.users, tokens], dim=1)


def prefix_histories(
    inputs: torch.Tensor, targets: torch.Tensor, max_len: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Take a batch of whole sequences apart: one history a target, for models that read one at a time.

    Parameters
    ----------
    inputs, targets : Tensor of int64, shape [batch, length]
        Item numbers, padded with 0 on the right; a target of 0 is not asked for.
    max_len : int
        Items of a history at most.

    Returns
    -------
    histories : Tensor of int64, shape [targets, longest]
        What stands before each target, oldest first, padded on the right.
    wanted : Tensor of int64, shape [targets]
    rows : Tensor of int64, shape [targets]
        The sequence each comes from.
    """
    rows, places = (targets > 0).nonzero(as_tuple=True)  # [targets]
    lengths = (places + 1).clamp(max=max_len)
    window = torch.arange(int(lengths.max()) if len(lengths) else 0, device=inputs.device)
    source = (places + 1 - lengths)[:, None] + window  # [targets, longest]
    inside = window < lengths[:, None]
    histories = torch.where(inside, inputs[rows[:, None], source.clamp(max=inputs.shape[1] - 1)], 0)
    return histories, targets[rows, places], rows
