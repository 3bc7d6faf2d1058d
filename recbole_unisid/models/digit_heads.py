"""All digits of the next item at once: a head for each, and the loss over all (RPG, arXiv 2506.05781)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class DigitHeads(nn.Module):
    r"""A state to log-probabilities of every digit's codes, each digit by itself.

    Digit j has a residual head :math:`g_j(h) = h + \mathrm{SiLU}(W_j h + b_j)`, and the codes' own vectors
    :math:`e_{jk}`, those that represent items, are its classes:

    .. math:: \log P_j(k \mid h) = \log\mathrm{softmax}_k\left(\cos(g_j(h), e_{jk}) / \tau\right)

    Parameters
    ----------
    width : int
        Width of states and code vectors.
    codebook_sizes : list of int
        Codes of each digit.
    temperature : float
        The divisor tau of the cosines.
    """

    def __init__(self, width: int, codebook_sizes: Sequence[int], temperature: float) -> None:
        super().__init__()
        self.codebook_sizes, self.temperature = list(codebook_sizes), temperature
        self.heads = nn.ModuleList(nn.Linear(width, width) for _ in codebook_sizes)

    def start_as_identity(self) -> None:
        """Zero all heads: at first every digit reads the state itself."""
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def forward(self, states: torch.Tensor, table: torch.Tensor) -> list[torch.Tensor]:
        """Log-probabilities of codes.

        Parameters
        ----------
        states : Tensor, shape [P, width]
            One a position.
        table : Tensor, shape [sum of sizes, width]
            Code vectors, digit after digit.

        Returns
        -------
        list of Tensor, shape [P, codes of the digit] each
        """
        found = []
        classes = torch.split(functional.normalize(table, dim=-1), self.codebook_sizes)
        for head, vectors in zip(self.heads, classes, strict=True):
            read = functional.normalize(states + functional.silu(head(states)), dim=-1)  # [P, width]
            found.append(functional.log_softmax(read @ vectors.T / self.temperature, dim=-1))
        return found


def multi_token_loss(log_probabilities: Sequence[torch.Tensor], codes: torch.Tensor) -> torch.Tensor:
    r"""Mean over positions of :math:`-\sum_j \log P_j(c_j)`, the target's digits taken as independent.

    Parameters
    ----------
    log_probabilities : sequence of Tensor, shape [P, codes of the digit] each
        From :class:`DigitHeads`.
    codes : Tensor of int64, shape [P, digits]
        Of the targets.
    """
    digits = zip(log_probabilities, codes.T, strict=True)
    return torch.stack([functional.nll_loss(found, code) for found, code in digits]).sum()
