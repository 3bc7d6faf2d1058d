"""Where models win: popular and rare targets, short and long histories."""

from __future__ import annotations

import numpy as np

from recbole_unisid.evaluation.slices import FEWEST_CASES
from recbole_unisid.report.charts.axis import Axis, linear_axis
from recbole_unisid.report.charts.row_plot import Mark, row_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.markup import Markup, join, tag
from recbole_unisid.report.sections.section import Section, panel, panels, section
from recbole_unisid.report.wording import count, decimal, figure

_METRIC = "ndcg@10"
_TITLES = {
    "head": "Popular targets (head)",
    "mid": "Middling targets (mid)",
    "tail": "Rare targets (tail)",
    "cold0": "Targets never seen in training",
    "cold1_5": "Targets seen 1 to 5 times",
    "short": "Short histories",
    "long": "Long histories",
}
_NOTE = (
    "NDCG@10 over all items but those seen, by the test case's target or history. Means over seeds; intervals "
    f"are 95 % over users, their ends averaged over seeds. Slices of fewer than {FEWEST_CASES} cases are grey: "
    "no ground for claims. Scales differ from slice to slice."
)


def draw(report: Report) -> Section:
    """Draw the section."""
    first = next(iter(report.runs.values()))[0].find("test", "slices") or {}
    drawn = [_slice(report, name, figures) for name, figures in first.items()]
    if not drawn:
        return section("slices", "Slices", tag("p", "These runs have no slices."))
    return section("slices", "Slices", panels(drawn), tag("p", _NOTE, class_="note"))


def _slice(report: Report, name: str, figures: dict[str, object]) -> Markup:
    cases = int(str(figures["n"]))
    title = join(
        [
            _TITLES.get(name, name),
            tag("small", f" n = {count(cases)}"),
            tag("small", str(figures["rule"]), class_="rule"),
        ]
    )
    if cases == 0:
        return panel(title, tag("p", "No test case falls into this slice.", class_="note"))
    marks = [_mark(report, label, name, cases < FEWEST_CASES) for label in report.labels]
    return panel(title, row_plot(marks, _axis(marks), lambda value: f"{value:g}"))


def _mark(report: Report, label: str, name: str, faint: bool) -> Mark:
    mean = report.mean(label, "test", "slices", name, _METRIC)
    ends = [run.find("test", "slices", name, "interval", _METRIC) for run in report.runs[label]]
    interval = None
    if all(isinstance(one, list) for one in ends):
        low, high = np.mean(ends, axis=0).tolist()
        interval = (low, high)
    text = figure(decimal(mean), mean, label, f"test slices {name} {_METRIC}")
    words = "" if interval is None else f", interval {decimal(interval[0])} to {decimal(interval[1])}"
    return Mark(label, report.colour(label), mean, text, f"{label}: {decimal(mean)}{words}", interval, faint)


def _axis(marks: list[Mark]) -> Axis:
    values = [mark.value for mark in marks if mark.value is not None]
    return linear_axis(
        [*values, *(end for mark in marks if mark.interval for end in mark.interval)], zero=True
    )
