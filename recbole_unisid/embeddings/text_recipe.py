"""How a run's items became text and vectors: enough to treat further items in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recbole_unisid.embeddings.encode import encode_with, open_encoder
from recbole_unisid.embeddings.vectors import is_vector_file, read_vectors
from recbole_unisid.errors import UserError
from recbole_unisid.plugins.loading import is_reference


@dataclass(frozen=True)
class TextRecipe:
    """Columns of the items' table, how they are joined, and which encoder reads the result."""

    encoder: str  # as the setting ``text_encoder`` names it
    key: str | None  # the encoder's identity (weights, limit, prompt); None for vectors out of a file
    width: Annotated[int, Field(ge=0, le=1 << 20)]  # numbers a vector
    fields: list[str] = field(default_factory=list)  # columns that are read, in their order; none for a file
    template: str | None = None  # how they are joined; None for "; "
    roots: dict[str, str] = field(default_factory=dict)  # left out at the front of each column of categories
    #: this and the prompt as in :func:`~recbole_unisid.embeddings.encode.open_encoder`
    max_length: int | None = None
    prompt: str | None = None

    @property
    def learns(self) -> bool:
        """Whether the encoder learns from the texts of the run's own items."""
        return self.encoder == "lsa" or is_reference(self.encoder)

    def encode(
        self,
        texts: Sequence[str],
        item_ids: Sequence[str],
        corpus: Sequence[str],
        cache_dir: Path,
        vector_file: str | None = None,
        batch_size: int = 256,
        show_progress: bool = True,
    ) -> NDArray[np.float32]:
        """Encode the texts of further items as those of the run were; float32 [texts, width].

        `corpus` are the texts of the run's own items, from which ``lsa`` learned its terms; `vector_file` has vectors
        of the items, for runs whose own vectors came from one.

        Raises UserError: when the encoder at hand is not the run's, or there is nothing that gives vectors.
        """
        if self.key is None or vector_file is not None:
            return self._from_file(item_ids, vector_file)
        known = [text.strip() for text in corpus]
        model = open_encoder(self.encoder, known, batch_size, max_length=self.max_length, prompt=self.prompt)
        if model.key != self.key:
            raise UserError(
                f"The text encoder '{self.encoder}' at hand is not the run's (its weights or settings have "
                "changed), so its vectors mean something else; install the former one, or run again."
            )
        return encode_with(model, texts, cache_dir, show_progress)

    def _from_file(self, item_ids: Sequence[str], vector_file: str | None) -> NDArray[np.float32]:
        if self.key is not None:
            raise UserError(
                f"The run's vectors come from the text encoder '{self.encoder}', those of a file would mean "
                "something else: leave --vectors out."
            )
        if vector_file is None or not is_vector_file(vector_file):
            raise UserError(
                "The run's vectors come from a file: give those of the new items with --vectors=FILE.npy "
                "(and FILE.ids.txt), made by the same encoder."
            )
        vectors = read_vectors(Path(vector_file), item_ids)
        lacking = np.flatnonzero(~vectors.any(axis=1))
        if len(lacking):
            raise UserError(
                f"{vector_file} has no vector for item '{item_ids[lacking[0]]}' ({len(lacking)} such items)."
            )
        if vectors.shape[1] != self.width:
            raise UserError(f"{vector_file} is {vectors.shape[1]} wide, the run's vectors are {self.width}.")
        return vectors
