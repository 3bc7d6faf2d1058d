"""Are the tokens healthy: codes in use, tuples that tell items apart, and how codes are spread."""

from __future__ import annotations

from recbole_unisid.report.charts.heat_map import SHADES, heat_map
from recbole_unisid.report.gather import Report
from recbole_unisid.report.markup import Markup, join, table, tag
from recbole_unisid.report.sections.section import Section, legend, panel, section
from recbole_unisid.report.token_groups import TokenView
from recbole_unisid.report.wording import count, figure, share

_NOTE = (
    "Distinct: code tuples per item. Alone: items whose tuple nothing else has. Perplexity: the number of codes "
    "that would be as evenly spread; close to the level's size is healthy. Means over seeds."
)


def draw(report: Report) -> Section:
    """Draw the section."""
    labels = [label for label in report.labels if report.runs[label][0].result.get("tokenizer")]
    if not labels:
        return section("health", "Token health", tag("p", "No model here has tokens."))
    head = [
        "Model",
        "Tokenizer",
        "Distinct",
        "Alone",
        "Largest collision",
        "Codes used by level",
        "Perplexity by level",
    ]
    grid = table(head, [_cells(report, label) for label in labels], "Health of the tokens", wide=True)
    maps = [_maps(view) for view in report.tokens]
    shades = legend([("unused", "h0"), ("one item", "h1"), ("most items", f"h{SHADES}")]) if maps else None
    return section("health", "Token health", grid, tag("p", _NOTE, class_="note"), *maps, shades)


def _cells(report: Report, label: str) -> list[Markup | str]:
    health = report.runs[label][0].result["tokenizer"]
    levels = range(len(health.get("levels") or []))
    distinct, alone = (report.mean(label, "tokenizer", f"{name}_fraction") for name in ("distinct", "alone"))
    largest = report.mean(label, "tokenizer", "largest_collision")
    used = [_level(report, label, level, "used") for level in levels]
    perplexity = [_level(report, label, level, "perplexity") for level in levels]
    return [
        label,
        str(health.get("name")),
        figure(share(distinct), distinct, label, "tokenizer distinct_fraction"),
        figure(share(alone), alone, label, "tokenizer alone_fraction"),
        figure(count(largest), largest, label, "tokenizer largest_collision"),
        join(used),
        join(perplexity),
    ]


def _level(report: Report, label: str, level: int, name: str) -> Markup:
    """One level's figure, mean over seeds."""
    levels = [run.result["tokenizer"]["levels"][level] for run in report.runs[label]]
    mean = sum(float(one[name]) for one in levels) / len(levels)
    text = count(mean) if name == "used" else f"{mean:.1f}"
    of = f" of {count(levels[0]['size'])} {levels[0]['distance']}" if name == "used" else ""
    return tag("div", figure(text, mean, label, f"tokenizer levels {level} {name}"), of)


def _maps(view: TokenView) -> Markup:
    drawn = []
    for level in range(view.codes.shape[1]):
        usage = view.usage(level)
        used, most = int((usage > 0).sum()), int(usage.max(initial=0))
        spoken = f"Level {level + 1}: {used} of {len(usage)} codes in use; the fullest has {most} items"
        drawn.append(panel(f"Level {level + 1}", heat_map(usage, spoken), note=spoken.partition(": ")[2]))
    title = tag("h3", f"{view.name}: items per code")
    return join([title, tag("div", *drawn, class_="heats")])
