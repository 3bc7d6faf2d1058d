"""What codes mean: how well the first of them tell an item's category."""

from __future__ import annotations

from recbole_unisid.report.charts.axis import linear_axis
from recbole_unisid.report.charts.row_plot import Mark, row_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.markup import Markup, tag
from recbole_unisid.report.sections.section import Section, panel, panels, section
from recbole_unisid.report.token_groups import TokenView
from recbole_unisid.report.wording import share

_NOTE = (
    "Share of items whose category is the most frequent one under their prefix. Small groups are pure whatever "
    "they mean, so only the distance to shuffled codes (grey) tells something."
)


def draw(report: Report) -> Section:
    """Draw the section."""
    title = "Codes and categories"
    drawn = [_panel(report, view) for view in report.tokens]
    known = [one for one in drawn if one is not None]
    if not known:
        reason = (
            "It takes tokens, and items with at least two categories, to say what codes have to do with them."
        )
        return section("purity", title, tag("p", reason))
    return section("purity", title, panels(known), tag("p", _NOTE, class_="note"))


def _panel(report: Report, view: TokenView) -> Markup | None:
    marks = []
    for part in view.purity(report.items.categories):
        name = f"first {int(part['levels'])} codes" if part["levels"] > 1 else "first code"
        for value, colour, words in (
            (part["purity"], report.colour(view.label), name),
            (part["shuffled"], None, f"{name}, shuffled"),
        ):
            marks.append(Mark(words, colour, value, share(value), f"{words}: {share(value)}"))
    if not marks:
        return None
    axis = linear_axis([mark.value or 0.0 for mark in marks], zero=True)
    return panel(view.name, row_plot(marks, axis, lambda value: f"{100 * value:.0f} %", bars=True))
