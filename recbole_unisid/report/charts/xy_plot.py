"""Plots over two axes: curves and labelled points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recbole_unisid.report.charts.axis import Axis
from recbole_unisid.report.markup import Markup, tag

_HEIGHT = 220
#: Pixels between the lines of two labels, and the share of the width that a label may take.
_LABEL_HEIGHT, _LABEL_WIDTH = 15.0, 40.0


@dataclass(frozen=True)
class Curve:
    """One line: points by x, and a mark at one of them.

    Attributes
    ----------
    colour : int
        Number of its colour.
    points : sequence of (float, float)
        In the order of x.
    marked : (float, float) or None
        Where a circle is drawn.
    """

    colour: int
    points: Sequence[tuple[float, float]]
    marked: tuple[float, float] | None = None


@dataclass(frozen=True)
class Point:
    """One labelled point."""

    label: str
    colour: int
    x: float
    y: float


def curve_plot(
    curves: Sequence[Curve],
    x: Axis,
    y: Axis,
    x_tick: Callable[[float], str],
    y_tick: Callable[[float], str],
    spoken: str,
) -> Markup:
    """Draw curves; `spoken` says what they show to those who do not see them."""
    lines = [
        tag(
            "polyline",
            points=" ".join(f"{x.percent(a):g},{100 - y.percent(b):g}" for a, b in curve.points),
            class_=f"curve c{curve.colour % 8} d{curve.colour // 8 % 3}",
        )
        for curve in curves
    ]
    inner = tag(
        "svg", *lines, viewbox="0 0 100 100", preserveaspectRatio="none", width="100%", height=_HEIGHT
    )
    dots = [_circle(curve.colour, *curve.marked, x, y, "marked") for curve in curves if curve.marked]
    return _frame(x, y, x_tick, y_tick, [inner, *dots], spoken)


def point_plot(
    points: Sequence[Point],
    x: Axis,
    y: Axis,
    x_tick: Callable[[float], str],
    y_tick: Callable[[float], str],
    spoken: str,
    labelled: bool = True,
) -> Markup:
    """Draw points with their labels beside them, moved apart where they would overlap."""
    shapes = [_circle(point.colour, point.x, point.y, x, y, "point") for point in points]
    if labelled:
        shapes += _labels(points, x, y)
    return _frame(x, y, x_tick, y_tick, shapes, spoken)


def _frame(
    x: Axis,
    y: Axis,
    x_tick: Callable[[float], str],
    y_tick: Callable[[float], str],
    shapes: Sequence[Markup],
    spoken: str,
) -> Markup:
    grid = []
    for value in y.ticks:
        at = _pixel(y, value)
        grid.append(tag("line", x1=0, x2="100%", y1=at, y2=at, class_="grid"))
        grid.append(tag("text", y_tick(value), x=-8, y=at + 4, class_="tick last"))
    for number, value in enumerate(x.ticks):
        place = f"{x.percent(value)}%"
        parity = "between" if number % 2 else "even"
        grid.append(tag("line", x1=place, x2=place, y1=_HEIGHT, y2=_HEIGHT + 4, class_="grid"))
        grid.append(tag("text", x_tick(value), x=place, y=_HEIGHT + 18, class_=f"tick {parity}"))
    drawn = tag("svg", *grid, *shapes, class_="xy", height=_HEIGHT + 24, role="img", aria_label=spoken)
    return tag("div", drawn, class_="frame")


def _pixel(axis: Axis, value: float) -> float:
    return round(_HEIGHT * (1 - axis.percent(value) / 100), 1)


def _circle(colour: int, a: float, b: float, x: Axis, y: Axis, kind: str) -> Markup:
    return tag("circle", cx=f"{x.percent(a)}%", cy=_pixel(y, b), r=5, class_=f"{kind} c{colour % 8}")


def _labels(points: Sequence[Point], x: Axis, y: Axis) -> list[Markup]:
    """One label a point, to its right or, beyond the middle, to its left; lower ones give way."""
    placed: list[tuple[float, float]] = []
    labels = []
    for point in sorted(points, key=lambda point: -point.y):
        across, down = x.percent(point.x), _pixel(y, point.y)
        while any(abs(down - b) < _LABEL_HEIGHT and abs(across - a) < _LABEL_WIDTH for a, b in placed):
            down += 2
        placed.append((across, down))
        left = across > 55
        labels.append(
            tag(
                "text",
                point.label,
                x=f"{across}%",
                dx=-9 if left else 9,
                y=round(down + 4, 1),
                class_=f"name {'last' if left else 'first'} c{point.colour % 8}",
            )
        )
    return labels
