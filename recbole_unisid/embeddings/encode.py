"""Item texts to vectors: the interface of encoders, and a cache in which each text is encoded once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from recbole_unisid.embeddings.lsa import LsaEncoder
from recbole_unisid.embeddings.sentence_encoder import SentenceEncoder, offline_model_folder
from recbole_unisid.embeddings.vectors import Shard, VectorStore, is_vector_file, read_vectors, text_digests
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.plugins.loading import class_of_file, is_reference
from recbole_unisid.plugins.text_encoders import OwnEncoder

#: Encoders by name; anything else is a sentence-transformers model or a file of vectors.
NAMED_ENCODERS = ("offline", "lsa")


class TextEncoder(Protocol):
    """Turns texts into vectors, each text by itself."""

    @property
    def key(self) -> str:
        """Names everything that the vectors depend on beside the text: weights, limit, prompt."""

    @property
    def width(self) -> int:
        """Numbers a vector."""

    @property
    def token_limit(self) -> int | None:
        """Tokens of a text that are read; None where all are."""

    def token_counts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """How long each text is, in tokens where the encoder has tokens; shape [texts]."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of the texts, shape [texts, width]."""

    def close(self) -> None:
        """Let go of worker processes."""


def open_encoder(
    encoder: str,
    corpus: Sequence[str],
    batch_size: int = 256,
    device: str = "cpu",
    max_length: int | None = None,
    prompt: str | None = None,
    processes: int = 1,
) -> TextEncoder:
    """Make the encoder of that name; models are loaded when first needed.

    It is ``offline`` (the packaged all-MiniLM-L6-v2), ``lsa`` (TF-IDF and SVD, no model; it learns its terms from
    `corpus`), a sentence-transformers name or folder, or ``module:Class`` of the user's own, in use
    (:func:`recbole_unisid.use`). Of a text `max_length` tokens are read, by default as many as the model can; how many
    texts are cut is logged. The `prompt` is put before every text.

    Raises UserError: when ``lsa`` is given a limit or prompt it has no use for, or the model cannot be had or used.
    """
    if encoder == "lsa":
        if max_length is not None or prompt is not None:
            raise UserError("The encoder 'lsa' has neither a token limit nor a prompt; leave them unset.")
        return LsaEncoder(corpus)
    if is_reference(encoder):
        settings = {"corpus": corpus, "batch_size": batch_size, "device": device, "max_length": max_length}
        return OwnEncoder(encoder, settings | {"prompt": prompt, "processes": processes})
    if encoder == "offline":
        encoder = str(offline_model_folder())
    elif not Path(encoder).exists() and (
        meant := did_you_mean(encoder, NAMED_ENCODERS) or class_of_file(encoder)
    ):  # before any network is asked
        raise UserError(f"No text encoder {encoder!r}.{meant}")
    return SentenceEncoder(encoder, batch_size, device, max_length, prompt, processes)


logger = logging.getLogger(__name__)

#: Texts in a file of the cache; a killed run loses no more work than this.
SHARD_TEXTS = 512


def encode_texts(
    texts: Sequence[str],
    encoder: str,
    cache_dir: Path,
    ids: Sequence[str] | None = None,
    show_progress: bool = True,
    corpus: Sequence[str] | None = None,
    **settings: Any,
) -> NDArray[np.float32]:
    """Encode texts, or fetch their vectors from the cache or a file; float32 [texts, width].

    The encoder is as :func:`open_encoder` takes it with further `settings`, or a file of vectors, for which the items'
    tokens (`ids`) matter instead of the texts. Vectors are cached by encoder, weights, limit, prompt and text. ``lsa``
    learns from `corpus`, by default `texts`: give the texts of the first time to encode new items.

    Raises UserError: when the encoder cannot be had or used, or gives a vector that is not finite.
    """
    if is_vector_file(encoder):
        if ids is None or len(ids) != len(texts):
            raise UserError(f"Vectors from {encoder} need the items' ids, one a text.")
        return read_vectors(Path(encoder), ids)
    learned_from = [text.strip() for text in (texts if corpus is None else corpus)]
    return encode_with(open_encoder(encoder, learned_from, **settings), texts, cache_dir, show_progress)


