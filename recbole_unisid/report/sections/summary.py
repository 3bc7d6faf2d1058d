"""Who wins, by how much, and on what: a sentence, a few numbers and one plot."""

from __future__ import annotations

from recbole_unisid.report.charts.axis import linear_axis
from recbole_unisid.report.charts.row_plot import Mark, row_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.leaderboard import HEADLINE
from recbole_unisid.report.markup import Markup, join, tag
from recbole_unisid.report.sections.section import Section, panel, section
from recbole_unisid.report.wording import column_name, count, decimal, figure, listed, signed

_KEY = "test full ndcg@10"


def draw(report: Report) -> Section:
    """Draw the section."""
    data, board = report.board.data, report.board
    runs = sum(len(group) for group in report.runs.values())
    tiles = [("users", data["users"]), ("items", data["items"]), ("interactions", data["interactions"])]
    tiles += [("models", len(board.rows)), ("runs", runs)]
    facts = [tag("li", tag("strong", count(value)), " ", name) for name, value in tiles]
    notes = [tag("p", note, class_="warning") for note in board.notes]
    return section(
        "summary",
        "At a glance",
        tag("p", headline(report), class_="headline"),
        tag("ul", *facts, class_="tiles"),
        *notes,
        _headline_plot(report),
    )


def headline(report: Report) -> Markup:
    """Say in words who leads, and whether that is more than chance."""
    board = report.board
    best, reference = board.rows[0], board.reference
    mean = best.spreads[HEADLINE].mean
    value = figure(decimal(mean), mean, best.model, _KEY)
    leads = [tag("strong", best.model), " has the highest NDCG@10 over the whole catalogue, ", value]
    if len(board.rows) == 1:
        return join([*leads, "."])
    if reference is None:
        return join([*leads, ". No model here is ID-only, so nothing is compared: name a reference."])
    if best.model == reference:
        close = [
            one for one in board.rows if (found := one.comparisons.get(HEADLINE)) and not found.significant
        ]
        rest = " All others are significantly below."
        if close:
            rest = f" Not significantly below it: {listed([one.model for one in close])}."
        return join([*leads, ": no model beats this reference.", rest])
    found = best.comparisons[HEADLINE]
    change = "" if found.relative is None else f"{100 * found.relative:+.1f} % ".replace("-", "−")
    interval = f"{signed(found.difference.low)} to {signed(found.difference.high)}"
    verdict = "significantly above" if found.significant else "not significantly above"
    rest = f" it (95 % interval of the difference {interval}; p {found.p_holm:.4f} by Holm)."
    return join([*leads, f": {change}against {reference}, ", tag("strong", verdict), rest])


def _headline_plot(report: Report) -> Markup:
    intervals = {label: found[HEADLINE] for label, found in report.intervals.items()}
    axis = linear_axis([end for one in intervals.values() for end in (one.low, one.high)], zero=True)
    marks = []
    for row in report.board.rows:
        mean, one = row.spreads[HEADLINE].mean, intervals[row.model]
        spoken = f"{row.model}: NDCG@10 {decimal(mean)}, interval {decimal(one.low)} to {decimal(one.high)}"
        text = figure(decimal(mean), mean, row.model, _KEY)
        marks.append(Mark(row.model, report.colour(row.model), mean, text, spoken, (one.low, one.high)))
    plot = row_plot(marks, axis, lambda value: f"{value:g}")
    return panel(f"{column_name(HEADLINE)}, with 95 % intervals over users", plot)
