"""How good the models are: every figure, differences, slices of the test cases, and controls."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.evaluation.notes import further_metrics
from recbole_unisid.evaluation.slices import FEWEST_CASES
from recbole_unisid.report import markup
from recbole_unisid.report.charts import Mark, row_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.leaderboard import HEADLINE, SLICES, TIE_ORDERS, Column, Row
from recbole_unisid.report.markup import Markup, Section, join, note, panel, panels, section, tag
from recbole_unisid.report.wording import (
    LISTS,
    LISTS_TOLD,
    change,
    column_name,
    command,
    count,
    decimal,
    duration,
    signed,
)

LEGEND = (
    "Means over seeds; ± is the standard deviation over seeds, brackets hold the 95 % interval over users. "
    "▲ ▼ significantly above, below the reference; the best is bold where it is ▲."
)
_DIFFERENCES = (
    "Differences of means over seeds, user by user, with the 95 % interval of a paired bootstrap over users. "
    "Filled dots are significant: p below .05 after Holm's correction over the models, and the interval excludes 0."
)
_NO_DIFFERENCES = (
    "There is nothing to compare: it takes an ID-only model, or a named reference, and another model."
)
_SLICES = (
    "By the test case's target or history. Means over seeds; intervals "
    f"are 95 % over users, their ends averaged over seeds. Slices of fewer than {FEWEST_CASES} cases are grey: "
    "no ground for claims. Scales differ from slice to slice."
)
_SLICE_TITLES = {
    "head": "Popular targets (head)",
    "mid": "Middling targets (mid)",
    "tail": "Rare targets (tail)",
    "cold0": "Targets never seen in training",
    "cold1_5": "Targets seen 1 to 5 times",
    "short": "Short histories",
    "long": "Long histories",
    "same_time": "Targets at the time of the item before",
    "later": "Targets later than the item before",
    "repeated": "Targets that the user had before",
    "new": "Targets that the user had not had",
}
#: First value of each bar; the last one is open.
_LENGTHS = (0, 3, 6, 11, 21, 51, 101)
_COUNTS = (0, 1, 6, 21, 51, 101, 501)
_CONTROLS = (
    "Next and previous by ID recommend the neighbours of the last item in the order of the files. Where they "
    "differ by much, the order of equal times leaks; they mean something only where IDs come from the source."
)
_RULES = {
    "popularity": "most popular first",
    "next_id": "next by ID",
    "previous_id": "previous by ID",
    "repeat_last": "the last item again",
    "nearest_text": "nearest text to the last item",
    "transitions": "training transitions",
    "transition_text": "transitions and text",
}


def leaderboard(report: Report) -> Section:
    """Every figure with its spread over seeds and its interval over users."""
    board = report.board
    head = ["Model", "Seeds", *map(column_name, board.columns), "Token parameters", "Training"]
    rows = [
        [
            *cells(report, row),
            report.figure(row.model, count, "parameters", "tokens"),
            report.figure(row.model, duration, "seconds", "training"),
        ]
        for row in board.rows
    ]
    grid = markup.table(head, rows, f"Leaderboard of {board.dataset}", wide=True)
    reference = "" if board.reference is None else f" Reference: {board.reference}."
    return section(
        "leaderboard", "Leaderboard", grid, note(LEGEND + reference), *_lists(report), _further(report)
    )


def _lists(report: Report) -> list[Markup]:
    """What the first ten of each list are like, of the models that have lists."""
    labels = [row.model for row in report.board.rows if row.lists]
    if not labels:
        return []
    rows = [
        [label, *(report.figure(label, decimal, "test", "lists", key) for key in LISTS)] for label in labels
    ]
    return [markup.table(["Model", *LISTS.values()], rows, "The first ten of each list"), note(LISTS_TOLD)]


def _further(report: Report) -> Markup | None:
    """RecBole's metrics that are none of ranks, where a run has some."""
    runs = [run.result for group in report.runs.values() for run in group]
    keys = dict.fromkeys(key for result in runs for key in further_metrics(result))
    if not keys:
        return None
    rows = [
        [label, *(report.figure(label, decimal, "test", "recbole", key) for key in keys)]
        for label in report.labels
    ]
    return markup.table(["Model", *keys], rows, "RecBole's further metrics")


