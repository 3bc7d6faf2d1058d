"""Forest plots: how far each model is from the reference, metric by metric."""

from __future__ import annotations

from recbole_unisid.report.charts.axis import linear_axis
from recbole_unisid.report.charts.row_plot import Mark, row_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.leaderboard import Column
from recbole_unisid.report.markup import Markup, join, tag
from recbole_unisid.report.sections.section import Section, panel, panels, section
from recbole_unisid.report.wording import column_name, signed

_NOTE = (
    "Differences of means over seeds, user by user, with the 95 % interval of a paired bootstrap over users. "
    "Filled dots are significant: p below .05 after Holm's correction over the models, and the interval excludes 0."
)


def draw(report: Report) -> Section:
    """Draw the section."""
    title, reference = "Differences to the reference", report.board.reference
    if reference is None or len(report.board.rows) < 2:
        reason = (
            "There is nothing to compare: it takes an ID-only model, or a named reference, and another model."
        )
        return section("differences", title, tag("p", reason))
    drawn = [_forest(report, column) for column in report.board.columns]
    return section(
        "differences",
        f"{title}, {reference}",
        panels(one for one in drawn if one is not None),
        tag("p", _NOTE, class_="note"),
    )


def _forest(report: Report, column: Column) -> Markup | None:
    rows = [row for row in report.board.rows if column in row.comparisons]
    if not rows:
        return None
    found = {row.model: row.comparisons[column] for row in rows}
    ends = [end for one in found.values() for end in (one.difference.low, one.difference.high)]
    marks = []
    for model, one in found.items():
        difference = one.difference
        change = "" if one.relative is None else f"{100 * one.relative:+.0f} %".replace("-", "−")
        interval = f"{signed(difference.low)} to {signed(difference.high)}"
        verdict = "significant" if one.significant else "not significant"
        spoken = f"{model} against {one.reference}: {signed(difference.estimate)} ({interval}), {verdict}"
        text = join([signed(difference.estimate), tag("small", change)])
        colour, ends_of = report.colour(model), (difference.low, difference.high)
        marks.append(Mark(model, colour, difference.estimate, text, spoken, ends_of, not one.significant))
    plot = row_plot(marks, linear_axis(ends, zero=True), lambda value: f"{value:+g}" if value else "0")
    return panel(column_name(column), plot)
