"""One item a code tuple: a capacity-limited last level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from recbole_unisid.errors import UserError
from recbole_unisid.tokens.quantiser import code_distances, decode, squared_distances

#: Items whose latents are held at once.
_CHUNK = 8192

Taken = dict[tuple[int, ...], set[int]]


def balance(
    latents: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    codes: NDArray[np.int64],
    codebooks: Sequence[NDArray[np.float32]],
    distances: Sequence[str],
) -> NDArray[np.int64]:
    """Give every item a tuple of its own, near the one it had.

    Items with the same prefix (all codes but the last) share out the last level's codes so that their summed
    squared error is least (an assignment problem, Kuhn 1955), where any two of them collide. Of more items
    than codes, those with the largest error leave; each goes to the nearest prefix that has room.

    Parameters
    ----------
    latents : callable
        From row numbers [m] to the latents of these items, float32 [m, width].
    codes : ndarray of int64, shape [items, levels]
        As the tokenizer gives them.
    codebooks : sequence of ndarray of float32, shape [codes, width] each
    distances : sequence of str
        Of each level; tells which prefixes are near.

    Returns
    -------
    ndarray of int64, shape [items, levels]

    Raises
    ------
    UserError
        When there are more items than tuples.
    """
    books = [torch.from_numpy(book) for book in codebooks]
    capacity = math.prod(len(book) for book in books)
    if len(codes) > capacity:
        raise UserError(f"{len(codes)} items but {capacity} code tuples; give more codes or levels.")
    codes = codes.copy()
    leaving: list[int] = []
    for rows, sizes in _colliding_groups(codes):
        residuals = _last_residuals(latents(rows), codes[rows], books)  # r_L, [rows, width]
        errors = squared_distances(residuals, books[-1]).numpy()  # [rows, last codes]
        for start, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
            group, cost = rows[start : start + size], errors[start : start + size]
            worst_last = np.argsort(cost[np.arange(size), codes[group, -1]], kind="stable")
            stay, leave = np.split(worst_last, [min(size, len(books[-1]))])
            chosen, last = linear_sum_assignment(cost[stay])
            codes[group[stay[chosen]], -1] = last
            leaving.extend(group[leave].tolist())
    if leaving:
        gone = np.zeros(len(codes), dtype=bool)
        gone[leaving] = True
        taken = taken_codes(codes[~gone])
        rows = np.array(sorted(leaving))
        for row, latent in zip(rows, latents(rows), strict=True):
            codes[row] = free_tuple(torch.from_numpy(latent), books, distances, taken)
    return codes


def taken_codes(codes: NDArray[np.int64]) -> Taken:
    """The last codes in use under each prefix."""
    taken: Taken = {}
    for *prefix, last in codes.tolist():
        taken.setdefault(tuple(prefix), set()).add(last)
    return taken


def free_tuple(
    latent: Tensor, codebooks: Sequence[Tensor], distances: Sequence[str], taken: Taken
) -> list[int]:
    """The nearest prefix with a free last code, and the best of its free codes; both are then taken.

    Parameters
    ----------
    latent : Tensor, shape [width]
    codebooks : sequence of Tensor, shape [codes, width] each
    distances : sequence of str
        Of each level.
    taken : dict
        From prefix to last codes in use; changed.

    Raises
    ------
    UserError
        When every tuple is taken.
    """
    for prefix, residual in _prefixes_by_fit(latent, codebooks[:-1], distances[:-1]):
        used = taken.setdefault(prefix, set())
        if len(used) < len(codebooks[-1]):
            errors = squared_distances(residual[None], codebooks[-1])[0]  # [last codes]
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


def _last_residuals(
    latents: NDArray[np.float32], codes: NDArray[np.int64], codebooks: Sequence[Tensor]
) -> Tensor:
    """What the last level has to explain, shape [n, width]."""
    points = torch.from_numpy(latents)
    if len(codebooks) == 1:
        return points
    return points - decode(torch.from_numpy(codes[:, :-1]), codebooks[:-1])
