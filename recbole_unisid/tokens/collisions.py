"""What to do about items that share a code tuple."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.tokens.balance import balance, free_tuple, taken_codes
from recbole_unisid.tokens.health import tuple_groups
from recbole_unisid.tokens.tokenizer import Tokenizer

#: ``none``: the ID token tells items apart. ``suffix``: TIGER's extra level that counts through a
#: tuple's items (arXiv 2305.05065). ``balanced``: a last level of limited capacity.
STRATEGIES = ("none", "suffix", "balanced")


@dataclass(frozen=True)
class Resolved:
    """Codes after a strategy.

    Attributes
    ----------
    codes : ndarray of int64, shape [items, levels] or, with a suffix, [items, levels + 1]
    suffix_size : int
        Codes of the suffix level; 0 where there is none.
    changes : dict
        The strategy's name and what it changed, for the health report.
    """

    codes: NDArray[np.int64]
    suffix_size: int
    changes: dict[str, Any]


def check_strategy(strategy: str) -> None:
    """Refuse an unknown strategy.

    Raises
    ------
    UserError
    """
    if strategy not in STRATEGIES:
        raise UserError(
            f"collisions={strategy!r} is none of {', '.join(STRATEGIES)}.{did_you_mean(strategy, STRATEGIES)}"
        )


def resolve_collisions(
    strategy: str, codes: NDArray[np.int64], vectors: NDArray[np.float32], tokenizer: Tokenizer
) -> Resolved:
    """Apply a strategy to the codes of all items.

    Parameters
    ----------
    strategy : {"none", "suffix", "balanced"}
    codes : ndarray of int64, shape [items, levels]
        As `tokenizer` gives them.
    vectors : ndarray of float32, shape [items, width]
    tokenizer : Tokenizer
        Fitted.

    Raises
    ------
    UserError
        When the strategy is unknown, or there are more items than tuples to balance them over.
    """
    check_strategy(strategy)
    if strategy == "suffix":
        suffix = occurrence_numbers(codes)
        size = int(suffix.max()) + 1
        changes = {"strategy": strategy, "suffix_size": size, "items_told_apart": int((suffix > 0).sum())}
        return Resolved(np.column_stack([codes, suffix]), size, changes)
    if strategy == "balanced":
        balanced = balance(
            lambda rows: tokenizer.latents(vectors[rows]), codes, tokenizer.codebooks, tokenizer.distances
        )
        moved = (balanced[:, :-1] != codes[:, :-1]).any(axis=1)
        changes = {
            "strategy": strategy,
            "items_changed": int((balanced != codes).any(axis=1).sum()),
            "items_with_another_prefix": int(moved.sum()),
        }
        return Resolved(balanced, 0, changes)
    return Resolved(codes, 0, {"strategy": strategy})


def occurrence_numbers(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each item, how many before it have its tuple; shape [items]."""
    group, counts = tuple_groups(codes)
    order = np.argsort(group, kind="stable")
    first = np.cumsum(counts) - counts
    numbers = np.empty(len(codes), dtype=np.int64)
    numbers[order] = np.arange(len(codes)) - np.repeat(first, counts)
    return numbers


def place_new_items(
    strategy: str,
    codes: NDArray[np.int64],
    latents: NDArray[np.float32],
    known: NDArray[np.int64],
    suffix_size: int,
    tokenizer: Tokenizer,
) -> NDArray[np.int64]:
    """Apply a strategy to new items while the known ones keep their codes.

    Parameters
    ----------
    strategy : {"none", "suffix", "balanced"}
    codes : ndarray of int64, shape [new, levels]
        As `tokenizer` gives them.
    latents : ndarray of float32, shape [new, latent width]
    known : ndarray of int64, shape [items, levels or levels + 1]
        Codes of the known items after the strategy.
    suffix_size : int
        Codes of the suffix level. New items beyond it share its last code: a model's table of suffixes
        does not grow.
    tokenizer : Tokenizer

    Returns
    -------
    ndarray of int64, shape [new, as known]
        A balanced new item whose tuple is taken gets the best free one, in the order of the items.
    """
    levels = codes.shape[1]
    if strategy == "suffix":
        both = np.concatenate([known[:, :levels], codes])
        suffix = np.minimum(occurrence_numbers(both)[len(known) :], suffix_size - 1)
        return np.column_stack([codes, suffix])
    if strategy == "balanced":
        books = [torch.from_numpy(book) for book in tokenizer.codebooks]
        taken = taken_codes(known)
        codes = codes.copy()
        for row, (*prefix, last) in enumerate(codes.tolist()):
            used = taken.setdefault(tuple(prefix), set())
            if last in used:
                codes[row] = free_tuple(torch.from_numpy(latents[row]), books, tokenizer.distances, taken)
            used.add(last)
    return codes
