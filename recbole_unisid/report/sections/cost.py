"""What a run costs: seconds by stage, and memory."""

from __future__ import annotations

from recbole_unisid.report.charts.axis import linear_axis
from recbole_unisid.report.charts.row_plot import Mark, row_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.markup import Markup, table, tag
from recbole_unisid.report.sections.section import Section, legend, panel, panels, section
from recbole_unisid.report.wording import count, duration, figure, memory

_STAGES = {
    "text_encoding": "text encoding",
    "tokenizer": "tokenizer",
    "training": "training",
    "evaluation": "evaluation",
}
_NOTE = "Means over seeds. Text vectors and tokens are kept between runs: what came from there took no time."


def draw(report: Report) -> Section:
    """Draw the section."""
    names = legend((name, f"p{number}") for number, name in enumerate(_STAGES.values()))
    head = ["Model", *_STAGES.values(), "an epoch", "epochs", "best epoch (from 0)", "peak memory"]
    rows = [[label, *_cells(report, label)] for label in report.labels]
    grid = table(head, rows, "Seconds, epochs and memory", wide=True)
    folded = tag("details", tag("summary", "Figures"), grid)
    drawn = panels(
        [panel("Time of a run", names, _seconds(report)), panel("Peak memory of a run", _memory(report))]
    )
    return section("cost", "Seconds and memory", drawn, folded, tag("p", _NOTE, class_="note"))


def _seconds(report: Report) -> Markup:
    marks = []
    for label in report.labels:
        parts = [report.mean(label, "seconds", stage) or 0.0 for stage in _STAGES]
        words = ", ".join(
            f"{name} {duration(part)}" for name, part in zip(_STAGES.values(), parts, strict=True)
        )
        total = sum(parts)
        marks.append(Mark(label, None, total, duration(total), f"{label}: {words}", parts=parts))
    axis = linear_axis([mark.value or 0.0 for mark in marks], zero=True)
    return row_plot(marks, axis, duration, bars=True)


def _memory(report: Report) -> Markup:
    marks = []
    for label in report.labels:
        peak = report.mean(label, "peak_rss_bytes")
        text = figure(memory(peak), peak, label, "peak_rss_bytes")
        mebibytes = None if peak is None else peak / 2**20
        marks.append(Mark(label, report.colour(label), mebibytes, text, f"{label}: {memory(peak)}"))
    axis = linear_axis([mark.value or 0.0 for mark in marks], zero=True)
    return row_plot(marks, axis, lambda value: f"{value:,.0f}", bars=True)


def _cells(report: Report, label: str) -> list[Markup]:
    timed = [*_STAGES, "per_epoch"]
    seconds = [(report.mean(label, "seconds", stage), f"seconds {stage}") for stage in timed]
    epochs, best = report.mean(label, "epochs"), report.mean(label, "best_epoch")
    peak = report.mean(label, "peak_rss_bytes")
    return [
        *(figure(duration(value), value, label, key) for value, key in seconds),
        figure(
            count(epochs) if epochs is None or epochs.is_integer() else f"{epochs:.1f}",
            epochs,
            label,
            "epochs",
        ),
        figure(
            count(best) if best is None or best.is_integer() else f"{best:.1f}", best, label, "best_epoch"
        ),
        figure(memory(peak), peak, label, "peak_rss_bytes"),
    ]
