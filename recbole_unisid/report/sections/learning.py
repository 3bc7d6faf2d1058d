"""Learning curves: the validation metric and the training loss, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_unisid.report.charts.axis import integer_axis, linear_axis
from recbole_unisid.report.charts.xy_plot import Curve, curve_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.markup import Markup, tag
from recbole_unisid.report.sections.section import Section, legend, panel, panels, section

_NOTE = "One line a seed; the circle is the epoch that was kept. The loss is drawn as a share of its first epoch's."


def draw(report: Report) -> Section:
    """Draw the section."""
    metric = str(report.board.protocol.get("valid_metric"))
    drawn = [
        _panel(report, "valid", f"Validation {metric}", marked=True),
        _panel(report, "loss", "Training loss, relative", marked=False),
    ]
    known = [one for one in drawn if one is not None]
    if not known:
        return section("learning", "Learning curves", tag("p", "No run was trained for more than one epoch."))
    trained = [
        label for label in report.labels if any(len(_history(run.result)) > 1 for run in report.runs[label])
    ]
    names = legend((label, f"c{report.colour(label) % 8}") for label in trained)
    return section("learning", "Learning curves", names, panels(known), tag("p", _NOTE, class_="note"))


def _history(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in result.get("history") or [] if isinstance(entry, Mapping)]


def _panel(report: Report, key: str, title: str, marked: bool) -> Markup | None:
    curves, told = [], []
    for label, group in report.runs.items():
        for run in group:
            points = _points(run.result, key)
            best = run.result.get("best_epoch")
            kept = next((point for point in points if marked and best is not None and point[0] == best), None)
            if len(points) > 1:
                curves.append(Curve(report.colour(label), points, kept))
                told.append(f"{label} from {points[0][1]:.4g} to {points[-1][1]:.4g}")
    if not curves:
        return None
    x = integer_axis([a for curve in curves for a, _ in curve.points])
    y = linear_axis([b for curve in curves for _, b in curve.points])
    spoken = f"{title} by epoch: {'; '.join(told[:12])}"
    drawn = curve_plot(curves, x, y, lambda value: f"{value:g}", lambda value: f"{value:g}", spoken)
    return panel(f"{title}, by epoch (from 0)", drawn)


def _points(result: Mapping[str, Any], key: str) -> list[tuple[float, float]]:
    """Epochs, counted from 0 as in the file, and values; the loss divided by its first."""
    known = [(entry["epoch"], entry[key]) for entry in _history(result) if entry.get(key) is not None]
    if key == "loss" and known:
        first = known[0][1]
        return [(epoch, value / first) for epoch, value in known] if first else []
    return known
