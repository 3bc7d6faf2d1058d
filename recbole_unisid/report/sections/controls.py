"""Rules without any model beside the models: what has to be beaten, and what would betray a leak."""

from __future__ import annotations

from recbole_unisid.report.charts.axis import linear_axis
from recbole_unisid.report.charts.row_plot import Mark, row_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.markup import Markup, tag
from recbole_unisid.report.sections.section import Section, panel, panels, section
from recbole_unisid.report.wording import column_name, decimal, figure

_NAMES = {
    "popularity": "most popular first",
    "next_id": "next by ID",
    "previous_id": "previous by ID",
    "repeat_last": "the last item again",
    "nearest_text": "text nearest to the last item's",
}
_NOTE = (
    "Next and previous by ID recommend the neighbours of the last item in the order of the files. Where they "
    "differ by much, the order of equal times leaks; they mean something only where IDs come from the source."
)


def draw(report: Report) -> Section:
    """Draw the section."""
    drawn = [_panel(report, candidates) for candidates in ("full", "full_unfiltered")]
    known = [one for one in drawn if one is not None]
    if not known:
        return section("controls", "Controls", tag("p", "These runs have no controls."))
    return section("controls", "Controls", panels(known), tag("p", _NOTE, class_="note"))


def _panel(report: Report, candidates: str) -> Markup | None:
    column = (candidates, "recall@10")
    marks = []
    for row in report.board.rows:
        if column in row.spreads:
            mean = row.spreads[column].mean
            text = figure(decimal(mean), mean, row.model, f"test {candidates} recall@10")
            marks.append(
                Mark(row.model, report.colour(row.model), mean, text, f"{row.model}: {decimal(mean)}")
            )
    known = len(marks)
    first = report.labels[0]
    for name, sets in report.board.controls.items():
        value = (sets.get(candidates) or {}).get("recall@10")
        if value is not None:
            words = _NAMES.get(name, name)
            text = figure(decimal(value), value, first, f"controls {name} {candidates} recall@10")
            marks.append(Mark(words, None, value, text, f"control, {words}: {decimal(value)}"))
    if len(marks) == known:
        return None
    axis = linear_axis([mark.value for mark in marks if mark.value is not None], zero=True)
    return panel(column_name(column), row_plot(marks, axis, lambda value: f"{value:g}", bars=True))
