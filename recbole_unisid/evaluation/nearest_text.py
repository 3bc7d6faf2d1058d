"""The control without a sequence model: recommend the items whose text is nearest to the last one's."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TEST, Split
from recbole_unisid.evaluation.candidates import seen_pairs
from recbole_unisid.evaluation.rank import ranks_from_scores

#: Cases ranked at once; memory is this many rows of scores.
_CHUNK = 512


def nearest_text_ranks(
    vectors: NDArray[np.float32], sequences: UserSequences, split: Split, phase: int = TEST
) -> dict[str, NDArray[np.int64]]:
    """Rank every target by the cosine of its text and the text of the item before it.

    Parameters
    ----------
    vectors : ndarray of float32, shape [n_items, d]
        Text embeddings, item 1 first.
    sequences : UserSequences
        All interactions.
    split : Split
        Their phases.
    phase : int
        Whose targets.

    Returns
    -------
    dict of ndarray of int64, shape [cases]
        Ranks in ``full`` and ``full_unfiltered``, the targets in ascending position.
    """
    norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    unit = torch.from_numpy(np.concatenate([np.zeros_like(vectors[:1]), vectors / norms]))  # [n_items + 1, d]
    positions = split.targets(phase)
    parts = []
    for start in range(0, len(positions), _CHUNK):
        chunk = positions[start : start + _CHUNK]
        scores = unit[torch.from_numpy(sequences.items[chunk - 1])] @ unit.T  # [chunk, n_items + 1]
        rows, items = (torch.from_numpy(pairs) for pairs in seen_pairs(sequences, chunk))
        targets = torch.from_numpy(sequences.items[chunk])
        parts.append(ranks_from_scores(scores, targets, seen=(rows, items)))
    return {name: np.concatenate([part[name] for part in parts]) for name in ("full", "full_unfiltered")}
