"""Who wins, by how much, and on what: two sentences and a few numbers."""

from __future__ import annotations

from recbole_unisid.report.gather import Report
from recbole_unisid.report.leaderboard import HEADLINE
from recbole_unisid.report.markup import Markup, join, tag
from recbole_unisid.report.sections.section import Section, section
from recbole_unisid.report.wording import count, decimal, figure, signed

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
        above = [
            row.model
            for row in board.rows
            if (found := row.comparisons.get(HEADLINE)) and not found.significant
        ]
        rest = (
            f" Not significantly below it: {', '.join(above)}."
            if above
            else " All others are significantly below."
        )
        return join([*leads, ": no model beats this reference.", rest])
    found = best.comparisons[HEADLINE]
    change = "" if found.relative is None else f"{100 * found.relative:+.1f} % ".replace("-", "−")
    interval = f"{signed(found.difference.low)} to {signed(found.difference.high)}"
    verdict = "significantly above" if found.significant else "not significantly above"
    return join(
        [*leads, f": {change}against {reference}, ", tag("strong", verdict)]
        + [f" it (95 % interval of the difference {interval}; p {found.p_holm:.4f} by Holm)."]
    )
