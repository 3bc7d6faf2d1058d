"""The Yelp open dataset, from a person's own download: its terms forbid handing it on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path

from recbole_unisid.data.interactions import InteractionCollector
from recbole_unisid.data.sources.layout import Layout
from recbole_unisid.data.sources.lines import parse_json, read_lines
from recbole_unisid.data.sources.values import seconds_of_date, text_field


def read_reviews(path: Path, collector: InteractionCollector, counts: Counter[str], progress: bool) -> None:
    """Read one review a line; its ``date`` (``2018-07-07 22:09:11``, taken as UTC) becomes seconds."""
    for line in read_lines(path, counts, progress=progress):
        record = parse_json(line, counts)
        if record is not None:
            date = record.get("date")
            time = seconds_of_date(date) if isinstance(date, str) else None
            collector.add(record.get("user_id"), record.get("business_id"), time, record.get("stars"))


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
