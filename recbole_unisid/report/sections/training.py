"""What training looked like and cost: learning curves, time and memory, parameters against quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_unisid.report import charts
from recbole_unisid.report.charts import Curve, Mark, Point, linear_axis, row_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.leaderboard import HEADLINE, Run
from recbole_unisid.report.markup import Markup, Section, legend, note, panel, panels, section, table, tag
from recbole_unisid.report.wording import count, decimal, duration, memory, short_count

_CURVES = "One line a seed; the circle is the epoch that was kept. The loss is drawn as a share of its first epoch's."
_STAGES = ("text_encoding", "tokenizer", "training", "evaluation")
_STAGE_NAMES = tuple(stage.replace("_", " ") for stage in _STAGES)
_COST = "Means over seeds. Text vectors and tokens are kept between runs: what came from there took no time."
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
_SIZE = (
    "NDCG@10 over all items but those seen, upwards, against the number of parameters; "
    f"models with fewer than {_FEWEST} are left out."
)


def learning(report: Report) -> Section:
    """The validation metric and the training loss, epoch by epoch."""
    metric = str(report.board.protocol.get("valid_metric"))
    shown = {"valid": f"Validation {metric}", "loss": "Training loss, relative"}
    drawn = [_curves(report, key, title) for key, title in shown.items()]
    if not any(drawn):
        return section("learning", "Learning curves", tag("p", "No run was trained for more than one epoch."))
    trained = [label for label, group in report.runs.items() if any(len(_history(run)) > 1 for run in group)]
    names = legend((label, report.colour_class(label)) for label in trained)
    return section("learning", "Learning curves", names, panels(drawn), note(_CURVES))


def _history(run: Run) -> list[Mapping[str, Any]]:
    return [entry for entry in run.result.get("history") or [] if entry is not None]


def _curves(report: Report, key: str, title: str) -> Markup | None:
    curves, told = [], []
    for label, group in report.runs.items():
        for run in group:
            points, best = _points(run, key), run.result.get("best_epoch")
            kept = [point for point in points if key == "valid" and best is not None and point[0] == best + 1]
            if len(points) > 1:
                curves.append(Curve(report.colour(label), points, next(iter(kept), None)))
                told.append(f"{label} from {points[0][1]:.4g} to {points[-1][1]:.4g}")
    if not curves:
        return None
    x = charts.integer_axis([a for curve in curves for a, _ in curve.points])
    y = linear_axis([b for curve in curves for _, b in curve.points])
    spoken = f"{title} by epoch: {'; '.join(told[:12])}"
    return panel(f"{title}, by epoch", charts.curve_plot(curves, x, y, spoken))


def _points(run: Run, key: str) -> list[tuple[float, float]]:
    """Epochs, counted from 1 (in the file from 0), and values; the loss divided by its first."""
    known = [(entry["epoch"] + 1, entry[key]) for entry in _history(run) if entry.get(key) is not None]
    if key == "loss" and known:
        first = known[0][1]
        return [(epoch, value / first) for epoch, value in known] if first else []
    return known


def cost(report: Report) -> Section:
    """Seconds by stage, and memory."""
    names = legend((name, f"p{number}") for number, name in enumerate(_STAGE_NAMES))
    head = ["Model", *_STAGE_NAMES, "an epoch", "epochs", "best epoch", "peak memory"]
    rows = [[label, *_cells(report, label)] for label in report.labels]
    grid = table(head, rows, "Seconds, epochs and memory", wide=True)
    folded = tag("details", tag("summary", "Figures"), grid)
    time, peak = row_plot(_seconds(report), duration, bars=True), row_plot(_memory(report), count, bars=True)
    drawn = panels([panel("Time of a run", names, time), panel("Peak memory of a run", peak)])
    return section("cost", "Seconds and memory", drawn, folded, note(_COST))


def _seconds(report: Report) -> list[Mark]:
    marks = []
    for label in report.labels:
        parts = [report.mean(label, "seconds", stage) or 0.0 for stage in _STAGES]
        stages = zip(_STAGE_NAMES, parts, strict=True)
        spoken, total = ", ".join(f"{name} {duration(part)}" for name, part in stages), sum(parts)
        marks.append(Mark(label, None, total, duration(total), f"{label}: {spoken}", parts=parts))
    return marks


def _memory(report: Report) -> list[Mark]:
    marks = []
    for label in report.labels:
        peak = report.mean(label, "peak_rss_bytes")
        text = report.figure(label, memory, "peak_rss_bytes")
        mebibytes = None if peak is None else peak / 2**20
        marks.append(Mark(label, report.colour(label), mebibytes, text, f"{label}: {memory(peak)}"))
    return marks


def _cells(report: Report, label: str) -> list[Markup]:
    return [
        *(report.figure(label, duration, "seconds", stage) for stage in (*_STAGES, "per_epoch")),
        report.figure(label, _epochs, "epochs"),
        report.figure(label, lambda value: _epochs(None if value is None else value + 1), "best_epoch"),
        report.figure(label, memory, "peak_rss_bytes"),
    ]


def _epochs(value: float | None) -> str:
    return count(value) if value is None or value.is_integer() else f"{value:.1f}"


def size(report: Report) -> Section:
    """Parameters against quality: what the figures are bought with."""
    drawn = [_size_panel(report, kind, title) for kind, title in _KINDS.items()]
    rows = [
        [label, *(report.figure(label, count, "parameters", kind) for kind in _KINDS)]
        for label in report.labels
    ]
    grid = table(["Model", *_KINDS], rows, "Parameters by model")
    folded = tag("details", tag("summary", "Figures"), grid)
    return section("size", "Parameters and quality", panels(drawn), folded, note(_SIZE))


def _size_panel(report: Report, kind: str, title: str) -> Markup | None:
    points = []
    for row in report.board.rows:
        parameters = report.mean(row.model, "parameters", kind)
        if parameters is not None and parameters >= _FEWEST:
            points.append(Point(row.model, report.colour(row.model), parameters, row.spreads[HEADLINE].mean))
    if not points:
        return None
    x, y = charts.log_axis([point.x for point in points]), linear_axis([point.y for point in points])
    told = "; ".join(f"{point.label} {count(point.x)}, NDCG@10 {decimal(point.y)}" for point in points)
    labels = len(points) <= _MOST_LABELS
    return panel(title, charts.point_plot(points, x, y, short_count, told, labels))
