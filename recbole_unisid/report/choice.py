"""Which model to use, in words: what the data can tell apart, and what is cheapest among the best."""

from __future__ import annotations

import numpy as np

from recbole_unisid.evaluation.statistics import Comparison, compare_runs
from recbole_unisid.report.gather import Report
from recbole_unisid.report.leaderboard import HEADLINE
from recbole_unisid.report.markup import Markup, join, tag
from recbole_unisid.report.wording import count, duration, figure, listed, signed

#: Fewer seeds leave open what another seed would give.
_FEWEST_SEEDS = 3
#: Times of training that are level: the same run takes as much longer beside other work.
_AS_FAST = 1.1


def advice(report: Report) -> Markup:
    """Paragraphs about one data set under one protocol: the best, what is level with it, and what costs least."""
    rows = report.board.rows
    best = rows[0].model
    tables = {label: [run.ranks for run in group] for label, group in report.runs.items()}
    found = compare_runs(tables, best, *HEADLINE, across_orders=report.board.across_orders)
    level = [one for one in found if not one.significant]
    leads = [
        tag("strong", best),
        " has the highest NDCG@10 in full ranking, ",
        report.metric(rows[0], HEADLINE),
        ". ",
    ]
    parts = [tag("p", *leads, _told_apart(found, level))]
    parts.append(tag("p", *_cheapest(report, [best, *(one.model for one in level)])))
    trained = [row for row in rows if report.mean(row.model, "epochs") != 0]  # a rule's seeds are alike
    few = [row.model for row in trained if len(row.seeds) < _FEWEST_SEEDS]
    if few:
        parts.append(
            tag(
                "p",
                f"Of fewer than {_FEWEST_SEEDS} seeds: {listed(few)}. Another seed may change their place.",
            )
        )
    return join([*parts, _repeats(report)])


def training(report: Report, label: str) -> Markup:
    """What a model's training took, as a figure of the page."""
    seconds = report.training(label)
    return figure(duration(seconds), seconds, label, "training")


def _told_apart(found: list[Comparison], level: list[Comparison]) -> str:
    if not found:
        return "There is no other model to compare it with."
    if level:
        shown = listed([f"{one.model} {_interval(one)}" for one in level])
        rest = "" if len(level) == len(found) else " All others are significantly below."
        return f"The data cannot tell apart from it: {shown}.{rest}"
    nearest = max(found, key=lambda one: one.difference.estimate)
    return f"All others are significantly below; the nearest is {nearest.model} {_interval(nearest)}."


def _interval(one: Comparison) -> str:
    """The difference to the best, with its interval."""
    difference = one.difference
    return f"({signed(difference.estimate)}, 95 % interval {signed(difference.low)} to {signed(difference.high)})"


def _cheapest(report: Report, labels: list[str]) -> list[Markup | str]:
    """What trains fastest and what is smallest among the models that are not told apart, as far as runs tell."""
    costs = {label: seconds for label in labels if (seconds := report.training(label)) is not None}
    sizes = {
        label: size for label in labels if (size := report.mean(label, "parameters", "training")) is not None
    }
    if not costs:
        return ["What its training takes is not known."]
    fastest, best = min(costs, key=lambda label: costs[label]), labels[0]
    if costs.get(best, np.inf) <= _AS_FAST * costs[fastest]:
        fastest = best
    told: list[Markup | str] = [
        tag("strong", f"Use {fastest}"),
        ": of these it trains fastest, in " if len(labels) > 1 else ": it trains in ",
        training(report, fastest),
    ]
    if fastest != best and best in costs:
        told += [f" ({best}: ", training(report, best), ")"]
    if len(sizes) > 1 and (smallest := min(sizes, key=lambda label: sizes[label])) != fastest:
        told += [
            f"; {smallest} is smallest, ",
            report.figure(smallest, count, "parameters", "training"),
            " parameters",
        ]
    unknown = [label for label in labels if label not in costs]
    return [*told, f". Not known: what {listed(unknown)} took." if unknown else "."]


def _repeats(report: Report) -> Markup | None:
    """Who leads where items may be recommended again, if that is another model."""
    column = ("full_unfiltered", HEADLINE[1])
    known = [row for row in report.board.rows if column in row.spreads]
    if not known:
        return None
    best = max(known, key=lambda row: row.spreads[column].mean)
    if best.model == report.board.rows[0].model:
        return None
    words = "Where items of the history may be recommended again, "
    return tag(
        "p", words, tag("strong", best.model), " has the highest NDCG@10, ", report.metric(best, column), "."
    )
