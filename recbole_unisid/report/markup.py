"""HTML that is safe by construction: whatever is not markup already is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from markupsafe import Markup as Markup
from markupsafe import escape

#: What may stand inside an element; None leaves nothing.
Child: TypeAlias = "str | int | None"

_VOID = frozenset(["br", "input"])
#: SVG's shapes have no content, but HTML wants them closed.
_SHAPES = frozenset(["circle", "line", "path", "polyline", "rect"])
#: Control characters that HTML forbids, and those that would break a line of text.
_CONTROLS = {code: " " for code in (*range(32), 127, *range(128, 160), 0x2028, 0x2029)}


def tag(name: str, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Write one element.

    Of an attribute's name a final underscore is dropped (``class_``), others become hyphens (``aria_label``); None and
    False leave the attribute out, True writes it without a value.

    >>> print(tag("p", "1 < 2", tag("br"), class_="note"))
    <p class="note">1 &lt; 2<br></p>
    """
    written = ""
    for key, value in attributes.items():
        if value is not None and value is not False:
            written += f" {key.rstrip('_').replace('_', '-')}"
            written += "" if value is True else f'="{escape(str(value))}"'
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    if name in _SHAPES:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Put pieces one after the other; text is escaped."""
    return Markup("".join(escape(child) for child in children if child is not None))


def clean_text(text: str, longest: int) -> str:
    """Make foreign text fit for display: no control characters, not longer than `longest`.

    >>> clean_text("a\\x00b\\n" + "c" * 9, 6)
    'a b cc…'
    """
    # Collapsing blanks may shorten the text, so somewhat more than is shown is looked at, but never all of it.
    start = text[: 4 * longest]
    plain = " ".join(start.translate(_CONTROLS).split())
    whole = len(start) == len(text) and len(plain) <= longest
    return plain if whole else plain[:longest] + "…"


def foreign(text: str, longest: int = 120) -> Markup:
    """Show text that comes from a data set, kept apart from the direction of the text around it."""
    return tag("bdi", clean_text(text, longest), title=clean_text(text, 500) if len(text) > longest else None)


def table(head: Sequence[Child], rows: Sequence[Sequence[Child]], caption: str, wide: bool = False) -> Markup:
    """Write a table that scrolls sideways in its own box where the screen is narrow.

    A row's first cell is its head; the caption is read out; in a `wide` table numbers keep to one line each.
    """
    top = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    parts = (tag("caption", caption), tag("thead", top), tag("tbody", *body))
    grid = tag("table", *parts, class_="wide" if wide else None)
    return tag("div", grid, class_="scroll", role="region", tabindex="0", aria_label=caption)


class Section(NamedTuple):
    """One part of the page: a name for links, its title, and its HTML."""

    ident: str
    title: str
    html: Markup


def section(ident: str, title: str, *children: Child) -> Section:
    """Make a section of its parts, below a heading."""
    named = f"{ident}-title"
    heading = tag("h2", title, id=named)
    return Section(ident, title, tag("section", heading, *children, id=ident, aria_labelledby=named))


def note(text: str) -> Markup:
    """A small remark."""
    return tag("p", text, class_="note")


def panel(title: Child, *children: Child) -> Markup:
    """A drawing with its title above."""
    return tag("figure", tag("figcaption", title), *children)


def panels(children: Iterable[Child]) -> Markup:
    """Drawings side by side where there is room."""
    return tag("div", *children, class_="panels")


def swatch(kind: str) -> Markup:
    """A spot of a colour, by the class of the style sheet."""
    return tag("span", class_=f"swatch {kind}", aria_hidden="true")


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """Name colours: pairs of a name and the class of its swatch."""
    return tag("ul", *(tag("li", swatch(kind), name) for name, kind in entries), class_="legend")
