"""The tokens: are they healthy, what do they mean, which items do they confuse; and a way to explore them."""

from __future__ import annotations

import base64
import gzip
import json

from recbole_unisid.report.charts import SHADES, Mark, heat_map, row_plot
from recbole_unisid.report.gather import ItemNames, Report
from recbole_unisid.report.markup import (
    Markup,
    Section,
    clean_text,
    foreign,
    join,
    legend,
    note,
    panel,
    panels,
    section,
    table,
    tag,
)
from recbole_unisid.report.token_groups import TokenView
from recbole_unisid.report.wording import count, share

_HEALTH = (
    "Distinct: code tuples per item. Alone: items whose tuple nothing else has. Perplexity: the number of codes "
    "that would be as evenly spread; close to the level's size is healthy. Means over seeds."
)
_PURITY = (
    "Share of items whose category is the most frequent one under their prefix. Small groups are pure whatever "
    "they mean, so only the distance to shuffled codes (grey) tells something."
)
_NO_PURITY = (
    "It takes tokens, and items with at least two categories, to say what codes have to do with them."
)
#: Items of a collision that are listed.
_LISTED = 6
#: From so many items on titles are cut earlier in the explorer, so that the page stays small.
_LARGE = 30_000
_LONGEST_TITLE, _LONGEST_TITLE_LARGE = 300, 90


def health(report: Report) -> Section:
    """Codes in use, tuples that tell items apart, and how codes are spread."""
    labels = [label for label in report.labels if report.runs[label][0].result.get("tokenizer")]
    if not labels:
        return section("health", "Token health", tag("p", "No model here has tokens."))
    levels = ("Codes used by level", "Perplexity by level")
    head = ["Model", "Tokenizer", "Distinct", "Alone", "Largest collision", *levels]
    grid = table(head, [_cells(report, label) for label in labels], "Health of the tokens", wide=True)
    shades = legend([("unused", "h0"), ("one item", "h1"), ("most items", f"h{SHADES}")])
    maps = [_maps(view) for view in report.tokens]
    return section("health", "Token health", grid, note(_HEALTH), *maps, shades if maps else None)


def _cells(report: Report, label: str) -> list[Markup | str]:
    found = report.runs[label][0].result["tokenizer"]
    used, perplexity = [], []
    for at, level in enumerate(found.get("levels") or []):
        way = ("tokenizer", "levels", at)
        of = f" of {count(level['size'])} {level['distance']}"
        used.append(tag("div", report.figure(label, count, *way, "used"), of))
        perplexity.append(tag("div", report.figure(label, "{:.1f}".format, *way, "perplexity"), ""))
    return [
        label,
        str(found.get("name")),
        report.figure(label, share, "tokenizer", "distinct_fraction"),
        report.figure(label, share, "tokenizer", "alone_fraction"),
        report.figure(label, count, "tokenizer", "largest_collision"),
        join(used),
        join(perplexity),
    ]


def _maps(view: TokenView) -> Markup:
    drawn = []
    for level in range(view.codes.shape[1]):
        usage = view.usage(level)
        used, most = int((usage > 0).sum()), int(usage.max(initial=0))
        told = f"{used} of {len(usage)} codes in use; the fullest has {most} items"
        drawn.append(panel(f"Level {level + 1}", heat_map(usage, f"Level {level + 1}: {told}"), note(told)))
    return join([tag("h3", f"{view.name}: items per code"), tag("div", *drawn, class_="heats")])


def purity(report: Report) -> Section:
    """What codes mean: how well the first of them tell an item's category."""
    title = "Codes and categories"
    drawn = [_purity_panel(report, view) for view in report.tokens]
    if not any(drawn):
        return section("purity", title, tag("p", _NO_PURITY))
    return section("purity", title, panels(drawn), note(_PURITY))


def _purity_panel(report: Report, view: TokenView) -> Markup | None:
    marks, colour = [], report.colour(view.labels[0])
    for part in view.purity(report.items.categories):
        name = f"first {int(part['levels'])} codes" if part["levels"] > 1 else "first code"
        told, chance = share(part["purity"]), share(part["shuffled"])
        marks.append(Mark(name, colour, part["purity"], told, f"{name}: {told}"))
        marks.append(Mark(f"{name}, shuffled", None, part["shuffled"], chance, f"{name}, shuffled: {chance}"))
    percent = row_plot(marks, lambda value: f"{100 * value:.0f} %", bars=True)
    return panel(view.name, percent) if marks else None


