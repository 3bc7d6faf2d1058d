"""Whether an item's text says what follows it. Where it says little, an ID has to remember more."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.split import TRAIN

LOG = logging.getLogger("recbole_unisid")
#: The share of the items that count as near, and the share of next items among them below which text is weak:
#: results/weak-text.md.
NEAR, WEAK = 0.01, 0.14
#: Next items that are looked at, and items that they are compared with, both spread evenly; rows at a time.
_CASES, _COMPARED, _ROWS = 4096, 1 << 16, 256


def id_width_of(config: Any, dataset: Any) -> tuple[int, float | None]:
    """How wide the IDs of a model are, and :func:`near_text_share` where that was asked.

    It is ``id_dim``, or ``weak_text_id_dim`` where that is set and text is weak.
    """
    width = config["id_dim"] or 0
    if not width or "weak_text_id_dim" not in config or not config["weak_text_id_dim"]:
        return width, None
    share = near_text_share(dataset)
    if share is None or share >= WEAK:
        return width, share
    wide = int(config["weak_text_id_dim"])
    LOG.info("text says little of what follows (near_text_share %.3f): IDs are %d wide", share, wide)
    return wide, share


def near_text_share(dataset: Any) -> float | None:
    """How many training items of a data set are near: among the `NEAR` of all items whose text is nearest to the last.

    By the cosine of centred vectors; of equal ones the next item is the farthest, and an item without text is near to
    none. Of a hundred items or more chance is `NEAR`. None where nothing follows or no data set is at hand. `dataset`
    has ``sequences``, ``split`` and ``semantics``.
    """
    sequences = dataset.sequences
    if sequences is None:
        return None
    owners, items = sequences.users, sequences.items
    trained: NDArray[np.bool_] = np.asarray(dataset.split.phase <= TRAIN)
    pairs = (owners[:-1] == owners[1:]) & (items[:-1] != items[1:]) & trained[:-1] & trained[1:]
    at = np.flatnonzero(pairs)
    if not len(at):
        return None
    at = at[:: -(-len(at) // _CASES)]
    return float(_are_near(dataset.semantics.vectors, items[at] - 1, items[at + 1] - 1).mean())


def _are_near(
    vectors: NDArray[np.float32], earlier: NDArray[np.int64], later: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether the text of each later item [cases] is near to that of the earlier one; rows of text [n_items, width]."""
    told: NDArray[np.bool_] = np.asarray(vectors.any(axis=1))
    compared = np.flatnonzero(told)
    compared = compared[:: max(1, -(-len(compared) // _COMPARED))]
    if not len(compared):
        return np.zeros(len(earlier), dtype=np.bool_)
    centre = vectors[compared].mean(axis=0)

    def unit(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        centred = vectors[rows] - centre
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        return np.asarray(centred / np.maximum(lengths, np.float32(1e-12)), dtype=np.float32)

    known, near = unit(compared), np.zeros(len(earlier), dtype=np.bool_)
    for start in range(0, len(earlier), _ROWS):
        before, after = earlier[start : start + _ROWS], later[start : start + _ROWS]
        ours, others = unit(before), unit(before) @ known.T
        own = np.einsum("nw,nw->n", ours, unit(after))[:, None]
        others[compared == before[:, None]] = -np.inf
        # One of them is the later item itself; a product may round otherwise than the sum of one pair.
        above = (others >= own - 1e-6).sum(axis=1) - np.isin(after, compared)
        near[start : start + _ROWS] = (above < NEAR * (len(compared) - 1)) & told[before] & told[after]
    return near
