"""Originals made from the standard Beauty sequences come out as those sequences again."""

import gzip
import json
import os
from pathlib import Path

import pytest

from recbole_unisid.data.prepare import ensure_dataset, prepare

ROOT = Path(__file__).resolve().parents[1]
DAY = 86_400


def beauty_folder() -> Path:
    """The prepared amazon-beauty of this machine, or a skip."""
    places = [os.environ.get("RECBOLE_UNISID_DATA"), ROOT / "dataset", ROOT.parent / "shared" / "data"]
    for place in places:
        if place and (Path(place) / "amazon-beauty" / "amazon-beauty.inter").is_file():
            return Path(place) / "amazon-beauty"
    pytest.skip("amazon-beauty is not on this machine; set RECBOLE_UNISID_DATA to the folder that has it")


def rows_of(path: Path) -> list[list[str]]:
    """Cells of an atomic file without its header, split at tabs alone."""
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[1:-1]]


def write_originals(shared: Path, raw: Path) -> None:
    """Write reviews and metadata as Amazon 2014 has them: ordered by item, times in whole days with ties.

    A later item of a user that follows in the order of items shares the day of the one before it, so that
    only the order of the file tells which came first.
    """
    day_of: dict[str, tuple[str, int]] = {}
    reviews = []
    for user, item, _ in rows_of(shared / "amazon-beauty.inter"):
        previous_item, day = day_of.get(user, ("", 1_300_000_000 // DAY))
        day += item < previous_item
        day_of[user] = item, day
        reviews.append((item, len(day_of), user, day * DAY))
    with gzip.open(raw / "reviews_Beauty_5.json.gz", "wt", compresslevel=1, encoding="utf-8") as stream:
        for item, _, user, seconds in sorted(reviews, key=lambda review: review[0]):
            record = {
                "reviewerID": user,
                "asin": item,
                "helpful": [0, 0],
                "reviewText": 'so "good"\tindeed',
                "overall": 5.0,
                "summary": "ok",
                "unixReviewTime": seconds,
                "reviewTime": "02 28, 2014",
            }
            stream.write(json.dumps(record) + "\n")
    with gzip.open(raw / "meta_Beauty.json.gz", "wt", compresslevel=1, encoding="utf-8") as stream:
        for item, title, brand, categories, price in rows_of(shared / "amazon-beauty.item"):
            meta: dict[str, object] = {
                "asin": item,
                "categories": [categories.split(", ")],
                "imUrl": "http://x/y.jpg",
            }
            meta |= {"title": title} if title else {}
            meta |= {"brand": brand} if brand else {}
            meta |= {"price": float(price)} if price else {}
            stream.write(repr(meta) + "\n")
        stream.write(repr({"asin": "B000000000", "title": "nobody bought it"}) + "\n")


def test_originals_with_the_beauty_sequences_give_beauty(tmp_path: Path) -> None:
    shared = beauty_folder()
    raw = tmp_path / "raw"
    raw.mkdir()
    write_originals(shared, raw)

    summary = prepare("amazon-beauty", tmp_path / "data", raw=raw, progress=False)

    assert (summary.users, summary.items, summary.interactions) == (22_363, 12_101, 198_502)
    assert summary.tied > 0.6  # the ties are really there
    assert summary.read["items without interactions"] == 1
    made = ensure_dataset("amazon-beauty", tmp_path / "data", progress=False)
    expected = [row[:2] for row in rows_of(shared / "amazon-beauty.inter")]
    assert [row[:2] for row in rows_of(made / "amazon-beauty.inter")] == expected
    texts = {row[0]: row[1:] for row in rows_of(made / "amazon-beauty.item")}
    for item, title, brand, _categories, price in rows_of(shared / "amazon-beauty.item"):
        assert texts[item][:2] == [" ".join(title.split()), " ".join(brand.split())]
        assert texts[item][3] == (price and format(float(price), "g"))
