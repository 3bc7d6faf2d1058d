"""The token explorer: search items, see their code siblings, walk the tree of codes."""

from __future__ import annotations

import base64
import gzip
import json

from recbole_unisid.report.gather import Report
from recbole_unisid.report.item_names import ItemNames
from recbole_unisid.report.markup import Markup, clean_text, tag
from recbole_unisid.report.sections.section import Section, section
from recbole_unisid.report.token_groups import TokenView

#: From so many items on titles are cut earlier, so that the page stays small.
_LARGE = 30_000
_LONGEST_TITLE, _LONGEST_TITLE_LARGE = 300, 90


def draw(report: Report) -> Section:
    """Draw the section; the script of the page fills it."""
    if not report.tokens:
        return section("explorer", "Token explorer", tag("p", "No model here has tokens to explore."))
    view = report.tokens[0]
    told = (
        f"The codes of {view.name}, seed {view.seed}. Type a word of a title, choose an item, and see which items "
        "share its codes; or walk down the tree, code by code."
    )
    search = tag(
        "div",
        tag("label", "Search items", for_="token-search"),
        tag(
            "input",
            id="token-search",
            type="search",
            autocomplete="off",
            placeholder="a word, an item or codes",
        ),
        tag("p", "", id="token-status", role="status", class_="note"),
        tag("ul", id="token-results", class_="results"),
    )
    shown = tag("div", id="token-item", class_="chosen", aria_live="polite")
    tree = tag("div", tag("h3", "Tree of codes"), tag("div", id="token-tree"), class_="tree")
    off = tag("noscript", tag("p", "The explorer needs JavaScript; everything else on this page does not."))
    body = tag("div", tag("div", search, shown), tree, class_="explorer")
    return section("explorer", "Token explorer", tag("p", told), off, body, _data(view, report.items))


def _data(view: TokenView, items: ItemNames) -> Markup:
    packed = base64.b64encode(gzip.compress(payload(view, items), 9, mtime=0)).decode("ascii")
    return Markup(f'<script type="application/json" id="token-data">{json.dumps({"gzip": packed})}</script>')


def payload(view: TokenView, items: ItemNames) -> bytes:
    """Items, codes and categories of the explorer as compact JSON, column by column.

    Parameters
    ----------
    view : TokenView
        Whose codes.
    items : ItemNames
        Titles and categories.

    Returns
    -------
    bytes
        UTF-8. ``codes`` is flat, `levels` an item; ``category`` counts in ``categories``, 0 is none; a title
        equal to the item's name is ''.

    Notes
    -----
    Base64 of gzip, not plain JSON: 100,000 items take 3 MB instead of 10, and titles cannot meet the
    HTML parser at all. Browsers since 2023 unpack it without a library (DecompressionStream).
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
