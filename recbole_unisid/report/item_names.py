"""What a reader knows items by: titles and categories from the data set's item file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_unisid.data.disk import folder_in_recbole
from recbole_unisid.text.item_file import read_item_file
from recbole_unisid.text.item_text import item_categories, item_titles


@dataclass(frozen=True)
class ItemNames:
    """Titles and categories by item; both may be empty.

    Attributes
    ----------
    titles, categories : dict of str
        By the item's name in the files.
    """

    titles: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)

    def title(self, item: str) -> str:
        """The item's title, or its name where it has none."""
        return self.titles.get(item) or item


def read_item_names(
    path: Path, separator: str = "\t", encoding: str = "utf-8", id_field: str = "item_id"
) -> ItemNames:
    """Read titles and the broadest categories of all items of a file.

    Raises
    ------
    UserError
        The file cannot be read.
    """
    table = read_item_file(path, separator, encoding, id_field)
    titles = item_titles(table, table.ids)
    categories = item_categories(table, table.ids)
    return ItemNames(dict(zip(table.ids, titles, strict=True)), dict(zip(table.ids, categories, strict=True)))


def find_item_file(settings: Sequence[Mapping[str, Any]], dataset: str) -> Path | None:
    """Find the item file that some run has read, or None.

    Parameters
    ----------
    settings : sequence of mappings
        ``config.yaml`` of the runs; their ``data_path`` counts from the current folder.
    dataset : str
        Name of the data set.
    """
    roots = [Path(str(one["data_path"])) for one in settings if one.get("data_path")]
    roots.append(folder_in_recbole().parent)
    candidates = [root / dataset / f"{dataset}.item" for root in roots]
    return next((path for path in candidates if path.is_file()), None)
