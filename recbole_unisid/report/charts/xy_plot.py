"""Plots over two axes: curves and labelled points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recbole_unisid.report.charts.axis import Axis
from recbole_unisid.report.markup import Markup, tag

_HEIGHT = 220
#: Pixels across a plot on a usual screen: labels are kept apart for that width.
_USUAL_WIDTH = 340.0
#: Left, right, top and bottom of something drawn, in pixels.
_Box = tuple[float, float, float, float]


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
        grid.append(tag("line", x1=place, x2=place, y1=_HEIGHT, y2=_HEIGHT + 4, class_="grid"))
        grid.append(
            tag(
                "text",
                x_tick(value),
                x=place,
                y=_HEIGHT + 18,
                class_="tick between" if number % 2 else "tick",
            )
        )
    drawn = tag("svg", *grid, *shapes, class_="xy", height=_HEIGHT + 24, role="img", aria_label=spoken)
    return tag("div", drawn, class_="frame")


def _pixel(axis: Axis, value: float) -> float:
    return round(_HEIGHT * (1 - axis.percent(value) / 100), 1)


def _circle(colour: int, a: float, b: float, x: Axis, y: Axis, kind: str) -> Markup:
    return tag("circle", cx=f"{x.percent(a)}%", cy=_pixel(y, b), r=5, class_=f"{kind} c{colour % 8}")


def _labels(points: Sequence[Point], x: Axis, y: Axis) -> list[Markup]:
    """One label a point, where it covers neither another label nor another point."""
    places = [(x.percent(point.x) / 100 * _USUAL_WIDTH, _pixel(y, point.y)) for point in points]
    taken = [(across - 6, across + 6, down - 6, down + 6) for across, down in places]
    labels = []
    for number in sorted(range(len(points)), key=lambda number: places[number][1]):
        point, others = points[number], [*taken[:number], *taken[number + 1 :]]
        left, shift, box = _free_place(*places[number], 7.0 * len(point.label), others)
        taken.append(box)
        labels.append(
            tag(
                "text",
                point.label,
                x=f"{x.percent(point.x)}%",
                dx=-9 if left else 9,
                y=round(places[number][1] + shift + 4, 1),
                class_=f"name {'last' if left else 'first'} c{point.colour % 8}",
            )
        )
    return labels


def _free_place(across: float, down: float, width: float, taken: Sequence[_Box]) -> tuple[bool, float, _Box]:
    """Side, shift downwards and box of a label: the nearest free place beside its point."""
    choices = [(left, shift) for shift in (0, -13, 13, -26, 26, -39, 39) for left in (False, True)]
    boxes = []
    for left, shift in choices:
        start = across - 9 - width if left else across + 9
        boxes.append((start, start + width, down + shift - 7, down + shift + 7))
    for (left, shift), box in zip(choices, boxes, strict=True):
        inside = box[0] > -20 and box[1] < _USUAL_WIDTH + 20
        if inside and not any(
            box[0] < b and a < box[1] and box[2] < d and c < box[3] for a, b, c, d in taken
        ):
            return left, shift, box
    return choices[0][0], choices[0][1], boxes[0]
