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
    rules = [mark for name in _rules(report) if (mark := _rule(report, name, candidates)) is not None]
    if not rules:
        return None
    marks += rules
    axis = linear_axis([mark.value for mark in marks if mark.value is not None], zero=True)
    return panel(column_name(column), row_plot(marks, axis, lambda value: f"{value:g}", bars=True))


def _rules(report: Report) -> list[str]:
    """Names of the controls that some run has: a model that reads no text has none by text."""
    runs = [group[0] for group in report.runs.values()]
    found = {name for run in runs for name in run.find("controls") or {}}
    return [*(name for name in _NAMES if name in found), *sorted(found - set(_NAMES))]


def _rule(report: Report, name: str, candidates: str) -> Mark | None:
    """One control's line, from the first model whose runs have it; it is the same for all."""
    words = _NAMES.get(name, name)
    for label in report.labels:
        value = report.mean(label, "controls", name, candidates, "recall@10")
        if value is not None:
            text = figure(decimal(value), value, label, f"controls {name} {candidates} recall@10")
            return Mark(words, None, value, text, f"control, {words}: {decimal(value)}")
    return None
