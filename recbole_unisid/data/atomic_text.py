"""Text and identifiers as RecBole's atomic files can hold them.

RecBole reads its tab-separated files through pandas' quoting and its list of words for "missing"; other
readers split at tabs. What is written here reads the same either way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from recbole_unisid.errors import UserError

#: Words that pandas' readers turn into a missing value (`pandas.read_csv`, `na_values`).
MISSING_WORDS = frozenset([
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
])  # fmt: skip

#: Longest text of one field, in characters. Python's csv reader, and so RecBole, stops at 131,072.
LONGEST_TEXT = 32_768

#: Longest identifier, in characters.
LONGEST_ID = 256

# Control characters, the line breaks that `str.splitlines` knows, and halves of surrogate pairs.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def clean_text(text: str) -> str:
    """Make a text safe for one field of an atomic file: one line with single blanks, at most `LONGEST_TEXT` characters.

    Every ``"`` becomes ``''``: pandas would take a leading one for a quoted field and swallow lines. Words that pandas
    reads as missing become the empty text, so that every reader sees the same.

    >>> clean_text('24"\\tMonitor\\n')
    "24'' Monitor"
    >>> clean_text("None")
    ''
    """
    printable = text if text.isprintable() else _UNWRITABLE.sub(" ", text)
    one_line = " ".join(printable.split()).replace('"', "''")
    return "" if one_line in MISSING_WORDS else one_line[:LONGEST_TEXT].rstrip()


def usable_id(identifier: str) -> bool:
    """Tell whether the name of a user or an item can be written unchanged and read back as itself.

    It must not be empty, longer than `LONGEST_ID`, a word that pandas reads as missing or RecBole's ``[PAD]``, hold a
    control character or a ``"``, or have blanks around it.

    >>> usable_id("B004756YJA"), usable_id("a\\tb"), usable_id("null")
    (True, False, False)
    """
    if len(identifier) > LONGEST_ID or identifier in MISSING_WORDS:
        return False
    return identifier.isalnum() or (
        identifier != "[PAD]"
        and '"' not in identifier
        and identifier == identifier.strip()
        and _UNWRITABLE.search(identifier) is None
    )


def format_number(value: float) -> str:
    """Write a float so that it reads back exactly: whole numbers without a point, NaN as the empty field.

    >>> format_number(1393545600.0), format_number(1631250589.584), format_number(float("nan"))
    ('1393545600', '1631250589.584', '')
    """
    if value != value:
        return ""
    return str(int(value)) if value.is_integer() else repr(value)


#: Names of items and their clean fields.
ItemRows: TypeAlias = "Iterator[tuple[str, tuple[str, ...]]]"

#: RecBole's types of columns.
COLUMN_TYPES = ("token", "token_seq", "float", "float_seq")


def parse_header(line: str, separator: str, path: Path) -> dict[str, str]:
    """Name and type of every column, of the first line of an atomic file.

    A column that is not ``name:type`` with a type that RecBole has, or stands twice, is a ``UserError``.

    >>> parse_header("item_id:token,title:token_seq", ",", Path("shop.item"))
    {'item_id': 'token', 'title': 'token_seq'}
    """
    columns: dict[str, str] = {}
    for cell in line.split(separator):
        name, _, kind = cell.rpartition(":")
        if not name or kind not in COLUMN_TYPES or any(f":{one}" in name for one in COLUMN_TYPES):
            raise UserError(
                f"{path}, line 1: {cell[:60]!r} is not name:type with type token, token_seq, float or float_seq, "
                "separated by tabs or field_separator; mend the header."
            )
        if name in columns:
            raise UserError(f"{path}, line 1: column {name!r} stands twice; rename one.")
        columns[name] = kind
    return columns


def form_of(name: str) -> str:
    """What is left of a name without zeros before a number, ``.0`` after it, case and blanks."""
    return re.sub(r"^0+(?=\d)|\.0+$|\s", "", name).casefold()


def alike(names: Iterable[str], table: Iterable[str]) -> list[tuple[str, str]]:
    """Names that a table lacks and has in another form, each with the table's.

    >>> alike(["18.0", "19", "21"], ["18", "19", "20"])
    [('18.0', '18')]
    """
    listed, used = dict.fromkeys(table), dict.fromkeys(names)
    forms = {form_of(name): name for name in listed if name not in used}
    missing = [name for name in used if name not in listed]
    return [(name, forms[form_of(name)]) for name in missing if forms and form_of(name) in forms]
