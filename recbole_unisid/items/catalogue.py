"""The items of a run as a table of their own, so that they have names without the data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.files import write_text

CATALOGUE_FILE = "items.tsv"
_HEADER = "item_id\ttraining_count\ttitle\ttext"


@dataclass(frozen=True)
class Catalogue:
    """Items by number, padding included: entry 0 is ``[PAD]``.

    `item_ids` are names in the files, `titles` lines to show (the name where there is no title), `texts` what was
    encoded ('' where the model read none), `training_counts` how often each item occurs in training (0 of later ones).
    """

    item_ids: list[str]
    titles: list[str]
    texts: list[str]
    training_counts: NDArray[np.int64]

    @property
    def n_items(self) -> int:
        """Number of items, padding not counted."""
        return len(self.item_ids) - 1

    def extended(self, item_ids: Sequence[str], titles: Sequence[str], texts: Sequence[str]) -> Catalogue:
        """The same with further items behind, which were never trained on."""
        counts = np.concatenate([self.training_counts, np.zeros(len(item_ids), dtype=np.int64)])
        return Catalogue([*self.item_ids, *item_ids], [*self.titles, *titles], [*self.texts, *texts], counts)

    def save(self, path: Path) -> None:
        """Write ``items.tsv``, one line an item in the order of item numbers; atomically."""
        columns = (self.item_ids, self.training_counts.tolist(), self.titles, self.texts)
        rows = [
            f"{item}\t{count}\t{one_line(title)}\t{one_line(text)}"
            for item, count, title, text in zip(*columns, strict=True)
        ]
        write_text(path, "\n".join([_HEADER, *rows[1:]]) + "\n")

    @staticmethod
    def load(path: Path) -> Catalogue:
        """Read what :meth:`save` wrote; a UserError where there is no such file or it is damaged."""
        try:
            lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
            rows = [line.split("\t") for line in lines[1:]]
            if lines[0] != _HEADER or not rows or {len(row) for row in rows} != {4}:
                raise ValueError("not a table of items")
            item_ids, counts, titles, texts = (list(column) for column in zip(*rows, strict=True))
            training_counts = np.array([0, *map(int, counts)], dtype=np.int64)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as items ({error}).") from None
        return Catalogue(["[PAD]", *item_ids], ["[PAD]", *titles], ["", *texts], training_counts)


def one_line(text: str) -> str:
    """A text without the characters that end a cell or a line."""
    return text.replace("\t", " ").replace("\n", " ").replace("\r", " ")
