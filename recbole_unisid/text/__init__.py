"""Item texts: the ``.item`` file and what of it is read."""

from recbole_unisid.text.item_file import ItemTable, read_item_file
from recbole_unisid.text.item_text import default_fields, item_categories, item_texts, item_titles

__all__ = ["ItemTable", "default_fields", "item_categories", "item_texts", "item_titles", "read_item_file"]
