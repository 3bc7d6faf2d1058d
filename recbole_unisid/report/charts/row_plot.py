"""Plots of one line a model: a label, a mark with its interval or a bar, and the number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recbole_unisid.report.charts.axis import Axis
from recbole_unisid.report.markup import Child, Markup, tag

_HEIGHT = 26
_MIDDLE = _HEIGHT // 2


@dataclass(frozen=True)
class Mark:
    """One line of a plot.

    Attributes
    ----------
    label : str
        Whose line it is.
    colour : int or None
        Number of the colour; None is neutral.
    value : float or None
        None leaves the line empty.
    text : Child
        The value in words, beside the plot.
    spoken : str
        The line in words, for those who do not see it.
    interval : (float, float) or None
        Its ends.
    faint : bool
        Too few cases to claim anything.
    parts : sequence of float
        Lengths of a bar's parts, instead of a dot.
    """

    label: str
    colour: int | None
    value: float | None
    text: Child
    spoken: str
    interval: tuple[float, float] | None = None
    faint: bool = False
    parts: Sequence[float] = ()


def row_plot(marks: Sequence[Mark], axis: Axis, tick: Callable[[float], str], bars: bool = False) -> Markup:
    """Draw lines over one axis.

    Parameters
    ----------
    marks : sequence of Mark
        From top to bottom.
    axis : Axis
        Common to all; a line is drawn at 0 where 0 lies inside.
    tick : callable
        Writes the ticks.
    bars : bool
        Bars from the left end instead of dots.
    """
    lines = [_line(mark, axis, bars) for mark in marks]
    kept = axis.ticks.index(0) if 0 in axis.ticks else 0  # where there is little room, every other tick goes
    ticks = [
        tag(
            "text",
            tick(value),
            x=f"{axis.percent(value)}%",
            y=12,
            class_="tick between" if (number - kept) % 2 else "tick",
        )
        for number, value in enumerate(axis.ticks)
    ]
    scale = tag("svg", *ticks, class_="track axis", height=18, aria_hidden="true")
    return tag("div", *lines, tag("div", scale, class_="row scale"), class_="rows")


def _line(mark: Mark, axis: Axis, bars: bool) -> Markup:
    shapes: list[Markup] = [_grid(value, axis) for value in axis.ticks]
    if mark.value is not None:
        shapes += _bar(mark, axis) if bars else _dot(mark, axis)
    colour = "neutral" if mark.colour is None else f"c{mark.colour % 8}"
    drawn = tag("svg", *shapes, class_=f"track {colour}", height=_HEIGHT, role="img", aria_label=mark.spoken)
    return tag(
        "div",
        tag("span", mark.label, class_="label"),
        drawn,
        tag("span", mark.text, class_="value"),
        class_="row faint" if mark.faint else "row",
    )


def _grid(value: float, axis: Axis) -> Markup:
    x = f"{axis.percent(value)}%"
    zero = value == 0 and axis.low < 0
    return tag("line", x1=x, x2=x, y1=0, y2=_HEIGHT, class_="zero" if zero else "grid")


def _dot(mark: Mark, axis: Axis) -> list[Markup]:
    assert mark.value is not None
    shapes = []
    if mark.interval is not None:
        low, high = (f"{axis.percent(end)}%" for end in mark.interval)
        shapes.append(tag("line", x1=low, x2=high, y1=_MIDDLE, y2=_MIDDLE, class_="interval"))
        shapes += [tag("line", x1=x, x2=x, y1=_MIDDLE - 4, y2=_MIDDLE + 4, class_="cap") for x in (low, high)]
    return [*shapes, tag("circle", cx=f"{axis.percent(mark.value)}%", cy=_MIDDLE, r=5, class_="dot")]


def _bar(mark: Mark, axis: Axis) -> list[Markup]:
    assert mark.value is not None
    shapes, start = [], 0.0
    for number, part in enumerate(mark.parts or [mark.value]):
        x, end = axis.percent(start), axis.percent(start + part)
        width = f"{round(end - x, 2)}%"
        kind = f"bar p{number}" if mark.parts else "bar"
        shapes.append(tag("rect", x=f"{x}%", width=width, y=5, height=_HEIGHT - 10, class_=kind))
        start += part
    return shapes
