"""The residual quantiser: UniSID's equations, once, for fitting, encoding and training alike.

A vector ``z`` (an item's text, or an encoder's output for it) becomes ``L`` codes, level by level::

    r_1     = z
    k_l     = argmax_k <r_l / |r_l|, c_lk / |c_lk|>      at a cosine level
    k_l     = argmin_k |r_l - c_lk|^2                    at a Euclidean level
    q_l     = c_l,k_l
    r_(l+1) = r_l - q_l
    q       = q_1 + ... + q_L,  so that  z = q + r_(L+1)

UniSID ("Unified Semantic and ID Representation Learning for Deep Recommenders", arXiv 2502.16474) takes cosine for all
levels but the last, and codes of length 1 there. A cosine level reads the direction of a code alone, so a code may have
any length; what it has is what is added to ``q``. With the length ``fitted`` to its members, ``<r, c/|c|>`` on average,
a cosine level never raises the error of the data it was fitted on; a ``unit`` code may.

On unit vectors ``|u - c|^2 = 2 - 2<u, c>``: a cosine level is a Euclidean one between directions. Hence one
function, :func:`nearest_codes`, decides for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_unisid.errors import UserError, did_you_mean

#: How a level may choose its code.
DISTANCES = ("cosine", "euclidean")
#: The length of a cosine level's codes: fitted to their members, or 1.
CODE_LENGTHS = ("fitted", "unit")
#: Codes whose distances agree to this relative precision are tied, and the lowest index wins.
TIE = 1e-12
#: Below this share of the largest squared norm, a difference of two squared distances may be rounding.
_ROUNDING = 1e-9
#: Rows that are compared with the codes at once.
_CHUNK = 8192


def level_distances(levels: int, distances: Sequence[str] | None) -> tuple[str, ...]:
    """The distance of every level: as given, one a level (else a ``UserError``), or UniSID's, cosine but for the last.

    >>> level_distances(3, None)
    ('cosine', 'cosine', 'euclidean')
    """
    if distances is None:
        return ("cosine",) * (levels - 1) + ("euclidean",)
    for distance in distances:
        if distance not in DISTANCES:
            near = did_you_mean(distance, DISTANCES)
            raise UserError(f"distances: {distance!r} is none of {', '.join(DISTANCES)}.{near}")
    if len(distances) != levels:
        raise UserError(f"{len(distances)} distances for {levels} codebook sizes; give one a level.")
    return tuple(distances)


class Quantised(NamedTuple):
    """What the residual quantiser makes of vectors."""

    codes: Tensor  # int64 [n, levels]
    quantised: Tensor  # [n, levels, width]: q_l, the chosen code of each level
    residuals: Tensor  # [n, levels + 1, width]: r_1 (the input) to r_(L+1) (what no code explains)


def directions(vectors: Tensor) -> Tensor:
    """Vectors scaled to length 1; a zero vector stays zero. Shape [..., width]."""
    # Divided by the largest component first, so that no square overflows or vanishes.
    largest = vectors.abs().amax(dim=-1, keepdim=True)
    scaled = vectors / torch.where(largest > 0, largest, 1)
    length = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    return scaled / torch.where(length > 0, length, 1)


def squared_distances(points: Tensor, codes: Tensor) -> Tensor:
    """``|p|^2 - 2 <p, c> + |c|^2`` for every pair, [points, codes]; fast, exact to rounding."""
    products = points @ codes.T  # [points, codes]
    return points.square().sum(dim=1, keepdim=True) - 2 * products + codes.square().sum(dim=1)


def code_distances(residuals: Tensor, codebook: Tensor, distance: str) -> Tensor:
    """Squared distances of residuals [n, width] to codes, between directions at a cosine level; [n, codes]."""
    if distance == "cosine":
        residuals, codebook = directions(residuals), directions(codebook)
    return squared_distances(residuals, codebook)


@torch.no_grad()
def nearest_codes(residuals: Tensor, codebook: Tensor, distance: str) -> Tensor:
    """The code of each residual [n, width] at one level, int64 [n]; of tied codes the lowest.

    The fast formula of :func:`squared_distances` loses digits where distances are small beside the norms. It runs in
    float64, and wherever two codes are nearer to each other than its rounding, the distances of that row are computed
    again as sums of squared differences. A zero vector at a cosine level is equally far from all codes and gets code 0.
    """
    codes = codebook.double()
    codes = directions(codes) if distance == "cosine" else codes
    chosen = torch.empty(len(residuals), dtype=torch.int64, device=residuals.device)
    for start in range(0, len(residuals), _CHUNK):
        points = residuals[start : start + _CHUNK].double()
        points = directions(points) if distance == "cosine" else points
        fast = squared_distances(points, codes)  # [chunk, codes]
        best, nearest = fast.min(dim=1)
        scale = points.square().sum(dim=1) + codes.square().sum(dim=1).max()
        near = fast <= (best + _ROUNDING * scale)[:, None]
        close = torch.nonzero(near.sum(dim=1) > 1)[:, 0]  # rows where rounding might decide
        if len(close):
            exact = torch.cdist(points[close], codes, compute_mode="donot_use_mm_for_euclid_dist")
            tied = exact <= exact.min(dim=1, keepdim=True).values * (1 + TIE)
            nearest[close] = tied.to(torch.uint8).argmax(dim=1)  # the first of the largest
        chosen[start : start + _CHUNK] = nearest
    return chosen


def quantise(vectors: Tensor, codebooks: Sequence[Tensor], distances: Sequence[str]) -> Quantised:
    """Run the whole recursion above on vectors [n, width], keeping every level's part.

    The codes carry no gradient; `residuals` carries that of `vectors`: ``r_(l+1) = r_l - sg(q_l)``.
    """
    codes, quantised, residuals = [], [], [vectors]
    for codebook, distance in zip(codebooks, distances, strict=True):
        codes.append(nearest_codes(residuals[-1].detach(), codebook.detach(), distance))
        quantised.append(codebook[codes[-1]])  # [n, width]
        residuals.append(residuals[-1] - quantised[-1].detach())
    return Quantised(torch.stack(codes, dim=1), torch.stack(quantised, dim=1), torch.stack(residuals, dim=1))


def decode(codes: Tensor, codebooks: Sequence[Tensor]) -> Tensor:
    """``q``, the sum of the codes' vectors, shape [n, width]."""
    total = codebooks[0][codes[:, 0]]  # [n, width]
    for level, codebook in enumerate(codebooks[1:], start=1):
        total = total + codebook[codes[:, level]]
    return total


@torch.no_grad()
def fitted_lengths(residuals: Tensor, codebook: Tensor) -> Tensor:
    """Give each code of a cosine level the length that serves its members best; same directions, same shape.

    Of all lengths g, ``sum |r - g c/|c||^2`` over the residuals r that choose the code is least at the mean
    of ``<r, c/|c|>``. A code without members gets the mean length of all.
    """
    unit = directions(codebook)
    codes = nearest_codes(residuals, unit, "cosine")
    projections = (residuals * unit[codes]).sum(dim=1)  # [n]
    totals = torch.zeros(len(unit), dtype=unit.dtype, device=unit.device).index_add_(0, codes, projections)
    counts = torch.bincount(codes, minlength=len(unit))
    lengths = torch.where(counts > 0, totals / counts.clamp(min=1), projections.mean())
    return unit * lengths.clamp(min=torch.finfo(unit.dtype).tiny ** 0.25)[:, None]  # never lose the direction
