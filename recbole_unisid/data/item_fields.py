"""What the fields of an ``.item`` file hold, and which of their values RecBole would misread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from recbole_unisid.data.atomic_header import COLUMN_TYPES
from recbole_unisid.data.atomic_reader import read_table
from recbole_unisid.data.atomic_text import MISSING_WORDS
from recbole_unisid.errors import UserError

_LONGEST_CELL = 131_072  # the csv module's limit, which pandas' python engine has


@dataclass(frozen=True)
class FieldFacts:
    """One column of the ``.item`` file.

    Attributes
    ----------
    name, type : str
        As the header has them.
    coverage : float
        Share of the items in the interactions with a value that is not blank.
    words : float
        Mean number of words of those values.
    """

    name: str
    type: str
    coverage: float
    words: float


@dataclass(frozen=True)
class ItemFacts:
    """The ``.item`` file as a whole.

    Attributes
    ----------
    fields : tuple of FieldFacts
        Its columns but the item's name.
    missing : int
        Items of the interactions that are not in the file.
    surplus : int
        Items of the file that are not in the interactions.
    without_text : int
        Items of the interactions with no text in any column of type token or token_seq.
    troubles : dict of str to int
        Rows and cells that RecBole would misread, by reason.
    """

    fields: tuple[FieldFacts, ...]
    missing: int
    surplus: int
    without_text: int
    troubles: dict[str, int]


def item_facts(path: Path, items: Container[str], n_items: int) -> ItemFacts:
    """Read an ``.item`` file once and describe it.

    Parameters
    ----------
    path : Path
        The file.
    items : container of str
        Names of the items that occur in the interactions.
    n_items : int
        How many those are.

    Returns
    -------
    ItemFacts
        See there.

    Raises
    ------
    UserError
        When the file cannot be read, or has no item_id column.
    """
    troubles = Counter[str]()
    header, rows = read_table(path, troubles)
    columns = [(name, kind) for name, _, kind in (column.partition(":") for column in header)]
    names = [name for name, _ in columns]
    if "item_id" not in names:
        raise UserError(f"{path} has no column item_id; it has {', '.join(names)}.")
    troubles.update(
        f"column type {kind!r} unknown to RecBole" for _, kind in columns if kind not in COLUMN_TYPES
    )
    tally = _Tally(columns, names.index("item_id"), items, troubles)
    for cells in rows:
        tally.add(cells)
    troubles.pop("lines", None)
    return tally.facts(n_items)


class _Tally:
    """Counts the rows of one ``.item`` file."""

    def __init__(
        self, columns: list[tuple[str, str]], key: int, items: Container[str], troubles: Counter[str]
    ) -> None:
        self._columns, self._key, self._items, self._troubles = columns, key, items, troubles
        self._texts = [
            index for index, (_, kind) in enumerate(columns) if kind.startswith("token") and index != key
        ]
        self._filled, self._words = [0] * len(columns), [0] * len(columns)
        self._seen: set[str] = set()
        self._surplus = self._with_text = 0

    def add(self, cells: list[str]) -> None:
        """Count one row."""
        _count_troubles(cells, self._troubles)
        item = cells[self._key]
        if item in self._seen:
            self._troubles["item met twice"] += 1
            return
        self._seen.add(item)
        if item not in self._items:
            self._surplus += 1
            return
        self._with_text += any(cells[index].strip() for index in self._texts)
        for index, cell in enumerate(cells):
            self._filled[index] += bool(cell.strip())
            self._words[index] += len(cell.split())

    def facts(self, n_items: int) -> ItemFacts:
        """What the counts say."""
        fields = tuple(
            FieldFacts(name, kind, filled / max(n_items, 1), words / max(filled, 1))
            for index, ((name, kind), filled, words) in enumerate(
                zip(self._columns, self._filled, self._words, strict=True)
            )
            if index != self._key
        )
        return ItemFacts(
            fields=fields,
            missing=n_items - (len(self._seen) - self._surplus),
            surplus=self._surplus,
            without_text=n_items - self._with_text,
            troubles=dict(self._troubles),
        )


def _count_troubles(cells: list[str], troubles: Counter[str]) -> None:
    """Count the cells of one row that pandas' reader takes for something else."""
    for cell in cells:
        if cell.startswith('"'):
            troubles['field beginning with " (swallows lines)'] += 1
        elif cell and cell in MISSING_WORDS:
            troubles["text such as NA or None (read as missing)"] += 1
        elif len(cell) > _LONGEST_CELL:
            troubles["field longer than 131,072 characters (stops the reader)"] += 1
