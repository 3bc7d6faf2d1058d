"""Items' vectors to code tuples and their health, kept on disk under what they depend on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.array_file import DamagedFileError, load_arrays, save_arrays
from recbole_unisid.errors import UserError, check_choice
from recbole_unisid.files import fingerprint, write_json
from recbole_unisid.plugins.loading import code_of, is_reference, short_name
from recbole_unisid.plugins.tokenizers import check_copy, check_each_by_itself
from recbole_unisid.tokens.collisions import STRATEGIES, place_new_items, resolve_collisions
from recbole_unisid.tokens.health import (
    collision_health,
    level_health,
    neighbours_kept,
    prefix_purity,
    reconstruction_error,
)
from recbole_unisid.tokens.published import output_tags
from recbole_unisid.tokens.registry import build_tokenizer, load_tokenizer
from recbole_unisid.tokens.tokenizer import TOKENIZER_FILE, Tokenizer, check_vectors
from recbole_unisid.tokens.tokens_file import write_index_json, write_tokens_tsv

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokenization:
    """All items' codes, and what gives codes to further items."""

    item_ids: list[str]
    codes: NDArray[np.int64]  # int64 [items, levels]; with a suffix one level more than the tokenizer has
    codebooks: list[NDArray[np.float32]]  # [codes, latent width], one a level of `codes`; zeros for a suffix
    tokenizer: Tokenizer  # fitted
    health: dict[str, Any]  # the ``tokenizer`` part of result.json and more, JSON-like
    collisions: str  # the strategy

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Codes [new, levels] of new items' vectors (:meth:`Tokenizer.encode`) after the collision strategy."""
        latents = self.tokenizer.latents(vectors)
        suffix_size = len(self.codebooks[-1]) if self.collisions == "suffix" else 0
        codes = self.tokenizer.codes_of(latents)
        return place_new_items(self.collisions, codes, latents, self.codes, suffix_size, self.tokenizer)


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
    categories: Sequence[str] | None = None,
    show_progress: bool = True,
    **options: Any,
) -> Tokenization:
    """Fit a tokenizer to items and encode them, or fetch both from the cache.

    `vectors` are [items, width]; `collisions` is one of :data:`STRATEGIES`; `cache_dir` keeps results under a hash of
    everything they depend on; `titles` and `categories` are for the health report, the other settings those of
    :func:`build_tokenizer`.
    """
    vectors = check_vectors(vectors)
    if len(vectors) != len(item_ids):
        raise UserError(f"{len(vectors)} vectors for {len(item_ids)} items; give one an item.")
    check_choice("collisions", collisions, STRATEGIES)
    model = build_tokenizer(tokenizer, codebook_sizes, distances, seed, **options)
    code = code_of([model.name]).values()
    key = fingerprint("tokens 1", model.depends_on(), vectors, list(item_ids), *code)
    folder = None if cache_dir is None else Path(cache_dir) / f"{short_name(model.name)}-{key}"
    fitted = _cached_tokenizer(folder)
    if fitted is None:
        fitted = model.fit(vectors, show_progress, item_ids)
        if is_reference(model.name):
            copy = build_tokenizer(tokenizer, codebook_sizes, distances, seed, **model.options())
            check_copy(fitted, copy, vectors)
            check_each_by_itself(fitted, vectors)
        if folder is not None:
            fitted.save(folder)
    codes, changes = _resolved_codes(fitted, vectors, item_ids, collisions, folder)
    return tokenization_of(fitted, codes, vectors, item_ids, titles, categories, changes)


def tokenization_of(
    tokenizer: Tokenizer,
    codes: NDArray[np.int64],
    vectors: NDArray[np.float32],
    item_ids: Sequence[str],
    titles: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
    changes: dict[str, Any] | None = None,
) -> Tokenization:
    """Codes [items, levels] that a fitted tokenizer and a collision strategy have given to items, with their health."""
    changes = changes or {"strategy": "none"}
    levels, sizes, distances = len(tokenizer.codebook_sizes), tokenizer.codebook_sizes, tokenizer.distances
    codebooks = list(tokenizer.codebooks)
    if suffix_size := changes.get("suffix_size"):
        sizes, distances = (*sizes, suffix_size), (*distances, "suffix")
        codebooks.append(np.zeros((suffix_size, codebooks[0].shape[1]), dtype=np.float32))
    rng = np.random.default_rng(0)
    decoded = tokenizer.decode(codes[:, :levels])
    health = {
        "name": tokenizer.name,
        "levels": level_health(codes, sizes, distances),
        "items": len(item_ids),
        **collision_health(codes, item_ids, titles),
        "reconstruction_error": reconstruction_error(vectors, decoded),
        "neighbours_kept": neighbours_kept(vectors, decoded, rng),
        "prefix_purity": prefix_purity(codes, categories or [""] * len(item_ids), rng),
        "collisions": changes,
    }
    return Tokenization(list(item_ids), codes, codebooks, tokenizer, health, changes["strategy"])


def _resolved_codes(
    tokenizer: Tokenizer,
    vectors: NDArray[np.float32],
    item_ids: Sequence[str],
    strategy: str,
    folder: Path | None,
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """What :func:`resolve_collisions` gives, from the folder where it is there."""
    path = None if folder is None else folder / f"codes-{strategy}.safetensors"
    if path is not None and path.is_file():
        try:
            arrays, about = load_arrays(path)
            return arrays["codes"], about["changes"]
        except DamagedFileError as error:
            logger.warning("%s: the items are encoded again.", error)
    codes = tokenizer.item_codes(vectors, item_ids)
    codes, changes = resolve_collisions(strategy, codes, vectors, tokenizer)
    if path is not None:
        save_arrays(path, {"codes": codes}, {"changes": changes})
    return codes, changes


def _cached_tokenizer(folder: Path | None) -> Tokenizer | None:
    """The tokenizer of a folder, None where there is none or it is damaged."""
    if folder is None or not (folder / TOKENIZER_FILE).is_file():
        return None
    try:
        return load_tokenizer(folder)
    except UserError as error:
        logger.warning("%s This is done now.", error)
        return None


def write_tokenization(result: Tokenization, folder: Path) -> None:
    """Write ``tokens.tsv``, ``index.json`` (LETTER's form), ``health.json`` and the tokenizer to a folder."""
    write_tokens_tsv(folder / "tokens.tsv", result.item_ids, result.codes)
    tags = output_tags(result.tokenizer, result.codes.shape[1])
    write_index_json(folder / "index.json", result.item_ids, result.codes, tags)
    result.tokenizer.save(folder)
    write_json(folder / "health.json", result.health)
