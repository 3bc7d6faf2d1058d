"""The interface of text encoders, and which one a name stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.embeddings.lsa import LsaEncoder
from recbole_unisid.embeddings.own_encoder import OwnEncoder
from recbole_unisid.embeddings.sentence_encoder import SentenceEncoder, offline_model_folder
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.plugins.loading import class_of_file, is_reference

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

    Parameters
    ----------
    encoder : str
        ``offline`` (the packaged all-MiniLM-L6-v2), ``lsa``, a sentence-transformers name or folder, or
        ``module:Class`` of the user's own, in use (:func:`recbole_unisid.use`).
    corpus : sequence of str
        What ``lsa`` learns its terms from.
    batch_size, device, max_length, prompt, processes
        As in :func:`recbole_unisid.embeddings.encode_texts`.

    Raises
    ------
    UserError
        When ``lsa`` is given a limit or prompt it has no use for, or the model cannot be had or used.
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
    elif not Path(encoder).exists() and did_you_mean(encoder, NAMED_ENCODERS):
        raise UserError(f"No text encoder {encoder!r}.{did_you_mean(encoder, NAMED_ENCODERS)}")
    elif not Path(encoder).exists() and class_of_file(encoder):  # before any network is asked
        raise UserError(f"No text encoder {encoder!r}.{class_of_file(encoder)}")
    return SentenceEncoder(encoder, batch_size, device, max_length, prompt, processes)
