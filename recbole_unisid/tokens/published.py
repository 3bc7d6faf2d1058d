"""Codes that somebody else made, as a tokenizer."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.array_file import Arrays
from recbole_unisid.errors import UserError
from recbole_unisid.tokens.tokenizer import Tokenizer, additive_codebooks
from recbole_unisid.tokens.tokens_file import CodeTable, level_tags, read_codes

logger = logging.getLogger(__name__)


class PublishedCodes(Tokenizer):
    """Codes from a file: LETTER's ``.index.json``, or ``.tsv`` (:func:`read_codes`).

    Each code is given the mean vector that it explains (:func:`additive_codebooks`); an item that the file lacks gets
    the nearest codes among these. A level has as many codes as the largest in the file tells, whatever the settings.
    """

    name = "file"
    only_distance = "euclidean"

    def __init__(
        self,
        codebook_sizes: Sequence[int] = (1,),
        distances: Sequence[str] | None = None,
        seed: int = 2020,
        path: str = "",
    ) -> None:
        super().__init__(codebook_sizes, distances, seed)
        if not path:
            raise UserError("The tokenizer 'file' needs the path of its codes; set path (tokens_file).")
        self.path = path
        self.table = CodeTable([], np.zeros((0, 0), dtype=np.int64), [])

    def options(self) -> dict[str, Any]:
        """The file's path."""
        return {"path": self.path}

    def depends_on(self) -> Any:
        """The file's content beside the settings."""
        try:
            return [*super().depends_on(), hashlib.sha256(Path(self.path).read_bytes()).hexdigest()]
        except OSError:
            raise UserError(f"No file of codes at {self.path}.") from None

    def item_codes(self, vectors: NDArray[np.float32], item_ids: Sequence[str]) -> NDArray[np.int64]:
        """The file's codes, and for the items it lacks those of their vectors; shape [items, levels]."""
        rows = self._rows(item_ids)
        codes = self.table.codes[rows]
        lacking = np.flatnonzero(rows < 0)
        if len(lacking):
            codes[lacking] = self.encode(vectors[lacking])
        return codes

    def state(self) -> Arrays:
        """The codebooks, and the table of the file."""
        names = np.frombuffer("\n".join(self.table.item_ids).encode(), dtype=np.uint8)
        tags = np.frombuffer("\n".join(self.table.tags).encode(), dtype=np.uint8)
        return {**super().state(), "table.codes": self.table.codes, "table.items": names, "table.tags": tags}

    def restore(self, state: Arrays) -> None:
        super().restore(state)
        names, tags = (state[key].tobytes().decode().split("\n") for key in ("table.items", "table.tags"))
        self.table = CodeTable(names, state["table.codes"], tags)

    def _fit(self, vectors: NDArray[np.float32], item_ids: Sequence[str], show_progress: bool) -> None:
        self.table = read_codes(Path(self.path))
        self.codebook_sizes = tuple(int(largest) + 1 for largest in self.table.codes.max(axis=0))
        self.distances = ("euclidean",) * len(self.codebook_sizes)
        rows = self._rows(item_ids)
        lacking = int((rows < 0).sum())
        if lacking == len(rows):
            raise UserError(
                f"{self.path} has codes for none of the items; are they named as in the .inter file?"
            )
        if lacking:
            logger.warning(
                "%s lacks %d of %d items; they get the nearest codes.", self.path, lacking, len(rows)
            )
        present = rows >= 0
        latents = self.latents(vectors[present])
        self.codebooks = additive_codebooks(latents, self.table.codes[rows[present]], self.codebook_sizes)

    def _rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        row_of = {item: row for row, item in enumerate(self.table.item_ids)}
        return np.array([row_of.get(item, -1) for item in item_ids], dtype=np.int64)


def output_tags(tokenizer: Tokenizer, levels: int) -> list[str]:
    """The letters to write codes of so many levels with: the file's own where they came from one."""
    own = tokenizer.table.tags if isinstance(tokenizer, PublishedCodes) else []
    return own if len(own) == levels else level_tags(levels)
