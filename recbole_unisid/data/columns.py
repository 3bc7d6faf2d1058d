"""Which column of a person's own table means what, and what its cells say."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, time, timezone
from decimal import Decimal

import pyarrow as pa
from pyarrow import compute as pc

from recbole_unisid.data.atomic_text import clean_text
from recbole_unisid.data.interactions import finite_number
from recbole_unisid.data.sources.records import as_list
from recbole_unisid.data.sources.tables import Table
from recbole_unisid.data.sources.values import NUMERIC_DATE, number_in, seconds_of_any_date
from recbole_unisid.errors import UserError, did_you_mean

#: What a column can be named for, and the names that are tried where none is given.
USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "user": ("user_id", "user", "userid", "uid", "reviewerid"),
    "item": ("item_id", "item", "itemid", "iid", "parent_asin", "asin", "product_id"),
    "time": ("timestamp", "time", "datetime", "date", "unixreviewtime"),
    "rating": ("rating", "score", "stars", "overall"),
}

#: Roles of items' columns that have a field of their own.
FIELDS = {
    "title": "title:token_seq",
    "category": "categories:token_seq",
    "brand": "brand:token",
    "price": "price:float",
}

_ROLES = (*USUAL_NAMES, *FIELDS, "text", "item_in_items")


def parse_columns(text: str) -> dict[str, str]:
    """Parse ``user=...,item=...,time=...,text=...`` as it is typed; another form or role is a ``UserError``.

    >>> parse_columns("user=customer,item=sku,text=title+description")
    {'user': 'customer', 'item': 'sku', 'text': 'title+description'}
    """
    columns: dict[str, str] = {}
    for part in text.split(","):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column:
            raise UserError(
                f"{part!r} in --columns is not of the form role=column, such as user=customer_id."
            )
        columns[role] = column
    check_roles(columns)
    return columns


def check_roles(columns: Mapping[str, str]) -> None:
    """Refuse a role that does not exist, with the nearest one that does."""
    for role in columns:
        if role not in _ROLES:
            raise UserError(
                f"Unknown role {role!r} in --columns: use {', '.join(_ROLES)}.{did_you_mean(role, _ROLES)}"
            )


def column_for(table: Table, columns: Mapping[str, str], role: str) -> str | None:
    """The column of a table that plays a role: the one named, which must be there, or one of a usual name, or None."""
    if role in columns:
        return existing_column(table, columns[role])
    by_fold = {column.lower(): column for column in reversed(table.columns)}
    return next((by_fold[name] for name in USUAL_NAMES[role] if name in by_fold), None)


def needed_column(table: Table, columns: Mapping[str, str], role: str, option: str | None = None) -> str:
    """As :func:`column_for`, but ``UserError`` where there is none: it is said with ``--columns=OPTION=COLUMN``."""
    column = column_for(table, columns, role)
    if column is None:
        raise UserError(
            f"{table.path} has no column that is clearly the {role}: name it with --columns={option or role}=COLUMN. "
            f"It has {table.shown_columns}."
        )
    return column


def existing_column(table: Table, column: str) -> str:
    """Return `column` if the table has it; :class:`UserError` with the nearest names if not."""
    if column not in table.columns:
        raise UserError(
            f"{table.path} has no column {column!r}.{did_you_mean(column, map(clean_text, table.columns))} "
            f"It has {table.shown_columns}."
        )
    return column


def name_in(cell: object) -> object:
    """A user's or item's name as text: numbers are written out, anything else stays and will be refused."""
    if isinstance(cell, str):
        return cell.strip() or None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))  # whole numbers become floats in tables with gaps
    return str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell


def plain_names(cells: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """What :func:`name_in` finds in texts, if none of them begins or ends with a sign that it may take for a blank."""
    if pc.any(pc.match_substring_regex(cells, r"^[^!-~]|[^!-~]$")).as_py():
        return None
    return pc.if_else(pc.equal(cells, ""), None, cells)


def plain_numbers(cells: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The numbers that texts hold, if all of them do or are empty (null); NaN for those that are not finite."""
    try:
        numbers = pc.if_else(pc.equal(cells, ""), None, cells).cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    return pc.if_else(pc.is_finite(numbers), numbers, math.nan)


def time_in(cell: object, day_first: bool | None = None, decimal_comma: bool = False) -> object:
    """A time as a number: numbers as they are, dates as seconds since 1970; else the cell itself."""
    if isinstance(cell, str):
        if not cell.strip():
            return None
        number = number_in(cell, decimal_comma)
        if number is None:
            number = seconds_of_any_date(cell, day_first)
        return cell if number is None else number
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime.combine(cell, time(), timezone.utc)
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=timezone.utc)).timestamp()
    return cell


def rating_in(cell: object, decimal_comma: bool = False) -> float | None:
    """A rating as a number; None for anything else."""
    if isinstance(cell, str):
        return finite_number(number_in(cell, decimal_comma))
    return finite_number(float(cell) if isinstance(cell, Decimal) else cell)


def day_first_in(table: Table, column: str, said: str | None) -> bool | None:
    """Whether the day comes first in a column's dates such as ``18/09/2025``; None where it has none.

    It is `said` (``day-first`` or ``month-first``), or a day above 12 tells it, or points between the numbers. Where
    nothing tells it, or dates of both kinds stand in the column, it is a ``UserError``.
    """
    if said is not None:
        if said not in ("day-first", "month-first"):
            raise UserError(f"--dates={said} is neither day-first nor month-first.")
        return said == "day-first"
    found: dict[str, str] = {}  # what tells it -> the first cell that does
    for batch in table.batches(Counter(), [column], (), False):
        for line, cell in zip(batch.lines, as_list(batch.columns[column]), strict=True):
            match = NUMERIC_DATE.fullmatch(cell.strip()) if isinstance(cell, str) else None
            if match is not None:
                days = [int(match[1]) > 12, int(match[3]) > 12]
                kind = "day" if days[0] else "month" if days[1] else match[2]
                found.setdefault(kind, f"line {line}: {cell.strip()[:30]}")
        if not found:
            break
    if not found:
        return None
    if "day" in found and "month" in found:
        raise UserError(
            f"{table.path}: the day comes first in some dates ({found['day']}) and second in others "
            f"({found['month']}); write them alike, or say --dates=day-first or month-first and lose the others."
        )
    if "day" not in found and "month" not in found and set(found) != {"."}:
        raise UserError(
            f"{table.path}, {next(iter(found.values()))} may have the day or the month first: say --dates=day-first or "
            "--dates=month-first."
        )
    return "month" not in found


def field_name(column: str) -> str:
    """A text column's name as ``prepare`` writes it, so that RecBole's headers and command line can hold it.

    >>> field_name("Product name (EN)"), field_name("user_id"), field_name("?")
    ('Product_name_EN', 'user_id_text', 'text')
    """
    name = re.sub(r"\W+", "_", column).strip("_") or "text"
    return f"{name}_text" if name in ("item_id", "user_id") else name
