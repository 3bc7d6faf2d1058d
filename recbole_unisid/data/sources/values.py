"""From the loose values of public records to the fields of an atomic file."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from recbole_unisid.data.atomic_text import LONGEST_TEXT, MISSING_WORDS, clean_text, format_number
from recbole_unisid.data.interactions import Column, finite_number

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--.*?-->", re.DOTALL)
_PRICE = re.compile(r"\$?\s*(\d{1,3}(?:,\d{3})+|\d{1,9})(\.\d{1,4})?")


def text_field(value: object, separator: str = " ") -> str:
    """Join the texts in a value (a text, or lists of them to any small depth) into one clean field.

    Anything that is no text is left out; so are texts met before.

    >>> text_field([["Beauty", "Nails"], ["Beauty", "Gifts"]], ", ")
    'Beauty, Nails, Gifts'
    """
    if isinstance(value, str):
        return clean_text(value)
    distinct = dict.fromkeys(map(clean_text, _texts(value, depth=3)))
    return clean_text(separator.join(text for text in distinct if text))


def web_text_field(value: object, separator: str = " ") -> str:
    """As :func:`text_field`, of texts cut out of web pages: entities are resolved, tags left out.

    >>> web_text_field(["Shea &amp; Cocoa<br />butter", "<span class='a'>4 oz</span>"])
    'Shea & Cocoa butter 4 oz'
    """
    if isinstance(value, str):
        return clean_text(_without_tags(value))
    return text_field([_without_tags(text) for text in _texts(value, depth=3)], separator)


def _without_tags(text: str) -> str:
    text = html.unescape(text)
    return _TAG.sub(" ", text) if "<" in text else text


def _texts(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)) and depth:
        for part in value:
            yield from _texts(part, depth - 1)


def price_field(value: object) -> str:
    """Write a price as a plain number; the empty field for ranges, words and anything else.

    >>> price_field(12.5), price_field("$1,299.00"), price_field("$5.00 - $9.00")
    ('12.5', '1299', '')
    """
    if isinstance(value, str):
        match = _PRICE.fullmatch(value.strip())
        value = float(match[0].lstrip("$ ").replace(",", "")) if match else None
    number = finite_number(value)
    return "" if number is None or number < 0 else format_number(number)


#: What cleaning may change in a text, but for quotation marks: all but ASCII with single blanks within.
_UNCLEAN = "[^ -~]|[&<]|  |^ | $"
#: Values that are remembered at a time.
_REMEMBERED = 1 << 12


def texts_in(column: Column, clean: Callable[[object], str]) -> list[str]:
    """The fields that `clean`, :func:`text_field` or :func:`web_text_field`, makes of a column's values.

    >>> texts_in(pa.chunked_array([["a", None, ' 5" &amp; more ', "null"]]), web_text_field)
    ['a', '', "5'' & more", '']
    """
    if isinstance(column, list) or not pa.types.is_string(column.type):
        return made_once(column, clean)
    texts = column.fill_null("")
    unclean = pc.or_(
        pc.match_substring_regex(texts, _UNCLEAN), pc.greater(pc.binary_length(texts), LONGEST_TEXT // 2)
    )
    unclean = pc.or_(unclean, pc.is_in(texts, pa.array([*MISSING_WORDS])))
    fields: list[str] = pc.replace_substring(texts, '"', "''").to_pylist()
    for row in np.flatnonzero(unclean.to_numpy()).tolist():
        fields[row] = clean(texts[row].as_py())
    return fields


def made_once(column: Column, make: Callable[[object], str]) -> list[str]:
    """The fields that are made of a column's values, once of equal ones that Arrow has found of one type."""
    if isinstance(column, list):
        return list(map(make, column))
    remembered = lru_cache(maxsize=_REMEMBERED)(make)
    return [remembered(_frozen(value)) for value in column.to_pylist()]


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def seconds_of_date(text: object) -> float | None:
    """Seconds since 1970 of an ISO date and time; UTC where it names no zone; None for anything else.

    >>> seconds_of_date("1970-01-02 00:00:01"), seconds_of_date("1970-01-01T01:00:00+01:00")
    (86401.0, 0.0)
    """
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


