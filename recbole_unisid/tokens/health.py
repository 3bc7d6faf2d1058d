"""How good a tokenization is: codes in use, collisions, and what of the vectors survives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def code_usage(codes: NDArray[np.int64], size: int) -> tuple[int, float]:
    """How many codes of one level are in use, and their perplexity.

    Parameters
    ----------
    codes : ndarray of int64, shape [items]
    size : int
        Codes of the level's codebook.

    Returns
    -------
    used : int
    perplexity : float
        ``exp`` of the entropy of the code frequencies: `size` when all are equally frequent, 1 when one
        code has all items.
    """
    counts = np.bincount(codes, minlength=size)
    shares = counts[counts > 0] / max(len(codes), 1)
    return int((counts > 0).sum()), float(np.exp(-(shares * np.log(shares)).sum()))


def tuple_groups(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which items share a whole code tuple.

    Parameters
    ----------
    codes : ndarray of int64, shape [items, levels]

    Returns
    -------
    group : ndarray of int64, shape [items]
        The number of each item's tuple among the distinct ones, which are sorted.
    counts : ndarray of int64, shape [distinct tuples]
        Items of each.
    """
    _, group, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return group.reshape(-1), counts


def collision_health(
    codes: NDArray[np.int64], item_ids: Sequence[str], titles: Sequence[str] | None = None, listed: int = 10
) -> dict[str, Any]:
    """Distinct tuples, items alone in theirs, and the largest collision.

    Parameters
    ----------
    codes : ndarray of int64, shape [items, levels]
    item_ids : sequence of str
    titles : sequence of str, optional
        Texts by which a reader knows the items.
    listed : int
        Items of the largest collision that are listed at most.

    Returns
    -------
    dict
        ``distinct_fraction`` (distinct tuples / items), ``alone_fraction`` (items whose tuple is theirs
        alone / items), ``largest_collision`` (items of the most frequent tuple) and, where that is more
        than one, ``largest_collision_items``.
    """
    group, counts = tuple_groups(codes)
    health: dict[str, Any] = {
        "distinct_fraction": len(counts) / len(codes),
        "alone_fraction": int((counts == 1).sum()) / len(codes),
        "largest_collision": int(counts.max()),
    }
    if counts.max() > 1:
        members = np.flatnonzero(group == counts.argmax())[:listed]
        health["largest_collision_items"] = [
            {"item_id": item_ids[row], "title": titles[row] if titles is not None else ""} for row in members
        ]
    return health


def level_health(
    codes: NDArray[np.int64], codebook_sizes: Sequence[int], distances: Sequence[str]
) -> list[dict[str, Any]]:
    """Size, distance, codes used and perplexity of every level."""
    levels = []
    for level, (size, distance) in enumerate(zip(codebook_sizes, distances, strict=True)):
        used, perplexity = code_usage(codes[:, level], size)
        levels.append(
            {"size": size, "distance": distance, "used": used, "dead": size - used, "perplexity": perplexity}
        )
    return levels


def health_table(health: dict[str, Any]) -> str:
    """The health of a tokenization as lines of text for the screen."""
    lines = [f"{health['name']}: level  size  distance     used  dead  perplexity"]
    indent = " " * (len(health["name"]) + 2)
    for number, level in enumerate(health["levels"], start=1):
        lines.append(
            f"{indent}{number:>5}{level['size']:>6}  {level['distance']:<11}{level['used']:>6}"
            f"{level['dead']:>6}{level['perplexity']:>12.1f}"
        )
    lines.append(
        f"distinct tuples {health['distinct_fraction']:.2%} of items, alone in theirs "
        f"{health['alone_fraction']:.2%}, largest collision {health['largest_collision']}"
    )
    lines += [f"  {item['item_id']}  {item['title']}" for item in health.get("largest_collision_items", [])]
    lines.append(
        f"variance lost {health['reconstruction_error']:.2%}, neighbours kept {health['neighbours_kept']:.2%}"
    )
    lines += [
        f"category told by {part['levels']} level(s) {part['purity']:.2%}, "
        f"by shuffled codes {part['shuffled']:.2%}"
        for part in health["prefix_purity"]
    ]
    changes = {key: value for key, value in health["collisions"].items() if key != "strategy"}
    told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in changes.items())
    return "\n".join([*lines, f"collisions: {health['collisions']['strategy']}{': ' if told else ''}{told}"])
