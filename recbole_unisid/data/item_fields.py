"""What the fields of an ``.item`` file hold, and which of their values RecBole would misread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from recbole_unisid.data.atomic_reader import read_atomic
from recbole_unisid.data.atomic_text import MISSING_WORDS

_LONGEST_CELL = 131_072  # the csv module's limit, which pandas' python engine has


@dataclass(frozen=True)
class FieldFacts:
    """One column of the ``.item`` file."""

    name: str
    type: str  # of RecBole
    coverage: float  # share of the items in the interactions with a value that is not blank
    words: float  # mean number of words of those values


@dataclass(frozen=True)
class ItemFacts:
    """The ``.item`` file as a whole, beside the items of the interactions."""

    fields: tuple[FieldFacts, ...]
    missing: int  # items of the interactions that are not in the file
    surplus: int  # items of the file that are not in the interactions
    without_text: int  # items of the interactions with no text in any column of type token or token_seq
    troubles: dict[str, int]  # rows and cells that RecBole would misread, by reason


def item_facts(path: Path, items: Container[str], n_items: int) -> ItemFacts:
    """Describe an ``.item`` file beside the `n_items` items that occur in the interactions.

    Raises
    ------
    UserError
        When the file cannot be read, or has no item_id column.
    """
    troubles, faults, filled, words = (Counter[str]() for _ in range(4))
    seen: set[str] = set()
    surplus = with_text = 0
    types, read = read_atomic(path, ["item_id"])
    for rows in read:
        faults.update({reason: len(lines) for reason, lines in rows.faults.items()})
        for row in rows.cells.to_pylist():
            _count_troubles(list(row.values()), troubles)
            item = row.pop("item_id")
            if item in seen:
                troubles["item met twice"] += 1
                continue
            seen.add(item)
            if item not in items:
                surplus += 1
                continue
            with_text += any(cell.strip() for name, cell in row.items() if types[name].startswith("token"))
            filled.update(name for name, cell in row.items() if cell.strip())
            words.update({name: len(cell.split()) for name, cell in row.items()})
    return ItemFacts(
        fields=tuple(
            FieldFacts(name, kind, filled[name] / max(n_items, 1), words[name] / max(filled[name], 1))
            for name, kind in types.items()
            if name != "item_id"
        ),
        missing=n_items - (len(seen) - surplus),
        surplus=surplus,
        without_text=n_items - with_text,
        troubles=dict(troubles + faults),
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