def cells(report: Report, row: Row) -> list[Markup | str]:
    """A model's name, seeds and figures, as a line of a table begins."""
    mark = tag("small", " reference") if row.model == report.board.reference else None
    return [
        join([markup.swatch(report.colour_class(row.model)), row.model, mark]),
        str(len(row.seeds)),
        *(_cell(report, row, column) for column in report.board.columns),
    ]


def _cell(report: Report, row: Row, column: Column) -> Markup | str:
    spread = row.spreads.get(column)
    if spread is None:
        return "–"
    shown, sign = report.metric(row, column), row.sign(column)
    shown = tag("b", shown) if report.board.bold(column) == row.model else shown
    deviation = None if spread.deviation is None else tag("small", f"± {decimal(spread.deviation)}")
    interval = report.intervals[row.model][column]
    ends = tag("small", f"[{decimal(interval.low)}, {decimal(interval.high)}]")
    return join([shown, f" {sign}" if sign else None, deviation, ends])


def differences(report: Report) -> Section:
    """Forest plots: how far each model is from the reference, metric by metric."""
    title, reference = "Differences to the reference", report.board.reference
    if reference is None or len(report.board.rows) < 2:
        return section("differences", title, tag("p", _NO_DIFFERENCES))
    drawn = [_forest(report, column) for column in report.board.columns]
    return section("differences", f"{title}, {reference}", panels(drawn), note(_DIFFERENCES))


def _forest(report: Report, column: Column) -> Markup | None:
    marks = []
    for row in report.board.rows:
        one = row.comparisons.get(column)
        if one is None:
            continue
        model, found, faint = row.model, one.difference, not one.significant
        interval = f"{signed(found.low)} to {signed(found.high)}"
        verdict = "not significant" if faint else "significant"
        spoken = f"{model} against {one.reference}: {signed(found.estimate)} ({interval}), {verdict}"
        text = join([signed(found.estimate), tag("small", change(one.relative, 0))])
        ends = (found.low, found.high)
        marks.append(Mark(model, report.colour(model), found.estimate, text, spoken, ends, faint))
    plot = row_plot(marks, lambda value: f"{value:+g}" if value else "0")
    return panel(column_name(column), plot) if marks else None


def slices(report: Report) -> Section:
    """Where models win: by the target's popularity, the history's length, and whether time tells their order."""
    parts = []
    for kind, column in ((kind, column) for kind, columns in SLICES.items() for column in columns):
        sliced = [group[0].find("test", kind) or {} for group in report.runs.values()]
        first: dict[str, Any] = next(filter(None, sliced), {})
        drawn = [_slice(report, kind, column[1], name, figures) for name, figures in first.items()]
        if drawn:
            parts += [tag("h3", column_name(column)), panels(drawn)]
    parts += _tie_orders(report)
    if not parts:
        return section("slices", "Slices", tag("p", "These runs have no slices."))
    return section("slices", "Slices", *parts, note(_SLICES))


def _tie_orders(report: Report) -> list[Markup]:
    """How far the figures depend on which item of a target's time the file has last."""
    rows = [row for row in report.board.rows if row.tie_orders]
    if not rows:
        return []
    marks = []
    for row in rows:
        worst, value, mean, best = (row.tie_orders[name] for name in TIE_ORDERS)
        way = ("test", "tie_orders", *HEADLINE, "file")
        text = join([report.figure(row.model, decimal, *way), tag("small", f"any: {decimal(mean)}")])
        told = f"{row.model}: {decimal(value)}; {decimal(worst)} to {decimal(best)}, any item last {decimal(mean)}"
        marks.append(Mark(row.model, report.colour(row.model), value, text, told, (worst, best)))
    title = "The order of ties: with the least and the most favourable item of the target's time last"
    tied = f"{rows[0].tie_orders['cases']:,.0f} targets share their time with items before them."
    return [tag("h3", title), panel(column_name(HEADLINE), row_plot(marks)), note(tied)]


