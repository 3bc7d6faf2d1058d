"""What was tested: how long the histories are, and how popular the targets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.report.charts.axis import linear_axis
from recbole_unisid.report.charts.row_plot import Mark, row_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.markup import Markup, tag
from recbole_unisid.report.sections.section import Section, panel, panels, section

#: First value of each bar; the last one is open.
_LENGTHS = (0, 3, 6, 11, 21, 51, 101)
_COUNTS = (0, 1, 6, 21, 51, 101, 501)
_NOTE = "Shares of the test cases. recbole-unisid inspect tells more about the data: ties, duplicates, text, leaks."


def draw(report: Report) -> Section:
    """Draw the section."""
    table = report.runs[report.labels[0]][0].run.ranks
    cases = f"{len(table.user):,} test cases"
    return section(
        "cases",
        "Test cases",
        panels(
            [
                panel(
                    "Items in the history", _bars(table.history_length, _LENGTHS, f"{cases}, history length")
                ),
                panel("Training interactions of the target", _bars(table.target_popularity, _COUNTS, cases)),
            ]
        ),
        tag("p", _NOTE, class_="note"),
    )


def _bars(values: NDArray[np.int64], firsts: tuple[int, ...], spoken: str) -> Markup:
    """Shares of the values by range."""
    counts = np.bincount(np.searchsorted(firsts, values, side="right") - 1, minlength=len(firsts))
    marks = []
    for place, count in enumerate(counts.tolist()):
        name = _range(firsts, place)
        share = count / len(values)
        told = f"{spoken}, {name}: {share:.1%}"
        marks.append(Mark(name, None, share, f"{share:.1%}", told))
    axis = linear_axis([float(mark.value or 0) for mark in marks], zero=True)
    return row_plot(marks, axis, lambda value: f"{value:.0%}", bars=True)


def _range(firsts: tuple[int, ...], place: int) -> str:
    low = firsts[place]
    if place + 1 == len(firsts):
        return f"{low} or more"
    high = firsts[place + 1] - 1
    return str(low) if low == high else f"{low} to {high}"
