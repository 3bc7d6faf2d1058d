"""The first line of RecBole's atomic files: ``name:type`` of every column."""

from __future__ import annotations

from pathlib import Path

from recbole_unisid.errors import UserError

#: RecBole's types of columns.
COLUMN_TYPES = ("token", "token_seq", "float", "float_seq")


def parse_header(line: str, separator: str, path: Path) -> dict[str, str]:
    """Read a header.

    Parameters
    ----------
    line : str
        The first line, without its end.
    separator : str
        What stands between columns (RecBole's ``field_separator``).
    path : Path
        The file, for the message.

    Returns
    -------
    dict of str
        Column name -> type, in the file's order.

    Raises
    ------
    UserError
        When a column is not ``name:type`` with a type that RecBole has, or stands twice.

    Examples
    --------
    >>> parse_header("item_id:token,title:token_seq", ",", Path("shop.item"))
    {'item_id': 'token', 'title': 'token_seq'}
    """
    columns: dict[str, str] = {}
    for cell in line.split(separator):
        name, _, kind = cell.rpartition(":")
        if not name or kind not in COLUMN_TYPES:
            raise UserError(
                f"{path}, line 1: {cell[:60]!r} is not name:type with type token, token_seq, float or float_seq, "
                "separated by tabs or field_separator; mend the header."
            )
        if name in columns:
            raise UserError(f"{path}, line 1: column {name!r} stands twice; rename one.")
        columns[name] = kind
    return columns
