"""Parameters against quality: what the figures are bought with."""

from __future__ import annotations

from recbole_unisid.report.charts.axis import linear_axis, log_axis
from recbole_unisid.report.charts.xy_plot import Point, point_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.leaderboard import HEADLINE
from recbole_unisid.report.markup import Markup, table, tag
from recbole_unisid.report.sections.section import Section, panel, panels, section
from recbole_unisid.report.wording import count, decimal, figure, short_count

_KINDS = {
    "tokens": "Tokens: what represents the items",
    "training": "Training: what gets a gradient",
    "checkpoint": "Checkpoint: what is stored",
    "serving": "Serving: what scoring needs",
}
#: More labels than these would cover each other.
_MOST_LABELS = 12
#: RecBole's rules (Pop) have a parameter for form's sake, which would stretch the axis.
_FEWEST = 100
_NOTE = (
    "NDCG@10 over all items but those seen, upwards, against the number of parameters; "
    f"models with fewer than {_FEWEST} are left out."
)


def draw(report: Report) -> Section:
    """Draw the section."""
    drawn = [_panel(report, kind, title) for kind, title in _KINDS.items()]
    rows = [[label, *(_cell(report, label, kind) for kind in _KINDS)] for label in report.labels]
    grid = table(["Model", *_KINDS], rows, "Parameters by model")
    folded = tag("details", tag("summary", "Figures"), grid)
    return section(
        "size",
        "Parameters and quality",
        panels(one for one in drawn if one is not None),
        folded,
        tag(
            "p",
            _NOTE,
            class_="note",
        ),
    )


def _panel(report: Report, kind: str, title: str) -> Markup | None:
    points = []
    for row in report.board.rows:
        size = report.mean(row.model, "parameters", kind)
        if size is not None and size >= _FEWEST:
            points.append(Point(row.model, report.colour(row.model), size, row.spreads[HEADLINE].mean))
    if not points:
        return None
    x, y = log_axis([point.x for point in points]), linear_axis([point.y for point in points])
    told = "; ".join(f"{point.label} {count(point.x)}, NDCG@10 {decimal(point.y)}" for point in points)
    labelled = len(points) <= _MOST_LABELS
    return panel(title, point_plot(points, x, y, short_count, lambda value: f"{value:g}", told, labelled))


def _cell(report: Report, label: str, kind: str) -> Markup:
    value = report.mean(label, "parameters", kind)
    return figure(count(value), value, label, f"parameters {kind}")
