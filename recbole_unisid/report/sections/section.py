"""What a section is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recbole_unisid.report.markup import Child, Markup, join, tag


@dataclass(frozen=True)
class Section:
    """One part of the page: a name for links, a heading, and what stands below it."""

    ident: str
    title: str
    body: Markup

    def drawn(self) -> Markup:
        """The section as HTML."""
        heading = tag("h2", self.title, id=f"{self.ident}-title")
        return tag("section", heading, self.body, id=self.ident, aria_labelledby=f"{self.ident}-title")


def section(ident: str, title: str, *children: Child) -> Section:
    """Make a section of its parts."""
    return Section(ident, title, join(children))


def panel(title: Child, *children: Child, note: str | None = None) -> Markup:
    """A drawing with its title above and, where there is one, a note below."""
    below = None if note is None else tag("p", note, class_="note")
    return tag("figure", tag("figcaption", title), *children, below)


def panels(children: Iterable[Child]) -> Markup:
    """Drawings side by side where there is room."""
    return tag("div", *children, class_="panels")


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """Name colours: pairs of a name and the class of its swatch."""
    items = [
        tag("li", tag("span", class_=f"swatch {kind}", aria_hidden="true"), name) for name, kind in entries
    ]
    return tag("ul", *items, class_="legend")
