"""What was measured, how, and the command that does it again."""

from __future__ import annotations

import json
from typing import Any

from recbole_unisid.report.candidate_sets import CANDIDATES
from recbole_unisid.report.gather import Report
from recbole_unisid.report.markup import Markup, clean_text, table, tag
from recbole_unisid.report.sections.section import Section, section
from recbole_unisid.report.wording import count

_SPLITS = {
    "leave_one_out": "leave one out: each user's last item is the test, the one before it the validation",
    "global_time": "global time: what comes after one moment is the test",
    "cold_items": "cold items: the test items have no training interaction",
}


def draw(report: Report) -> Section:
    """Draw the section."""
    facts = [(name, text) for name, text in _facts(report) if text]
    pairs = [tag("div", tag("dt", name), tag("dd", text)) for name, text in facts]
    command = tag("code", report.command, id="command")
    button = tag("button", "Copy", type="button", data_copy="command", class_="copy")
    box = tag("div", tag("pre", command, tabindex="0", aria_label="the command"), button, class_="command")
    told = tag("p", "Every setting of a run stands in its folder, in config.yaml.", class_="note")
    return section(
        "protocol", "Protocol and command", tag("dl", *pairs, class_="facts"), box, told, _settings(report)
    )


def _facts(report: Report) -> list[tuple[str, str]]:
    board = report.board
    protocol, data = board.protocol, board.data
    sizes = f"{count(data['users'])} users, {count(data['items'])} items, {count(data['interactions'])} interactions"
    sets = list(dict.fromkeys(candidates for candidates, _ in board.columns))
    seeds = sorted({seed for row in board.rows for seed in row.seeds})
    split = str(protocol.get("split"))
    return [
        ("Data", f"{board.dataset}: {sizes}"),
        ("Split", str(protocol.get("description") or _SPLITS.get(split, split))),
        ("Order and ties", f"by {protocol.get('order')}; equal times: {protocol.get('ties')}"),
        ("Model chosen by", f"validation {protocol.get('valid_metric')}"),
        ("Candidates", "; ".join(f"{name}: {CANDIDATES[name]}" for name in sets)),
        ("Rank", "1 + the other candidates that score as high or higher: ties count against the model"),
        ("Intervals", "95 %, bootstrap over users; differences paired, p corrected by Holm"),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Machine", _distinct(report, "machine", _machine)),
        ("Versions", _distinct(report, "versions", _versions)),
    ]


def _distinct(report: Report, key: str, words: Any) -> str:
    """What the runs say of `key`, each answer once."""
    found = [one.find(key) for group in report.runs.values() for one in group]
    return "; ".join(dict.fromkeys(words(value) for value in found if isinstance(value, dict)))


def _machine(value: dict[str, Any]) -> str:
    known = [value.get("cpu"), value.get("cores") and f"{value['cores']} cores", value.get("gpu")]
    return ", ".join(str(part) for part in known if part)


def _versions(value: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in value.items())


def _settings(report: Report) -> Markup | None:
    """In what the models' settings differ, folded away."""
    rows = [
        [key, *(clean_text(value if isinstance(value, str) else json.dumps(value), 60) for value in values)]
        for key, values in report.differing()
    ]
    if not rows:
        return None
    grid = table(["Setting", *report.labels], rows, "Settings in which the models differ")
    return tag("details", tag("summary", "Settings in which the models differ"), grid)
