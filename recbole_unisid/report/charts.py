"""Drawings as inline SVG: text keeps its size on every screen, since only positions scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.report.markup import Child, Markup, tag

#: What is smaller cannot be told from 0, or from its neighbour, on any screen.
_NOTHING = 1e-9
#: Writes the value of a tick.
Tick = Callable[[float], str]
#: Ticks in as few digits as tell them apart.
PLAIN: Tick = "{:g}".format


class Axis(NamedTuple):
    """A range of values with round ticks; on a logarithmic one equal ratios are equally far apart."""

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def percent(self, value: float) -> float:
        """Where a value stands, 0 at `low` and 100 at `high`, kept inside."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 2)

    def at(self, value: float) -> str:
        """The same as SVG writes it."""
        return f"{self.percent(value)}%"


def linear_axis(values: Iterable[float], zero: bool = False, ticks: int = 4) -> Axis:
    """Span values, and 0 where asked, with about so many steps of 1, 2 or 5 times a power of ten.

    >>> linear_axis([0.03, 0.11], zero=True).ticks
    (0.0, 0.05, 0.1, 0.15)
    """
    found = [value if abs(value) > _NOTHING else 0.0 for value in values] + ([0.0] if zero else [])
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if high - low <= _NOTHING * max(abs(low), abs(high)):
        low, high = (low, low + 1.0) if low == 0 else (low - abs(low) / 2, low + abs(low) / 2)
    rough = (high - low) / ticks
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(times * size for times in (1, 2, 5, 10) if times * size >= rough * 0.9999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = tuple(round(step * number, 12) for number in range(first, last + 1))
    return Axis(marks[0], marks[-1], marks)


def integer_axis(values: Iterable[float]) -> Axis:
    """Span whole numbers exactly, with ticks at round ones.

    >>> integer_axis([0, 5]).ticks, integer_axis([0, 5]).high
    ((0.0, 2.0, 4.0), 5.0)
    """
    found = list(values)
    low, high = float(min(found)), float(max(found))
    ticks = tuple(tick for tick in linear_axis(found).ticks if low <= tick <= high and tick.is_integer())
    return Axis(low, max(high, low + 1), ticks)


def log_axis(values: Iterable[float]) -> Axis:
    """Span positive values with powers of ten, and with 2 and 5 times these where the span is short.

    >>> log_axis([300, 40_000]).ticks
    (100.0, 1000.0, 10000.0, 100000.0)
    """
    found = [value for value in values if value > 0] or [1.0, 10.0]
    low, high = math.log10(min(found)), math.log10(max(found))
    steps = (1,) if high - low > 1.5 else (1, 2, 5)
    powers = range(math.floor(low) - 1, math.ceil(high) + 2)
    marks = sorted(float(step * 10.0**power) for power in powers for step in steps)
    first = max(mark for mark in marks if mark <= min(found) * 1.0001)
    last = min(mark for mark in marks if mark >= max(found) * 0.9999 and mark > first)
    return Axis(first, last, tuple(mark for mark in marks if first <= mark <= last), logarithmic=True)


# --- one line a model: a label, a dot with its interval or a bar, and the number -----------------------

_ROW, _MIDDLE = 26, 13


class Mark(NamedTuple):
    """One line of a plot."""

    label: str
    colour: int | None  # its number; None is neutral
    value: float | None  # None leaves the line empty
    text: Child  # the value in words, beside the plot
    spoken: str  # the line in words, for those who do not see it
    interval: tuple[float, float] | None = None
    faint: bool = False  # too few cases to claim anything
    parts: Sequence[float] = ()  # lengths of a bar's parts


def row_plot(marks: Sequence[Mark], tick: Tick = PLAIN, bars: bool = False) -> Markup:
    """Draw lines over one axis that has 0, as dots or as bars from the left end."""
    ends = [end for mark in marks for end in mark.interval or ()]
    axis = linear_axis([*(mark.value for mark in marks if mark.value is not None), *ends], zero=True)
    kept = axis.ticks.index(0) if 0 in axis.ticks else 0  # where there is little room, every other tick goes
    scale = tag("svg", *_ticks(axis, tick, 12, kept), class_="track axis", height=18, aria_hidden="true")
    lines = [_line(mark, axis, bars) for mark in marks]
    return tag("div", *lines, tag("div", scale, class_="row scale"), class_="rows")


def _ticks(axis: Axis, write: Tick, y: int, kept: int = 0) -> list[Markup]:
    """Values below an axis; every other one, but the one numbered `kept`, goes where there is little room."""
    return [
        tag("text", write(value), x=axis.at(value), y=y, class_="tick between" if (n - kept) % 2 else "tick")
        for n, value in enumerate(axis.ticks)
    ]


def _line(mark: Mark, axis: Axis, bars: bool) -> Markup:
    shapes: list[Markup] = []
    for value in axis.ticks:
        x, zero = axis.at(value), value == 0 and axis.low < 0
        shapes.append(tag("line", x1=x, x2=x, y1=0, y2=_ROW, class_="zero" if zero else "grid"))
    if mark.value is not None:
        shapes += _bar(mark, mark.value, axis) if bars else _dot(mark, mark.value, axis)
    colour = "neutral" if mark.colour is None else f"c{mark.colour % 8}"
    drawn = tag("svg", *shapes, class_=f"track {colour}", height=_ROW, role="img", aria_label=mark.spoken)
    label, number = tag("span", mark.label, class_="label"), tag("span", mark.text, class_="value")
    return tag("div", label, drawn, number, class_="row faint" if mark.faint else "row")


def _dot(mark: Mark, value: float, axis: Axis) -> list[Markup]:
    shapes = []
    if mark.interval is not None:
        low, high = (axis.at(end) for end in mark.interval)
        shapes.append(tag("line", x1=low, x2=high, y1=_MIDDLE, y2=_MIDDLE, class_="interval"))
        shapes += [tag("line", x1=x, x2=x, y1=_MIDDLE - 4, y2=_MIDDLE + 4, class_="cap") for x in (low, high)]
    return [*shapes, tag("circle", cx=axis.at(value), cy=_MIDDLE, r=5, class_="dot")]


def _bar(mark: Mark, value: float, axis: Axis) -> list[Markup]:
    shapes, start = [], 0.0
    for number, part in enumerate(mark.parts or [value]):
        kind = f"bar p{number}" if mark.parts else "bar"
        width = f"{round(axis.percent(start + part) - axis.percent(start), 2)}%"
        shapes.append(tag("rect", x=axis.at(start), width=width, y=5, height=_ROW - 10, class_=kind))
        start += part
    return shapes


# --- two axes: curves and labelled points --------------------------------------------------------------

_HEIGHT = 220
#: Pixels across a plot on a usual screen: labels are kept apart for that width.
_USUAL_WIDTH = 340.0


class Curve(NamedTuple):
    """One line: points in the order of x, and where a circle is drawn."""

    colour: int
    points: Sequence[tuple[float, float]]
    marked: tuple[float, float] | None = None


class Point(NamedTuple):
    """One labelled point."""

    label: str
    colour: int
    x: float
    y: float


def curve_plot(curves: Sequence[Curve], x: Axis, y: Axis, spoken: str) -> Markup:
    """Draw curves; `spoken` says what they show to those who do not see them."""
    lines = [
        tag(
            "polyline",
            points=" ".join(f"{x.percent(a):g},{100 - y.percent(b):g}" for a, b in curve.points),
            class_=f"curve c{curve.colour % 8} d{curve.colour // 8 % 3}",
        )
        for curve in curves
    ]
    stretched = {"viewBox": "0 0 100 100", "preserveAspectRatio": "none", "width": "100%"}
    inner = tag("svg", *lines, **stretched, height=_HEIGHT)
    dots = [_circle(curve.colour, *curve.marked, x, y, "marked") for curve in curves if curve.marked]
    return _frame(x, y, PLAIN, [inner, *dots], spoken)


def point_plot(points: Sequence[Point], x: Axis, y: Axis, x_tick: Tick, spoken: str, labels: bool) -> Markup:
    """Draw points, with labels beside them if asked, moved apart where they would overlap."""
    shapes = [_circle(point.colour, point.x, point.y, x, y, "point") for point in points]
    return _frame(x, y, x_tick, [*shapes, *(_labels(points, x, y) if labels else ())], spoken)


def _frame(x: Axis, y: Axis, x_tick: Tick, shapes: Sequence[Markup], spoken: str) -> Markup:
    grid = []
    for value in y.ticks:
        at = _pixel(y, value)
        grid.append(tag("line", x1=0, x2="100%", y1=at, y2=at, class_="grid"))
        grid.append(tag("text", PLAIN(value), x=-8, y=at + 4, class_="tick last"))
    for value, number in zip(x.ticks, _ticks(x, x_tick, _HEIGHT + 18), strict=True):
        place = x.at(value)
        grid.append(tag("line", x1=place, x2=place, y1=_HEIGHT, y2=_HEIGHT + 4, class_="grid"))
        grid.append(number)
    drawn = tag("svg", *grid, *shapes, class_="xy", height=_HEIGHT + 24, role="img", aria_label=spoken)
    return tag("div", drawn, class_="frame")


def _pixel(axis: Axis, value: float) -> float:
    return round(_HEIGHT * (1 - axis.percent(value) / 100), 1)


def _circle(colour: int, a: float, b: float, x: Axis, y: Axis, kind: str) -> Markup:
    return tag("circle", cx=x.at(a), cy=_pixel(y, b), r=5, class_=f"{kind} c{colour % 8}")


#: Left, right, top and bottom of something drawn, in pixels.
_Box = tuple[float, float, float, float]


def _labels(points: Sequence[Point], x: Axis, y: Axis) -> list[Markup]:
    """One label a point, where it covers neither another label nor another point."""
    places = [(x.percent(point.x) / 100 * _USUAL_WIDTH, _pixel(y, point.y)) for point in points]
    taken = [(across - 6, across + 6, down - 6, down + 6) for across, down in places]
    labels = []
    for number in sorted(range(len(points)), key=lambda number: places[number][1]):
        point, others = points[number], [*taken[:number], *taken[number + 1 :]]
        left, shift, box = _free_place(*places[number], 7.0 * len(point.label), others)
        taken.append(box)
        kind = f"name {'last' if left else 'first'} c{point.colour % 8}"
        down = round(places[number][1] + shift + 4, 1)
        labels.append(tag("text", point.label, x=x.at(point.x), dx=-9 if left else 9, y=down, class_=kind))
    return labels


def _free_place(across: float, down: float, width: float, taken: Sequence[_Box]) -> tuple[bool, float, _Box]:
    """Side, shift downwards and box of a label: the nearest free place beside its point."""
    choices: list[tuple[bool, float, _Box]] = []
    for shift in (0, -13, 13, -26, 26, -39, 39):
        for left in (False, True):
            start = across - 9 - width if left else across + 9
            choices.append((left, shift, (start, start + width, down + shift - 7, down + shift + 7)))
    for choice in choices:
        low, high, top, bottom = choice[2]
        inside = low > -20 and high < _USUAL_WIDTH + 20
        if inside and not any(low < b and a < high and top < d and c < bottom for a, b, c, d in taken):
            return choice
    return choices[0]


#: Shades of the cells that are in use; a code without items is drawn apart.
SHADES = 6


def heat_map(usage: NDArray[np.int64], spoken: str) -> Markup:
    """Draw a square of one cell a code, in the order of the codes, darker (by the logarithm) the more items it has.

    Cells of one shade are one path, so that 4,096 codes cost a few kilobytes.
    """
    columns = max(1, int(np.ceil(np.sqrt(len(usage)))))
    rows = -(-len(usage) // columns)
    scaled = np.log(np.maximum(usage, 1)) / max(np.log(usage.max(initial=2)), 1e-12)
    shade = np.where(usage > 0, np.minimum(SHADES, 1 + (scaled * (SHADES - 1) + 0.5).astype(int)), 0)
    paths = []
    for one in range(SHADES + 1):
        cells = np.flatnonzero(shade == one).tolist()
        if cells:
            # Each cell is a square of .9 with a gap of .1 around it.
            way = "".join(f"M{cell % columns} {cell // columns}h.9v.9h-.9z" for cell in cells)
            paths.append(tag("path", d=way, class_=f"h{one}"))
    box = f"-.05 -.05 {columns} {rows}"
    return tag("svg", *paths, viewBox=box, class_="heat", role="img", aria_label=spoken)
