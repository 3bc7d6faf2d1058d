"""The controls without a model: items whose text is near to that of the history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.recbole_adapter.item_text import cache_folder
from recbole_unisid.serving.loaded import LoadedRun

#: Items of a history that are read, as by the models.
_LONGEST = 50


def unit_texts(source: LoadedRun | NDArray[np.float32]) -> NDArray[np.float32]:
    """Text vectors of length 1, shape [n_items + 1, d]; row 0 is zero.

    Parameters
    ----------
    source : LoadedRun or ndarray of float32, shape [n_items, d]
        A run, whose texts are encoded as it did (from the cache), or the vectors.
    """
    if isinstance(source, LoadedRun):
        recipe, texts = source.stored.recipe, source.items.texts[1:]
        assert recipe is not None
        cache: Path = cache_folder(source.config) / "embeddings"
        known = source.stored.catalogue.texts[1:]
        source = recipe.encode(texts, source.item_ids[1:], known, cache, show_progress=False)
    norms = np.maximum(np.linalg.norm(source, axis=1, keepdims=True), 1e-12)
    return np.concatenate([np.zeros_like(source[:1]), source / norms]).astype(np.float32)


def last_text_scores(
    texts: NDArray[np.float32], histories: Sequence[NDArray[np.int64]]
) -> NDArray[np.float32]:
    """Cosine with the last item's text, shape [histories, n_items + 1]."""
    last = texts[[history[-1] for history in histories]]
    return np.asarray(last @ texts.T)


def history_text_scores(
    texts: NDArray[np.float32], histories: Sequence[NDArray[np.int64]]
) -> NDArray[np.float32]:
    """Cosine with the mean text of the last 50 items, up to its length; shape [histories, n_items + 1]."""
    means = np.stack([texts[history[-_LONGEST:]].mean(axis=0) for history in histories])
    return np.asarray(means @ texts.T)
