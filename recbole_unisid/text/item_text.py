"""What of an item's columns becomes the text that is encoded."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Mapping, Sequence

from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.text.item_file import ItemTable

#: UniSID's order (title; price; brand; categories), each with the names that common datasets use for it.
DEFAULT_FIELDS: tuple[tuple[str, ...], ...] = (
    ("title", "movie_title", "name", "item_name", "product_name"),
    ("price",),
    ("brand", "artist", "author", "store"),
    ("categories", "category", "genres", "genre", "class"),
    ("release_year", "year"),
)
CATEGORY_FIELDS = DEFAULT_FIELDS[3]
#: What no item is shown as: price and year.
_NUMBERS = (*DEFAULT_FIELDS[1], *DEFAULT_FIELDS[4])

#: A first category that this share of the categorised items has in common tells nothing: the root.
ROOT_SHARE = 0.9


def default_fields(table: ItemTable) -> list[str]:
    """The columns that make an item's text when none are named.

    Title, price, brand, categories, release year, whichever of them the table has, in capitals or not. Where it has no
    title all its other text columns (``token_seq``) come first, a description among them; beside a title they stay out,
    since they are long and the encoders read a few hundred tokens. A table with none of all these gives its tokens,
    failing these a ``UserError``.
    """
    fields = _fields_found(table)
    if not fields:
        raise UserError("The item file has no text column; name the columns to use with text_fields.")
    return fields


def _fields_found(table: ItemTable) -> list[str]:
    by_fold = {name.casefold(): name for name in reversed(table.columns)}
    present = [[by_fold[name] for name in names if name in by_fold][:1] for names in DEFAULT_FIELDS]
    fields = [name for group in present for name in group]
    if not present[0]:
        texts = [name for name in table.columns if table.types[name] == "token_seq"]
        fields = [name for name in texts if name not in fields] + fields
    return fields or [name for name in table.columns if table.types[name] == "token"]


def _is_category(name: str) -> bool:
    return name.casefold() in CATEGORY_FIELDS


def item_texts(
    table: ItemTable,
    item_ids: Sequence[str],
    fields: Sequence[str] | None = None,
    template: str | None = None,
    roots: Mapping[str, str] | None = None,
) -> list[str]:
    """The text of each item; '' for one that the table lacks or whose fields are all empty.

    It is the `fields` (:func:`default_fields`), joined by ``"; "``, empty ones left out; or the `template`, a text with
    ``{column}`` in it, such as ``"{title} by {brand}"``, which may name only the `fields` where both are given.
    Categories are written ``a; b; c`` without the root that nearly all items share (method: the text of an item is
    title; price; brand; category; category; ...): this table's, or that in `roots` (:func:`category_roots`).

    Raises UserError: when a field or a name in the template is no column, or the template is malformed.
    """
    pieces = _template_pieces(template) if template is not None else []
    names = text_columns(table, fields, template)
    for name in [*names, *(fields or ())]:
        if name not in table.columns:
            known = list(table.columns)
            raise UserError(
                f"The item file has no column {name!r}; it has {', '.join(known)}.{did_you_mean(name, known)}"
            )
    if template is not None and fields is not None and not set(names) <= set(fields):
        extra = sorted(set(names) - set(fields))[0]
        raise UserError(f"The text template names {extra!r}, which text_fields leaves out; add it there.")
    columns = {name: [cell.strip() for cell in table.columns[name]] for name in names}
    for name in filter(_is_category, names):
        columns[name] = ["; ".join(path) for path in _paths(columns[name], (roots or {}).get(name))]
    texts = {}
    for row, item in enumerate(table.ids):
        cells = [columns[name][row] for name in names]
        if template is None or not any(cells):
            texts[item] = "; ".join(cell for cell in cells if cell)
        else:
            texts[item] = "".join(literal + (columns[name][row] if name else "") for literal, name in pieces)
    return [texts.get(item, "") for item in item_ids]


def text_columns(
    table: ItemTable, fields: Sequence[str] | None = None, template: str | None = None
) -> list[str]:
    """The columns that :func:`item_texts` reads with these settings, in its order."""
    pieces = _template_pieces(template) if template is not None else []
    return [name for _, name in pieces if name] or list(fields or default_fields(table))


def category_roots(table: ItemTable, names: Sequence[str]) -> dict[str, str]:
    """The root that nearly all items share in each of these columns that has categories; '' for none."""
    return {
        name: _shared_root([_split(cell) for cell in table.columns[name]])
        for name in names
        if _is_category(name)
    }


def item_titles(table: ItemTable, item_ids: Sequence[str]) -> list[str]:
    """A line to show for each item, from the first of :func:`default_fields` but numbers; '' where it has none."""
    shown = next((name for name in _fields_found(table) if name.casefold() not in _NUMBERS), None)
    return [""] * len(item_ids) if shown is None else item_texts(table, item_ids, [shown])


def item_categories(table: ItemTable, item_ids: Sequence[str]) -> list[str]:
    """The broadest category below the root of each item, '' where it has none; for judging tokens."""
    by_fold = {name.casefold(): name for name in reversed(table.columns)}
    field = next((by_fold[name] for name in CATEGORY_FIELDS if name in by_fold), None)
    if field is None:
        return [""] * len(item_ids)
    first = {
        item: path[0] if path else ""
        for item, path in zip(table.ids, _paths(table.columns[field]), strict=True)
    }
    return [first.get(item, "") for item in item_ids]


def _paths(column: list[str], root: str | None = None) -> list[list[str]]:
    """Comma-separated categories as lists, without a first one that nearly all items share."""
    paths = [_split(cell) for cell in column]
    root = _shared_root(paths) if root is None else root
    return [path[1:] if path and path[0] == root else path for path in paths]


def _split(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(",") if part.strip()]


def _shared_root(paths: list[list[str]]) -> str:
    """The first category of nearly all paths; '' where there is none or no path goes deeper."""
    firsts = Counter(path[0] for path in paths if path)
    if not firsts or not any(len(path) > 1 for path in paths):
        return ""
    root, count = firsts.most_common(1)[0]
    return root if count >= ROOT_SHARE * firsts.total() else ""


def _template_pieces(template: str) -> list[tuple[str, str]]:
    """The template as (text, column after it) pairs; the last column may be ''."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"The text template {template!r} is malformed ({error}); write {{column}}.") from None
    if not any(name for _, name, _, _ in parts) or any(
        name == "" or spec or how for _, name, spec, how in parts
    ):
        raise UserError(f"The text template {template!r} must name columns as {{column}}, and at least one.")
    return [(literal, name or "") for literal, name, _, _ in parts]
