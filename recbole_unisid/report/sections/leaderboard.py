"""The leaderboard: every figure with its spread over seeds and its interval over users."""

from __future__ import annotations

from recbole_unisid.report.gather import Report
from recbole_unisid.report.leaderboard import Column, Row
from recbole_unisid.report.markup import Markup, join, table, tag
from recbole_unisid.report.sections.section import Section, section
from recbole_unisid.report.wording import column_name, count, decimal, duration, figure

_LEGEND = (
    "Means over seeds; ± is the standard deviation over seeds, brackets hold the 95 % interval over users. "
    "▲ ▼ significantly above, below the reference; the best is bold where it is ▲."
)


def draw(report: Report) -> Section:
    """Draw the section."""
    board = report.board
    head = ["Model", "Seeds", *map(column_name, board.columns), "Token parameters", "Training"]
    grid = table(
        head, [_cells(report, row) for row in board.rows], f"Leaderboard of {board.dataset}", wide=True
    )
    reference = "" if board.reference is None else f" Reference: {board.reference}."
    return section(
        "leaderboard",
        "Leaderboard",
        grid,
        tag("p", _LEGEND + reference, class_="note"),
    )


def _cells(report: Report, row: Row) -> list[Markup | str]:
    figures = [_cell(report, row, column) for column in report.board.columns]
    tokens = report.mean(row.model, "parameters", "tokens")
    seconds = report.mean(row.model, "seconds", "training")
    return [
        _name(report, row),
        str(len(row.seeds)),
        *figures,
        figure(count(tokens), tokens, row.model, "parameters tokens"),
        figure(duration(seconds), seconds, row.model, "seconds training"),
    ]


def _name(report: Report, row: Row) -> Markup:
    swatch = tag("span", class_=f"swatch c{report.colour(row.model) % 8}", aria_hidden="true")
    mark = tag("small", " reference") if row.model == report.board.reference else None
    return join([swatch, row.model, mark])


def _cell(report: Report, row: Row, column: Column) -> Markup | str:
    spread = row.spreads.get(column)
    if spread is None:
        return "–"
    shown = figure(decimal(spread.mean), spread.mean, row.model, f"test {column[0]} {column[1]}")
    best = report.board.bold(column) == row.model
    found, interval = row.comparisons.get(column), report.intervals[row.model][column]
    sign = ("▲" if found.difference.estimate > 0 else "▼") if found is not None and found.significant else ""
    deviation = None if spread.deviation is None else tag("small", f"± {decimal(spread.deviation)}")
    ends = f"[{decimal(interval.low)}, {decimal(interval.high)}]"
    return join(
        [tag("b", shown) if best else shown, f" {sign}" if sign else "", deviation, tag("small", ends)]
    )
