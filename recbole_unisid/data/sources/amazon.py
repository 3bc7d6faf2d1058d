"""Amazon review data as the McAuley lab publishes it: the 2014, 2018 and 2023 families.

Sources
-------
2014: McAuley et al., "Image-based recommendations on styles and substitutes", SIGIR 2015.
2018: Ni et al., "Justifying recommendations using distantly-labeled reviews", EMNLP 2019.
2023: Hou et al., "Bridging language and items for retrieval and recommendation", arXiv 2403.03952.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import csv

from recbole_unisid.data.interactions import InteractionCollector
from recbole_unisid.data.sources.layout import Layout
from recbole_unisid.data.sources.lines import (
    Block,
    in_threads,
    lines_of,
    parse_json,
    parse_literal,
    read_blocks,
    read_columns,
    read_lines,
)
from recbole_unisid.data.sources.values import price_field, web_text_field
from recbole_unisid.errors import UserError

# Most items of a category have no interactions in its core: their lines are passed over unparsed. A literal
# must name the item first, since its texts may hold anything; in JSON a quote within a text is escaped.
_LITERAL_ASIN = re.compile(rb"\{'asin': '([^'\\]*)'")

_RATINGS_HEADER = b"user_id,parent_asin,rating,timestamp"


def read_reviews(path: Path, collector: InteractionCollector, counts: Counter[str], progress: bool) -> None:
    """Read reviews of the 2014 and 2018 families: one JSON object a line, times in seconds."""
    text, number = pa.string(), pa.float64()
    keys = {"reviewerID": text, "asin": text, "unixReviewTime": number, "overall": number}
    for _, part in read_columns(path, pa.schema(keys), counts, progress=progress):
        if isinstance(part, pa.Table):
            collector.add_columns(*(part[key] for key in keys))
        else:
            for record in part:
                collector.add(*(record.get(key) for key in keys))


def read_ratings(path: Path, collector: InteractionCollector, counts: Counter[str], progress: bool) -> None:
    """Read the 2023 family's cores: comma-separated user, parent item, rating, time in milliseconds."""
    for block, table in in_threads(_regular_ratings, read_blocks(path, counts, progress=progress)):
        if block.first == 1 and block.text.partition(b"\n")[0].strip() != _RATINGS_HEADER:
            break
        if table is not None:
            # Correctly rounded: times 1000 and rounded, the milliseconds come back.
            times = pc.divide(table["time"], 1000.0)
            collector.add_columns(table["user"], table["item"], times, table["rating"])
            continue
        for number, line in lines_of(block, counts):
            if number > 1:
                _add_rating(line, collector, counts)
    else:
        if counts["lines"]:
            return
    raise UserError(
        f"{path} does not begin with {_RATINGS_HEADER.decode()!r}: it is not a 2023 rating-only file."
    )


def _regular_ratings(block: Block) -> tuple[Block, pa.Table | None]:
    """A block of ratings, and its columns where every line is as it should be."""
    text, number = pa.string(), pa.float64()
    types = {"user": text, "item": text, "rating": number, "time": pa.int64()}
    named = int(block.first == 1)  # by the first line
    try:
        table = csv.read_csv(
            pa.py_buffer(block.text),
            csv.ReadOptions(
                use_threads=False, block_size=len(block.text) + 1, column_names=list(types), skip_rows=named
            ),
            csv.ParseOptions(quote_char=False),
            csv.ConvertOptions(column_types=types),
        )
    except pa.ArrowInvalid:
        return block, None
    exact = len(table) == block.lines - named and not any(column.null_count for column in table.itercolumns())
    largest = pc.max(pc.abs(table["time"])).as_py() or 0
    return block, table if exact and largest < 2**53 else None


def _add_rating(line: bytes, collector: InteractionCollector, counts: Counter[str]) -> None:
    cells = line.strip().split(b",")
    if len(cells) != 4:
        counts["wrong number of cells"] += 1
        return
    try:
        user, item = cells[0].decode("utf-8"), cells[1].decode("utf-8")
        rating, milliseconds = float(cells[2]), int(cells[3])
    except UnicodeDecodeError:
        counts["not UTF-8"] += 1
    except ValueError:
        counts["time is no number"] += 1
    else:
        collector.add(user, item, milliseconds / 1000 if abs(milliseconds) < 2**53 else None, rating)


def _item_reader(
    parse: Callable[[bytes, Counter[str]], dict[str, Any] | None],
    asin: re.Pattern[bytes],
    key: str,
    fields_of: Callable[[dict[str, Any]], tuple[str, ...]],
) -> Callable[[Path, Container[str], Counter[str], bool], Iterator[tuple[str, tuple[str, ...]]]]:
    """Make the item reader of one family."""

    def read_items(
        path: Path, wanted: Container[str], counts: Counter[str], progress: bool
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        for line in read_lines(path, counts, progress=progress):
            named = asin.match(line) if asin is _LITERAL_ASIN else asin.search(line)
            if named and named[1].decode("utf-8", "replace") not in wanted:
                counts["without interactions"] += 1
                continue
            record = parse(line, counts)
            if record is None:
                continue
            item = record.get(key)
            if isinstance(item, str) and item in wanted:
                yield item, fields_of(record)
            else:
                counts["without interactions" if isinstance(item, str) else "no item"] += 1

    return read_items


def _fields_2014(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        web_text_field(record.get("title")),
        web_text_field(record.get("brand")),
        web_text_field(record.get("categories"), ", "),
        price_field(record.get("price")),
        web_text_field(record.get("description")),
    )


def _fields_2018(record: dict[str, Any]) -> tuple[str, ...]:
    title = web_text_field(record.get("title"))
    return (
        # Pages that the crawl failed to strip; the publishers advise to leave such titles out.
        "" if "getTime" in title else title,
        web_text_field(record.get("brand")),
        web_text_field(record.get("category"), ", "),
        price_field(record.get("price")),
        web_text_field(record.get("description")),
        web_text_field(record.get("feature")),
    )


def _fields_2023(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        web_text_field(record.get("title")),
        web_text_field(record.get("store")),
        web_text_field(record.get("categories"), ", "),
        price_field(record.get("price")),
        web_text_field(record.get("description")),
        web_text_field(record.get("features")),
    )


_FIELDS = ("title:token_seq", "brand:token", "categories:token_seq", "price:float", "description:token_seq")

AMAZON_2014 = Layout(_FIELDS, read_reviews, _item_reader(parse_literal, _LITERAL_ASIN, "asin", _fields_2014))
AMAZON_2018 = Layout(
    (*_FIELDS, "features:token_seq"),
    read_reviews,
    _item_reader(parse_json, re.compile(rb'"asin": ?"([^"\\]*)"'), "asin", _fields_2018),
)
AMAZON_2023 = Layout(
    (*_FIELDS, "features:token_seq"),
    read_ratings,
    _item_reader(parse_json, re.compile(rb'"parent_asin": ?"([^"\\]*)"'), "parent_asin", _fields_2023),
)
