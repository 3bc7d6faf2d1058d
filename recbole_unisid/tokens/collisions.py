"""What to do about items that share a code tuple."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from recbole_unisid.errors import UserError
from recbole_unisid.tokens.health import tuple_groups
from recbole_unisid.tokens.quantiser import code_distances, decode, squared_distances
from recbole_unisid.tokens.tokenizer import Tokenizer

#: Items whose latents are held at once.
_CHUNK = 8192

#: From prefix to last codes in use.
Taken = dict[tuple[int, ...], set[int]]

#: ``none``: the ID token tells items apart. ``suffix``: TIGER's extra level that counts through a
#: tuple's items (arXiv 2305.05065). ``balanced``: a last level of limited capacity.
STRATEGIES = ("none", "suffix", "balanced")


def resolve_collisions(
    strategy: str, codes: NDArray[np.int64], vectors: NDArray[np.float32], tokenizer: Tokenizer
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Apply a strategy to the codes of all items, as a fitted tokenizer gives them.

    The codes are [items, levels], with a suffix [items, levels + 1]. For the health report comes the ``strategy`` and
    what it changed; a suffix has its ``suffix_size`` there.

    Raises UserError: when there are more items than tuples to balance them over.
    """
    changes: dict[str, Any] = {"strategy": strategy}
    if strategy == "suffix":
        suffix = occurrence_numbers(codes)
        changes |= {"suffix_size": int(suffix.max()) + 1, "items_told_apart": int((suffix > 0).sum())}
        return np.column_stack([codes, suffix]), changes
    if strategy == "balanced":
        nearest, books = codes, tokenizer.codebooks
        codes = balance(lambda rows: tokenizer.latents(vectors[rows]), nearest, books, tokenizer.distances)
        moved = codes != nearest
        changes["items_changed"] = int(moved.any(axis=1).sum())
        changes["items_with_another_prefix"] = int(moved[:, :-1].any(axis=1).sum())
    return codes, changes


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
    """Apply a strategy to new items' codes [new, levels] while the known ones [items, ...] keep theirs.

    New items beyond the `suffix_size` suffixes share the last one: a model's table of suffixes does not grow.
    A balanced new item whose tuple is taken gets the best free one for its latent, in the order of the items.
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


def balance(
    latents: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    codes: NDArray[np.int64],
    codebooks: Sequence[NDArray[np.float32]],
    distances: Sequence[str],
) -> NDArray[np.int64]:
    """Give every item a tuple of its own, near the one it had.

    Items with the same prefix (all codes but the last) share out the last level's codes so that their summed
    squared error is least (an assignment problem, Kuhn 1955), where any two of them collide. Of more items
    than codes, those with the largest error leave; each goes to the nearest prefix that has room, by the levels'
    distances. `latents` gives those of items by row number, [m] -> [m, width].

    Raises UserError: when there are more items than tuples.
    """
    books = [torch.from_numpy(book) for book in codebooks]
    capacity = math.prod(len(book) for book in books)
    if len(codes) > capacity:
        raise UserError(f"{len(codes)} items but {capacity} code tuples; give more codes or levels.")
    codes = codes.copy()
    leaving: list[int] = []
    for rows, sizes in _colliding_groups(codes):
        residuals = torch.from_numpy(latents(rows))  # of the last level r_L, [rows, width]
        if len(books) > 1:
            residuals = residuals - decode(torch.from_numpy(codes[rows, :-1]), books[:-1])
        errors = squared_distances(residuals, books[-1]).numpy()  # [rows, last codes]
        for start, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
            group, cost = rows[start : start + size], errors[start : start + size]
            worst_last = np.argsort(cost[np.arange(size), codes[group, -1]], kind="stable")
            stay, leave = np.split(worst_last, [min(size, len(books[-1]))])
            chosen, last = linear_sum_assignment(cost[stay])
            codes[group[stay[chosen]], -1] = last
            leaving.extend(group[leave].tolist())
    if leaving:
        rows = np.array(sorted(leaving))
        taken = taken_codes(np.delete(codes, rows, axis=0))
        for row, latent in zip(rows, latents(rows), strict=True):
            codes[row] = free_tuple(torch.from_numpy(latent), books, distances, taken)
    return codes


def taken_codes(codes: NDArray[np.int64]) -> Taken:
    """The last codes in use under each prefix."""
    taken: Taken = {}
    for *prefix, last in codes.tolist():
        taken.setdefault(tuple(prefix), set()).add(last)
    return taken


def free_tuple(latent: Tensor, books: Sequence[Tensor], distances: Sequence[str], taken: Taken) -> list[int]:
    """The nearest prefix with a free last code, and the best of its free codes; ``UserError`` where none is free."""
    for prefix, residual in _prefixes_by_fit(latent, books[:-1], distances[:-1]):
        used = taken.setdefault(prefix, set())
        if len(used) < len(books[-1]):
            errors = squared_distances(residual[None], books[-1])[0]  # [last codes]
            errors[list(used)] = torch.inf
            last = int(errors.argmin())
            used.add(last)
            return [*prefix, last]
    raise UserError("Every code tuple is taken; give more codes or levels.")


def _prefixes_by_fit(
    residual: Tensor, codebooks: Sequence[Tensor], distances: Sequence[str], prefix: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Every prefix with what it leaves over [width], the deepest level's next-best codes first."""
    if not codebooks:
        yield prefix, residual
        return
    order = code_distances(residual[None], codebooks[0], distances[0])[0].argsort(stable=True)
    for code in order.tolist():
        rest = residual - codebooks[0][code]
        yield from _prefixes_by_fit(rest, codebooks[1:], distances[1:], (*prefix, code))


def _colliding_groups(codes: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Blocks of whole groups: rows ordered by prefix, and the sizes of the groups that have collisions."""
    order = np.lexsort(codes.T[::-1])  # by first code, then second, ...
    ordered = codes[order]
    same_prefix = (ordered[1:, :-1] == ordered[:-1, :-1]).all(axis=1)
    first = np.flatnonzero(np.concatenate([[True], ~same_prefix]))
    sizes = np.diff(np.append(first, len(codes)))
    twin = np.concatenate([[False], same_prefix & (ordered[1:, -1] == ordered[:-1, -1])])
    colliding = np.add.reduceat(twin, first, dtype=np.int64) > 0
    first, sizes = first[colliding], sizes[colliding]
    blocks = np.cumsum(sizes) // _CHUNK
    for block in np.unique(blocks):
        inside = blocks == block
        starts = zip(first[inside], sizes[inside], strict=True)
        yield np.concatenate([order[start : start + size] for start, size in starts]), sizes[inside]
