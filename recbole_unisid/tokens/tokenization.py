"""Items' vectors to code tuples and their health, kept on disk under what they depend on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.files import fingerprint
from recbole_unisid.tokens.health import collision_health, level_health, reconstruction_error
from recbole_unisid.tokens.registry import build_tokenizer, load_tokenizer
from recbole_unisid.tokens.tokenizer import Tokenizer, check_vectors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokenization:
    """All items' codes.

    Attributes
    ----------
    item_ids : list of str
    codes : ndarray of int64, shape [items, levels]
    codebooks : list of ndarray of float32, shape [codes, latent width] each
        One a level of `codes`.
    tokenizer : Tokenizer
        Fitted; gives codes to new items.
    health : dict
        The ``tokenizer`` part of result.json, and more.
    """

    item_ids: list[str]
    codes: NDArray[np.int64]
    codebooks: list[NDArray[np.float32]]
    tokenizer: Tokenizer
    health: dict[str, Any]


def tokenize_items(
    vectors: NDArray[np.float32],
    item_ids: Sequence[str],
    tokenizer: str = "residual_kmeans",
    codebook_sizes: Sequence[int] = (256, 256, 256),
    distances: Sequence[str] | None = None,
    seed: int = 2020,
    collisions: str = "none",
    cache_dir: Path | None = None,
    titles: Sequence[str] | None = None,
    show_progress: bool = True,
    **options: Any,
) -> Tokenization:
    """Fit a tokenizer to items and encode them, or fetch both from the cache."""
    vectors = check_vectors(vectors)
    if len(vectors) != len(item_ids):
        raise UserError(f"{len(vectors)} vectors for {len(item_ids)} items; give one an item.")
    model = build_tokenizer(tokenizer, codebook_sizes, distances, seed, **options)
    key = fingerprint(
        "tokenizer 1", model.name, model.codebook_sizes, model.distances, seed, model.options(), vectors
    )
    folder = None if cache_dir is None else Path(cache_dir) / f"{model.name}-{key}"
    fitted = _cached(folder)
    if fitted is None:
        fitted = model.fit(vectors, show_progress)
        if folder is not None:
            fitted.save(folder)
    codes = fitted.encode(vectors)
    levels = level_health(codes, fitted.codebook_sizes, fitted.distances)
    health = {
        "name": fitted.name,
        "levels": levels,
        **collision_health(codes, item_ids, titles),
        "reconstruction_error": reconstruction_error(vectors, fitted.decode(codes)),
    }
    return Tokenization(list(item_ids), codes, fitted.codebooks, fitted, health)


def _cached(folder: Path | None) -> Tokenizer | None:
    """The tokenizer of a folder, None where there is none or it is damaged."""
    if folder is None or not folder.is_dir():
        return None
    try:
        return load_tokenizer(folder)
    except UserError as error:
        logger.warning("%s It is fitted again.", error)
        return None
