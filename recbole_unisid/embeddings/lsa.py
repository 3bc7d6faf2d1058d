"""Latent semantic analysis: text vectors without a model, from the words the items share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd

from recbole_unisid.files import fingerprint

WIDTH = 256
MAX_TERMS = 50_000


class LsaEncoder:
    """TF-IDF of words and word pairs, reduced by a truncated SVD to unit vectors.

    Terms, weights and directions are learned from the corpus when first needed; texts encoded later do not
    change them. Deerwester et al., "Indexing by latent semantic analysis", JASIS 1990. Deterministic: the
    randomised SVD (Halko et al., arXiv 0909.4061) draws from a fixed seed.
    """

    token_limit: int | None = None

    def __init__(self, corpus: Sequence[str]) -> None:
        self._corpus = [text for text in dict.fromkeys(corpus) if text]
        self._terms: TfidfVectorizer | None = None
        self._directions: NDArray[np.float32] = np.zeros((1, 0), dtype=np.float32)

    @property
    def key(self) -> str:
        """Of the corpus and the settings."""
        return "lsa-" + fingerprint("lsa 1", WIDTH, MAX_TERMS, self._corpus)

    @property
    def width(self) -> int:
        """At most 256: no more than the corpus has texts or terms, at least 1."""
        self._fit()
        return len(self._directions)

    def token_counts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Lengths in characters: every word is read."""
        return np.array([len(text) for text in texts], dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, shape [texts, width]; zeros for a text that has no known term."""
        self._fit()
        if self._terms is None:
            return np.zeros((len(texts), self.width), dtype=np.float32)
        weights = self._terms.transform(texts)  # [texts, terms], sparse
        vectors = normalize(np.asarray(weights @ self._directions.T))
        return vectors.astype(np.float32)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Nothing to let go of."""

    def _fit(self) -> None:
        if self._directions.shape[1]:
            return
        terms = TfidfVectorizer(
            ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True, max_features=MAX_TERMS
        )
        try:
            weights = terms.fit_transform(self._corpus)  # [texts, terms], sparse
        except ValueError:  # scikit-learn's word for texts without a single word in them
            self._directions = np.zeros((1, 1), dtype=np.float32)
            return
        rank = min(WIDTH, *weights.shape)
        _, _, directions = randomized_svd(weights, rank, random_state=0)
        self._terms, self._directions = terms, directions.astype(np.float32)  # [width, terms]
