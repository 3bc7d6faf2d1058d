"""What a family of originals must be able to do: give interactions, and the text of items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from recbole_unisid.data.interactions import InteractionCollector

#: Reads a file of interactions into a collector; counts what is skipped; shows a bar if told to.
InteractionReader = Callable[[Path, InteractionCollector, "Counter[str]", bool], None]

#: Yields the name and the fields of every wanted item of a file; counts what is skipped; shows a bar.
ItemReader = Callable[[Path, Container[str], "Counter[str]", bool], Iterator[tuple[str, tuple[str, ...]]]]


@dataclass(frozen=True)
class Layout:
    """How the files of one family are read.

    Attributes
    ----------
    fields : tuple of str
        Columns of the ``.item`` file after the item's name, as ``name:type``.
    read_interactions : InteractionReader
        For the file of interactions.
    read_items : ItemReader
        For the file of items; as many fields for each item as there are in `fields`.
    """

    fields: tuple[str, ...]
    read_interactions: InteractionReader
    read_items: ItemReader
