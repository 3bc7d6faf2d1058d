"""Which items the tokens cannot tell apart, by title."""

from __future__ import annotations

from recbole_unisid.report.gather import Report
from recbole_unisid.report.markup import Markup, foreign, tag
from recbole_unisid.report.sections.section import Section, panel, panels, section
from recbole_unisid.report.token_groups import TokenView
from recbole_unisid.report.wording import count

_LISTED = 6
_NOTE = "Items of one tuple score the same for a model without an ID token."


def draw(report: Report) -> Section:
    """Draw the section."""
    if not report.tokens:
        return section("collisions", "Largest collisions", tag("p", "No model here has tokens."))
    drawn = [_view(report, view) for view in report.tokens]
    return section("collisions", "Largest collisions", *drawn, tag("p", _NOTE, class_="note"))


def _view(report: Report, view: TokenView) -> Markup:
    groups = view.largest_collisions()
    title = tag("h3", view.name)
    if not groups:
        return tag("div", title, tag("p", "Every item has a tuple of its own."))
    sizes = view.collision_sizes()
    shared = sum(size * tuples for size, tuples in sizes.items() if size > 1)
    told = f"{count(shared)} of {count(len(view.item_ids))} items share their tuple with another."
    return tag("div", title, tag("p", told), panels(_group(report, view, group) for group in groups))


def _group(report: Report, view: TokenView, group: list[str]) -> Markup:
    codes = view.codes[view.item_ids.index(group[0])].tolist()
    chips = [tag("span", code, class_="chip") for code in codes]
    items = [
        tag("li", foreign(report.items.title(item)), tag("small", foreign(item, 40)))
        for item in group[:_LISTED]
    ]
    rest = len(group) - _LISTED
    more = tag("li", f"and {count(rest)} more", class_="note") if rest > 0 else None
    return panel(tag("span", *chips, f" {count(len(group))} items"), tag("ul", *items, more, class_="titles"))
