"""The Yelp open dataset, from a person's own download: its terms forbid handing it on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path

import pyarrow as pa

from recbole_unisid.data.interactions import InteractionCollector
from recbole_unisid.data.sources.layout import Layout
from recbole_unisid.data.sources.lines import parse_json, read_columns, read_lines
from recbole_unisid.data.sources.values import seconds_of_date, text_field


def read_reviews(path: Path, collector: InteractionCollector, counts: Counter[str], progress: bool) -> None:
    """Read one review a line; its ``date`` (``2018-07-07 22:09:11``, taken as UTC) becomes seconds."""
    text = pa.string()
    keys = {"user_id": text, "business_id": text, "date": text, "stars": pa.float64()}
    for _, part in read_columns(path, pa.schema(keys), counts, progress=progress):
        if isinstance(part, pa.Table):
            times = pa.chunked_array([pa.array(map(_seconds, part["date"].to_pylist()), pa.float64())])
            collector.add_columns(part["user_id"], part["business_id"], times, part["stars"])
        else:
            for record in part:
                user, item, date, stars = (record.get(key) for key in keys)
                collector.add(user, item, _seconds(date), stars)


def _seconds(date: object) -> float | None:
    return seconds_of_date(date) if isinstance(date, str) else None


def read_businesses(
    path: Path, wanted: Container[str], counts: Counter[str], progress: bool
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Read one business a line: its name, categories and place."""
    for line in read_lines(path, counts, progress=progress):
        record = parse_json(line, counts)
        if record is None:
            continue
        item = record.get("business_id")
        if not isinstance(item, str) or item not in wanted:
            counts["without interactions" if isinstance(item, str) else "no item"] += 1
            continue
        fields = tuple(text_field(record.get(key)) for key in ("name", "categories", "city", "state"))
        yield item, fields


YELP = Layout(
    ("title:token_seq", "categories:token_seq", "city:token", "state:token"), read_reviews, read_businesses
)
