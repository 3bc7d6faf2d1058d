"""Recommendations straight from a run, any model's, under the interface of the exported recommender."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.serving.recommend import best_items
from recbole_unisid.serving.recommender import ItemRecommender, RecommenderError


class RunRecommender(ItemRecommender):
    """A run's model scores the whole catalogue.

    Parameters
    ----------
    loaded : LoadedRun
        A finished run.
    """

    def __init__(self, loaded: Any) -> None:
        codes = None if loaded.codes is None else loaded.codes[1:]
        super().__init__(loaded.item_ids[1:], loaded.titles[1:], codes)
        self._loaded = loaded
        self._lock = Lock()  # RecBole's models keep state between calls
        self._units: NDArray[np.float32] | None = None

    def _best(
        self, histories: Sequence[NDArray[np.int64]], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        with self._lock:
            scores = self._loaded.scores([rows + 1 for rows in histories])[:, 1:]
        rows = np.full((len(scores), count), -1, dtype=np.int64)  # -1: a model that lists fewer than asked
        for row, one in zip(rows, scores, strict=True):
            best = best_items(one, count)
            row[: len(best)] = best
        return np.take_along_axis(scores, np.maximum(rows, 0), axis=1), rows

    def _cosines(self, row: int) -> NDArray[np.float32]:
        if self._units is None:
            vectors = self._loaded.item_vectors
            if vectors is None:
                model = self._loaded.config["model"]
                raise RecommenderError(f"{model} has no item vectors, and so no similar items.")
            norms = np.maximum(np.linalg.norm(vectors[1:], axis=1, keepdims=True), np.finfo(np.float32).tiny)
            self._units = vectors[1:] / norms
        cosines: NDArray[np.float32] = self._units @ self._units[row]
        return cosines
