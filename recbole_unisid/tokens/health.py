"""How good a tokenization is: codes in use, collisions, and what of the vectors survives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def code_usage(codes: NDArray[np.int64], size: int) -> tuple[int, float]:
    """How many codes of one level [items] are in use, and their perplexity: ``exp`` of the frequencies' entropy."""
    counts = np.bincount(codes, minlength=size)
    shares = counts[counts > 0] / max(len(codes), 1)
    return int((counts > 0).sum()), float(np.exp(-(shares * np.log(shares)).sum()))


def tuple_groups(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each item's tuple among the distinct ones in order, [items], and how many items each has."""
    _, group, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return group.reshape(-1), counts


def collision_health(
    codes: NDArray[np.int64], item_ids: Sequence[str], titles: Sequence[str] | None = None, listed: int = 10
) -> dict[str, Any]:
    """Distinct tuples and items alone in theirs, as shares of items; the largest collision, `listed` of it by name."""
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
    usage = [code_usage(column, size) for column, size in zip(codes.T, codebook_sizes, strict=True)]
    return [
        {"size": size, "distance": distance, "used": used, "dead": size - used, "perplexity": perplexity}
        for size, distance, (used, perplexity) in zip(codebook_sizes, distances, usage, strict=True)
    ]


#: Codes with fewer items each than so many, on average, are hardly shared.
HARDLY_SHARED = 4


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
    lines.append(f"collisions: {health['collisions']['strategy']}{': ' if told else ''}{told}")
    most = max(level["used"] for level in health["levels"])
    items = health.get("items", 0)  # 0: of an older cache
    if most * HARDLY_SHARED > items > 0:
        lines.append(
            f"{most} codes at a level for {items} items: hardly any are shared, tokens say little more than IDs"
        )
        lines.append("(smaller codebook_sizes share more)")
    return "\n".join(lines)


#: Neighbours are looked for among so many items at most, for so many of them.
_NEIGHBOUR_ITEMS, _NEIGHBOUR_QUERIES = 20_000, 1_000

#: Vectors whose errors are computed at once.
_CHUNK = 8192

#: Shuffles over which the purity of shuffled codes is averaged.
_SHUFFLES = 5


def reconstruction_error(vectors: NDArray[np.float32], decoded: NDArray[np.float32]) -> float:
    """Share of the vectors' variance that the codes lose: ``sum |x - x^|^2 / sum |x - mean|^2``; 0 of no variance."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    lost = variance = 0.0
    for start in range(0, len(vectors), _CHUNK):
        part = vectors[start : start + _CHUNK].astype(np.float64)
        lost += float(np.square(part - decoded[start : start + _CHUNK]).sum())
        variance += float(np.square(part - mean).sum())
    return lost / variance if variance > 1e-12 * len(vectors) else 0.0


def neighbours_kept(
    vectors: NDArray[np.float32], decoded: NDArray[np.float32], rng: np.random.Generator, k: int = 10
) -> float:
    """The share of an item's `k` nearest items, by cosine of centred vectors, that are nearest after decoding.

    The mean over items, 1 for a single one; where they are many, over those that `rng` draws.
    """
    import torch  # not at the top: a report reads the rest of this file

    from recbole_unisid.tokens.quantiser import directions

    n = len(vectors)
    rows = np.sort(rng.choice(n, min(n, _NEIGHBOUR_ITEMS), replace=False))
    queries = torch.from_numpy(rng.choice(len(rows), min(len(rows), _NEIGHBOUR_QUERIES), replace=False))
    k = min(k, len(rows) - 1)
    if k == 0:
        return 1.0
    centre = vectors[rows].mean(axis=0)
    near = []
    for table in (vectors, decoded):
        units = directions(torch.from_numpy(table[rows] - centre))  # [items, width]
        likeness = units[queries] @ units.T  # [queries, items]
        likeness[torch.arange(len(queries)), queries] = -torch.inf
        near.append(likeness.topk(k, dim=1).indices)
    kept = (near[0][:, :, None] == near[1][:, None, :]).any(dim=2)  # [queries, k]
    return float(kept.double().mean())


def prefix_purity(
    codes: NDArray[np.int64], categories: Sequence[str], rng: np.random.Generator
) -> list[dict[str, float]]:
    """How well the first codes of an item tell its category; items whose category is '' are left out.

    For each number of ``levels``: ``purity``, the share of items whose category is the most frequent one
    under their prefix, and ``shuffled``, the same after dealing the prefixes out at random. Prefixes of one
    item are pure whatever they mean, so only the difference tells something.
    """
    names, labels = np.unique(np.asarray(categories, dtype=object).astype(str), return_inverse=True)
    labelled = names[labels] != ""
    if not labelled.any():
        return []
    codes, labels = codes[labelled], labels.reshape(-1)[labelled]
    result = []
    for levels in range(1, codes.shape[1] + 1):
        prefix, _ = tuple_groups(codes[:, :levels])
        shuffled = [_purity(rng.permutation(prefix), labels) for _ in range(_SHUFFLES)]
        purity = _purity(prefix, labels)
        result.append({"levels": levels, "purity": purity, "shuffled": float(np.mean(shuffled))})
    return result


def _purity(groups: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Share of items that have the most frequent label of their group."""
    kinds = int(labels.max()) + 1
    pairs, counts = np.unique(groups * kinds + labels, return_counts=True)
    _, first = np.unique(pairs // kinds, return_index=True)  # the pairs are sorted by group
    return float(np.maximum.reduceat(counts, first).sum() / len(groups))
