"""Who wins, by how much, and on what; what was measured, and the command that does it again."""

from __future__ import annotations

import json
from typing import Any

from recbole_unisid.report.charts import Mark, row_plot
from recbole_unisid.report.gather import Report
from recbole_unisid.report.leaderboard import HEADLINE
from recbole_unisid.report.markup import Markup, Section, clean_text, join, note, panel, section, table, tag
from recbole_unisid.report.wording import (
    CANDIDATES,
    change,
    column_name,
    count,
    decimal,
    listed,
    signed,
    split_told,
    tested,
)


def summary(report: Report) -> Section:
    """A sentence, a few numbers and one plot."""
    data, board = report.board.data, report.board
    runs = sum(len(group) for group in report.runs.values())
    tiles = [("users", data["users"]), ("items", data["items"]), ("interactions", data["interactions"])]
    tiles += [("models", len(board.rows)), ("runs", runs)]
    facts = [tag("li", tag("strong", count(value)), " ", name) for name, value in tiles]
    return section(
        "summary",
        "At a glance",
        tag("p", _headline(report), class_="headline"),
        tag("ul", *facts, class_="tiles"),
        *(tag("p", warning, class_="warning") for warning in board.notes),
        _headline_plot(report),
    )


def _headline(report: Report) -> Markup:
    """Say in words who leads, and whether that is more than chance."""
    board = report.board
    best, reference, value = board.rows[0], board.reference, report.metric(board.rows[0], HEADLINE)
    leads = [tag("strong", best.model), " has the highest NDCG@10 over the whole catalogue, ", value]
    if len(board.rows) == 1:
        return join([*leads, "."])
    if reference is None:
        return join([*leads, ". No model here is ID-only, so nothing is compared: name a reference."])
    if best.model == reference:
        others = [(one.model, one.comparisons.get(HEADLINE)) for one in board.rows]
        close = [model for model, found in others if found is not None and not found.significant]
        rest = "All others are significantly below."
        rest = f"Not significantly below it: {listed(close)}." if close else rest
        return join([*leads, f": no model beats this reference. {rest}"])
    found = best.comparisons[HEADLINE]
    relative = "" if found.relative is None else f"{change(found.relative, 1)} "
    interval = f"{signed(found.difference.low)} to {signed(found.difference.high)}"
    verdict = "significantly above" if found.significant else "not significantly above"
    rest = f" it (95 % interval of the difference {interval}; p {found.p_holm:.4f} by Holm)."
    return join([*leads, f": {relative}against {reference}, ", tag("strong", verdict), rest])


def _headline_plot(report: Report) -> Markup:
    marks = []
    for row in report.board.rows:
        mean, one = row.spreads[HEADLINE].mean, report.intervals[row.model][HEADLINE]
        spoken = f"{row.model}: NDCG@10 {decimal(mean)}, interval {decimal(one.low)} to {decimal(one.high)}"
        colour, text = report.colour(row.model), report.metric(row, HEADLINE)
        marks.append(Mark(row.model, colour, mean, text, spoken, (one.low, one.high)))
    return panel(f"{column_name(HEADLINE)}, with 95 % intervals over users", row_plot(marks))


def protocol(report: Report) -> Section:
    """What was measured, how, and the command that does it again."""
    pairs = [tag("div", tag("dt", name), tag("dd", text)) for name, text in _facts(report) if text]
    command = tag("code", report.command, id="command")
    button = tag("button", "Copy", type="button", data_copy="command", class_="copy")
    box = tag("div", tag("pre", command, tabindex="0", aria_label="the command"), button, class_="command")
    told = note("Every setting of a run stands in its folder, in config.yaml.")
    facts = tag("dl", *pairs, class_="facts")
    return section("protocol", "Protocol and command", facts, box, told, _settings(report))


def _facts(report: Report) -> list[tuple[str, str]]:
    board, rules = report.board, report.board.protocol
    packages = [one.items() for one in _distinct(report, "versions")]
    versions = [", ".join(f"{name} {version}" for name, version in one) for one in packages]
    return [
        ("Data", f"{board.dataset}: {board.sizes}"),
        ("Tested", tested(board.data)),
        ("Protocol", board.protocol_hash),
        ("Split", split_told(rules)),
        ("Filters", str(rules.get("filters") or "")),
        ("Order and ties", f"by {rules.get('order')}; equal times: {rules.get('ties')}"),
        ("Model chosen by", f"validation {rules['valid_metric']}" if rules.get("valid_metric") else ""),
        ("Candidates", "; ".join(f"{name}: {CANDIDATES[name]}" for name in board.candidates)),
        ("Rank", "1 + the other candidates that score as high or higher: ties count against the model"),
        ("Intervals", "95 %, bootstrap over users; differences paired, p corrected by Holm"),
        ("Seeds", ", ".join(map(str, board.seeds))),
        ("Machine", "; ".join(map(_machine, _distinct(report, "machine")))),
        ("Versions", "; ".join(versions)),
    ]


def _distinct(report: Report, key: str) -> list[dict[str, Any]]:
    """What the runs say of `key`, each answer once."""
    found = [one.find(key) for group in report.runs.values() for one in group]
    return [value for at, value in enumerate(found) if isinstance(value, dict) and value not in found[:at]]


def _machine(value: dict[str, Any]) -> str:
    known = [value.get("cpu"), value.get("cores") and f"{value['cores']} cores", value.get("gpu")]
    return ", ".join(str(part) for part in known if part)


def _settings(report: Report) -> Markup | None:
    """In what the models' settings differ, folded away."""
    rows = [
        [key, *(clean_text(value if isinstance(value, str) else json.dumps(value), 60) for value in values)]
        for key, values in report.differing()
    ]
    if not rows:
        return None
    title = "Settings in which the models differ"
    return tag("details", tag("summary", title), table(["Setting", *report.labels], rows, title))