_YEAR, _DAY, _NAME = r"(?P<year>\d{4})", r"(?P<day>\d{1,2})", r"(?P<name>[A-Za-z]{3,9})\.?"
_WEEKDAY, _REST = r"(?:[A-Za-z]{3,9},? +)?", r"(?!\d)(?P<rest>.*)"
#: Dates by numbers with the year last.
NUMERIC_DATE = re.compile(rf"(?s)(?P<first>\d{{1,2}})([./-])(?P<second>\d{{1,2}})\2{_YEAR}{_REST}")
_DATES = [
    NUMERIC_DATE,
    re.compile(rf"(?s){_YEAR}[./](?P<month>\d{{1,2}})[./]{_DAY}{_REST}"),
    re.compile(rf"(?s){_YEAR}-(?P<month>\d\d)-(?P<day>\d\d){_REST}"),
    re.compile(rf"(?s){_WEEKDAY}{_NAME}[ -]+{_DAY},?[ -]+{_YEAR}{_REST}"),
    re.compile(rf"(?s){_WEEKDAY}{_DAY}\.?[ -]+{_NAME},?[ -]+{_YEAR}{_REST}"),
]
_CLOCK = re.compile(
    r"(?:(?:[T,]| at)? *(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,6})\d*)?)?(?: *([AaPp])\.?[Mm]\.?)?)?"
    r" *(?:Z|UTC|GMT|(?:UTC|GMT)?([+-]\d\d):?(\d\d))?"
)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


def seconds_of_any_date(text: str, day_first: bool | None) -> float | None:
    """Seconds since 1970 of a date in one of the forms that exports have; UTC where it names no zone.

    These are ISO dates, ``2025/09/18``, ``18.09.2025``, ``09/18/2025``, ``Sep 18, 2025`` and ``18 Sep 2025``, with a
    time of day and ``UTC`` or an offset after them. Where `day_first` is None, ``01/02/2025`` is refused.

    >>> seconds_of_any_date("02.01.1970", True), seconds_of_any_date("Jan 2, 1970 1:00 AM UTC", None)
    (86400.0, 90000.0)
    """
    text = text.strip()
    if (seconds := seconds_of_date(text)) is not None:
        return seconds
    date = next((match.groupdict() for form in _DATES if (match := form.fullmatch(text))), None)
    clock = _CLOCK.fullmatch(date["rest"].rstrip()) if date else None
    if date is None or clock is None:
        return None
    if "first" in date:
        if day_first is None:
            return None
        date["day"], date["month"] = (date["first"], date["second"])[:: 1 if day_first else -1]
    elif "name" in date:
        name = date["name"][:3].lower()
        date["month"] = str(_MONTHS.index(name) + 1) if name in _MONTHS else "0"
    hour, minute, second, fraction, half, zone_hours, zone_minutes = clock.groups(default="")
    hours = int(hour or 0)
    if half:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + 12 * (half in "Pp")
    return seconds_of_date(
        f"{date['year']}-{date['month']:0>2}-{date['day']:0>2}T{hours:02}:{minute or '00'}:{second or '00'}."
        f"{fraction:0<6}{zone_hours}{':' if zone_hours else ''}{zone_minutes}"
    )


_DECIMAL_COMMA = re.compile(r"([+-]?\d{1,3}(?:\.\d{3})+|[+-]?\d+),(\d+)")


def number_in(cell: str, decimal_comma: bool = False, otherwise: float | None = None) -> float | None:
    """The number that a cell holds; texts such as ``1_000`` are none."""
    if decimal_comma and (match := _DECIMAL_COMMA.fullmatch(cell.strip())):
        cell = f"{match[1].replace('.', '')}.{match[2]}"
    try:
        return otherwise if "_" in cell else float(cell)
    except ValueError:
        return otherwise


def numbers_in(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """The numbers that texts hold; NaN for those that hold none, null for empty ones."""
    given = pc.if_else(pc.equal(cells, ""), None, cells)
    try:
        return given.cast(pa.float64())
    except pa.ArrowInvalid:
        found = (None if text is None else number_in(text, otherwise=math.nan) for text in given.to_pylist())
        return pa.chunked_array([pa.array(found, pa.float64())])


def text_in(cell: object) -> str:
    """A cell as clean text; numbers are written out."""
    number = isinstance(cell, (int, float)) and not isinstance(cell, bool)
    return text_field(str(cell) if number else cell)


_CURRENCY = re.compile(r"[$€£¥]|[A-Z]{3}|kr|zł|Kč")


def price_in(cell: object, decimal_comma: bool = False) -> str:
    """A price as a plain number, its currency left out; the empty field for anything else.

    >>> price_in("1.299,00 €", True), price_in("USD 5"), price_in("on request")
    ('1299', '5', '')
    """
    if isinstance(cell, str):
        cell = _CURRENCY.sub("", cell, count=1).strip()
        number = number_in(cell, decimal_comma)
        return price_field(cell if number is None else number)
    return price_field(float(cell) if isinstance(cell, Decimal) else cell)