def collisions(report: Report) -> Section:
    """Which items the tokens cannot tell apart, by title."""
    if not report.tokens:
        return section("collisions", "Largest collisions", tag("p", "No model here has tokens."))
    drawn = [_confused(report, view) for view in report.tokens]
    told = note("Items of one tuple score the same for a model without an ID token.")
    return section("collisions", "Largest collisions", *drawn, told)


def _confused(report: Report, view: TokenView) -> Markup:
    groups = view.largest_collisions()
    title = tag("h3", view.name)
    if not groups:
        return tag("div", title, tag("p", "Every item has a tuple of its own."))
    shared = sum(size * tuples for size, tuples in view.collision_sizes().items() if size > 1)
    told = f"{count(shared)} of {count(len(view.item_ids))} items share their tuple with another."
    return tag("div", title, tag("p", told), panels(_group(report, view, group) for group in groups))


def _group(report: Report, view: TokenView, group: list[str]) -> Markup:
    codes = view.codes[view.item_ids.index(group[0])].tolist()
    chips = [tag("span", code, class_="chip") for code in codes]
    shown = [(foreign(report.items.titles.get(item) or item), foreign(item, 40)) for item in group[:_LISTED]]
    items = [tag("li", title, tag("small", name)) for title, name in shown]
    rest = len(group) - _LISTED
    more = tag("li", f"and {count(rest)} more", class_="note") if rest > 0 else None
    return panel(tag("span", *chips, f" {count(len(group))} items"), tag("ul", *items, more, class_="titles"))


def explorer(report: Report) -> Section:
    """Search items, see their code siblings, walk the tree of codes; the script of the page fills it."""
    if not report.tokens:
        return section("explorer", "Token explorer", tag("p", "No model here has tokens to explore."))
    view = report.tokens[0]
    told = (
        f"The codes of {view.name}, seed {view.seed}. Type a word of a title, choose an item, and see which items "
        "share its codes; or walk down the tree, code by code."
    )
    wanted = "a word, an item or codes"
    search = tag(
        "div",
        tag("label", "Search items", for_="token-search"),
        tag("input", id="token-search", type="search", autocomplete="off", placeholder=wanted),
        tag("p", "", id="token-status", role="status", class_="note"),
        tag("ul", id="token-results", class_="results"),
    )
    shown = tag("div", id="token-item", class_="chosen", aria_live="polite")
    tree = tag("div", tag("h3", "Tree of codes"), tag("div", id="token-tree"), class_="tree")
    off = tag("noscript", tag("p", "The explorer needs JavaScript; everything else on this page does not."))
    body = tag("div", tag("div", search, shown), tree, class_="explorer")
    packed = base64.b64encode(gzip.compress(payload(view, report.items), 9, mtime=0)).decode("ascii")
    data = Markup(f'<script type="application/json" id="token-data">{json.dumps({"gzip": packed})}</script>')
    return section("explorer", "Token explorer", tag("p", told), off, body, data)


def payload(view: TokenView, items: ItemNames) -> bytes:
    """Items, codes and categories of the explorer as compact JSON, column by column, in UTF-8.

    ``codes`` is flat, `levels` an item; ``category`` counts in ``categories``, 0 is none; '' is no title. In the page
    it is base64 of gzip: 100,000 items take 3 MB instead of 10, and titles cannot meet the HTML parser at all.
    Browsers since 2023 unpack it without a library (DecompressionStream).
    """
    longest = _LONGEST_TITLE if len(view.item_ids) < _LARGE else _LONGEST_TITLE_LARGE
    own = [items.categories.get(item, "") for item in view.item_ids]
    categories = ["", *sorted(set(own) - {""})]
    number = {category: at for at, category in enumerate(categories)}
    value = {
        "levels": view.codes.shape[1],
        "ids": [clean_text(item, 100) for item in view.item_ids],
        "titles": [clean_text(items.titles.get(item, ""), longest) for item in view.item_ids],
        "codes": view.codes.ravel().tolist(),
        "categories": [clean_text(category, 60) for category in categories],
        "category": [number[category] for category in own],
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
