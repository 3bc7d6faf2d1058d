"""From the loose values of public records to the fields of an atomic file."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import datetime, timezone

from recbole_unisid.data.atomic_text import clean_text, format_number
from recbole_unisid.data.interactions import finite_number

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--.*?-->", re.DOTALL)
_PRICE = re.compile(r"\$?\s*(\d{1,3}(?:,\d{3})+|\d{1,9})(\.\d{1,4})?")


def text_field(value: object, separator: str = " ") -> str:
    """Join the texts in a value (a text, or lists of them to any small depth) into one clean field.

    Anything that is no text is left out; so are texts met before.

    Examples
    --------
    >>> text_field([["Beauty", "Nails"], ["Beauty", "Gifts"]], ", ")
    'Beauty, Nails, Gifts'
    """
    if isinstance(value, str):
        return clean_text(value)
    distinct = dict.fromkeys(map(clean_text, _texts(value, depth=3)))
    return clean_text(separator.join(text for text in distinct if text))


def web_text_field(value: object, separator: str = " ") -> str:
    """As :func:`text_field`, of texts cut out of web pages: entities are resolved, tags left out.

    Examples
    --------
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
    """All texts in nested lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)) and depth:
        for part in value:
            yield from _texts(part, depth - 1)


def price_field(value: object) -> str:
    """Write a price as a plain number; the empty field for ranges, words and anything else.

    Examples
    --------
    >>> price_field(12.5), price_field("$1,299.00"), price_field("$5.00 - $9.00")
    ('12.5', '1299', '')
    """
    if isinstance(value, str):
        match = _PRICE.fullmatch(value.strip())
        value = float(match[0].lstrip("$ ").replace(",", "")) if match else None
    number = finite_number(value)
    return "" if number is None or number < 0 else format_number(number)


def seconds_of_date(text: str) -> float | None:
    """Seconds since 1970 of an ISO date and time; UTC where it names no zone; None where it is none.

    Examples
    --------
    >>> seconds_of_date("1970-01-02 00:00:01"), seconds_of_date("1970-01-01T01:00:00+01:00")
    (86401.0, 0.0)
    """
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def number_in(cell: str) -> float | None:
    """The number that a cell holds, or None; texts such as ``1_000`` are none."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None