def encode_with(
    model: TextEncoder, texts: Sequence[str], cache_dir: Path, show_progress: bool = True
) -> NDArray[np.float32]:
    """Encode texts with an open encoder, or fetch their vectors from the cache; the encoder is closed.

    A blank text has the zero vector, whatever the encoder: no encoder knows anything of it. An encoder that cannot be
    used, or gives a vector that is not finite, is a ``UserError``.
    """
    with closing(model):
        store = VectorStore(Path(cache_dir) / model.key)
        return _encode_cached([text.strip() for text in texts], model, store, show_progress)


def _encode_cached(
    texts: Sequence[str], model: TextEncoder, store: VectorStore, show_progress: bool
) -> NDArray[np.float32]:
    """Vectors of stripped texts, shape [texts, width]."""
    distinct = [text for text in dict.fromkeys(texts) if text]
    known = _KnownVectors(distinct)
    for shard in store:
        known.take(shard)
    missing = [distinct[row] for row in np.flatnonzero(known.token_counts < 0)]
    hidden = None if show_progress and missing else True
    with tqdm(total=len(missing), desc="Encoding texts", disable=hidden) as bar:
        for shard in _encode(missing, model):
            known.take(shard)  # first, for it refuses what does not fit the others
            store.add(shard)
            bar.update(len(shard.digests))
    if not distinct:
        return np.zeros((len(texts), model.width), dtype=np.float32)
    if known.token_limit is not None:
        logger.info(
            "The text encoder reads at most %d tokens a text: %d of %d distinct texts are longer and cut.",
            known.token_limit, (known.token_counts > known.token_limit).sum(), len(distinct),
        )  # fmt: skip
    position = {text: row for row, text in enumerate(distinct)}
    return known.vectors[[position.get(text, -1) for text in texts]]  # the last row is the zero vector


class _KnownVectors:
    """Vectors of some distinct texts, filled shard by shard."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._row_of = {digest: row for row, digest in enumerate(text_digests(texts))}
        self.token_limit: int | None = None
        self.token_counts = np.full(len(texts), -1, dtype=np.int64)  # -1 where no shard had the text
        self.vectors = np.zeros((len(texts) + 1, 0), dtype=np.float32)  # as wide as the first shard's

    def take(self, shard: Shard) -> None:
        """Keep those of a shard's vectors that are wanted; another width than before is an error."""
        pairs = [(self._row_of[d], at) for at, d in enumerate(shard.digests) if d in self._row_of]
        if not pairs:
            return
        width = shard.vectors.shape[1]
        if not self.vectors.shape[1]:
            self.vectors = np.zeros((len(self.vectors), width), dtype=np.float32)
        if width != self.vectors.shape[1]:
            raise UserError(
                f"The text encoder made vectors {self.vectors.shape[1]} wide of some texts and {width} wide of others; "
                "it must be the same in every call (learn a vocabulary from `corpus` in the constructor, not in "
                "encode)."
            )
        rows, kept = (list(column) for column in zip(*pairs, strict=True))
        self.vectors[rows] = shard.vectors[kept]
        self.token_counts[rows] = shard.token_counts[kept]
        self.token_limit = shard.token_limit


def _encode(texts: Sequence[str], model: TextEncoder) -> Iterator[Shard]:
    """Encode texts shard by shard, long ones first: texts of like length share a batch, with little padding.

    The order depends on the texts alone: after a stop the same shards come out again, with the same rounding.
    """
    if not texts:
        return
    parts = range(0, len(texts), SHARD_TEXTS)
    counts = np.concatenate([model.token_counts(texts[start : start + SHARD_TEXTS]) for start in parts])
    order = np.argsort(-counts, kind="stable")
    for start in parts:
        rows = order[start : start + SHARD_TEXTS]
        chosen = [texts[row] for row in rows]
        vectors = model.encode(chosen)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise UserError(f"The text encoder gives no finite vector for the text {chosen[bad[0]][:60]!r}.")
        yield Shard(text_digests(chosen), vectors, counts[rows], model.token_limit)
