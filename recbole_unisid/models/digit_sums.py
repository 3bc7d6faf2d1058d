"""Scores of items that are sums over their digits, for the whole catalogue, in bounded memory."""

from __future__ import annotations

import torch
from torch.nn import functional

#: Scores worked on at once, beside the result: 32 MB in float32.
_BLOCK = 2**23


def catalogue_digit_sums(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Sum each item's values over its digits; nothing of the size users x items x digits is made.

    Parameters
    ----------
    values : Tensor, shape [batch, sum of codebook sizes]
        What each code of each digit is worth to each user, digit after digit.
    rows : Tensor of int64, shape [n_items, digits]
        Columns of `values` that an item's digits are.

    Returns
    -------
    Tensor, shape [batch, n_items]
        Items of equal digits have equal scores, to the last bit.
    """
    table = values.T.contiguous()  # [sum of sizes, batch]: a digit is then a row to add
    scores = values.new_empty(len(values), len(rows))
    step = max(1, _BLOCK // max(len(values), 1))
    for start in range(0, len(rows), step):
        part = functional.embedding_bag(rows[start : start + step], table, mode="sum")  # [step, batch]
        scores[:, start : start + step] = part.T
    return scores