def _slice(report: Report, kind: str, metric: str, name: str, figures: dict[str, object]) -> Markup:
    cases = int(str(figures["n"]))
    about = [tag("small", f" n = {count(cases)}"), tag("small", str(figures["rule"]), class_="rule")]
    title = join([_SLICE_TITLES.get(name, name), *about])
    if cases == 0:
        return panel(title, note("No test case falls into this slice."))
    marks = [
        _slice_mark(report, label, kind, metric, name, cases < FEWEST_CASES)
        for label in report.labels
        if report.runs[label][0].find("test", kind)
    ]
    return panel(title, row_plot(marks))


def _slice_mark(report: Report, label: str, kind: str, metric: str, name: str, faint: bool) -> Mark:
    way = ("test", kind, name)
    mean = report.mean(label, *way, metric)
    ends = [run.find(*way, "interval", metric) for run in report.runs[label]]
    interval, words = None, ""
    if all(isinstance(one, list) for one in ends):
        low, high = np.mean(ends, axis=0).tolist()
        interval, words = (low, high), f", interval {decimal(low)} to {decimal(high)}"
    text, spoken = report.figure(label, decimal, *way, metric), f"{label}: {decimal(mean)}{words}"
    return Mark(label, report.colour(label), mean, text, spoken, interval, faint)


def cases(report: Report) -> Section:
    """What was tested: how long the histories are, and how popular the targets."""
    ranks = report.runs[report.labels[0]][0].ranks
    told, inspect = f"{len(ranks.user):,} test cases", command("inspect", report.board.dataset)
    lengths = _shares(ranks.history_length, _LENGTHS, f"{told}, history length")
    counts = _shares(ranks.target_popularity, _COUNTS, told)
    drawn = [panel("Items in the history", lengths), panel("Training interactions of the target", counts)]
    more = f"Shares of the test cases. {inspect} tells more about the data: ties, duplicates, text, leaks."
    return section("cases", "Test cases", panels(drawn), note(more))


def _shares(values: NDArray[np.int64], firsts: tuple[int, ...], spoken: str) -> Markup:
    """Shares of the values by range."""
    counts = np.bincount(np.searchsorted(firsts, values, side="right") - 1, minlength=len(firsts))
    marks = []
    for low, following, share in zip(firsts, (*firsts[1:], None), counts / len(values), strict=True):
        name = f"{low} to {(following or 0) - 1}" if following != low + 1 else str(low)
        name = f"{low} or more" if following is None else name
        marks.append(Mark(name, None, float(share), f"{share:.1%}", f"{spoken}, {name}: {share:.1%}"))
    return row_plot(marks, "{:.0%}".format, bars=True)


def controls(report: Report) -> Section:
    """Rules without any model beside the models: what has to be beaten, and what would betray a leak."""
    drawn = [_beside_rules(report, candidates) for candidates in ("full", "full_unfiltered")]
    if not any(drawn):
        return section("controls", "Controls", tag("p", "These runs have no controls."))
    return section("controls", "Controls", panels(drawn), note(_CONTROLS))


def _beside_rules(report: Report, candidates: str) -> Markup | None:
    column = (candidates, "recall@10")
    # A model that reads no text has no control by text.
    found = {name for group in report.runs.values() for name in group[0].find("controls") or {}}
    names = [*(name for name in _RULES if name in found), *sorted(found - set(_RULES))]
    rules = [mark for name in names if (mark := _rule(report, name, column)) is not None]
    marks = []
    for row in report.board.rows:
        if column in row.spreads:
            mean, text = row.spreads[column].mean, report.metric(row, column)
            spoken = f"{row.model}: {decimal(mean)}"
            marks.append(Mark(row.model, report.colour(row.model), mean, text, spoken))
    return panel(column_name(column), row_plot([*marks, *rules], bars=True)) if rules else None


def _rule(report: Report, name: str, column: Column) -> Mark | None:
    """One control's line, from the first model whose runs have it; it is the same for all."""
    words = _RULES.get(name, name)
    for label in report.labels:
        value = report.mean(label, "controls", name, *column)
        if value is not None:
            text = report.figure(label, decimal, "controls", name, *column)
            return Mark(words, None, value, text, f"control, {words}: {decimal(value)}")
    return None
