"""A thousand damaged inputs: one clear line or a sound data set with a count of what was skipped."""

import gzip
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_unisid.data.atomic_files import is_prepared
from recbole_unisid.data.own_tables import prepare_from_tables
from recbole_unisid.data.prepare import prepare
from recbole_unisid.data.summary import Summary
from recbole_unisid.errors import UserError

USERS, ITEMS = 4, 3

#: Values that have no business in a record, or only look harmless.
NASTY: list[Any] = [
    None, True, -1, 0, 1.5, float("nan"), float("inf"), 10**400, 2**70, "", " ", "\t", "a\tb", "a\nb\r", "\0",
    "../../../etc/passwd", "/etc/passwd", "..\\..\\x", "=cmd|' /C calc'!A0", "@SUM(1)", '"', '""x', "NA",
    "nan", "[PAD]", "x" * 100_000, "\ud800", "\u2028", "🦊", "{'a': 1}", "__import__('os').system('true')",
    [], [[[[["deep"]]]]], {}, {"asin": "B0"}, ["a", 1, None], "2019-05-05 10:00:00", "9999-99-99", "$1,000",
]  # fmt: skip


def records_2014() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    log = [
        {"reviewerID": f"A{u}", "asin": f"B{i}", "overall": 5.0, "unixReviewTime": 1_400_000_000 + 86_400 * i}
        for i in range(ITEMS)
        for u in range(USERS)
    ]
    items = [
        {"asin": f"B{i}", "title": f"t{i}", "categories": [["c", "d"]], "price": 1.5, "description": "d"}
        for i in range(ITEMS)
    ]
    return log, items


def records_2018() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    log, items = records_2014()
    return log, [{**item, "category": ["a", "b"], "feature": ["f"], "price": "$3.00"} for item in items]


def records_yelp() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    log = [
        {"user_id": f"A{u}", "business_id": f"B{i}", "stars": 4.0, "date": f"2019-03-0{i + 1} 10:00:00"}
        for i in range(ITEMS)
        for u in range(USERS)
    ]
    return log, [
        {"business_id": f"B{i}", "name": "n", "categories": "a, b", "city": "c"} for i in range(ITEMS)
    ]


def as_json_lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode("utf-8", "surrogatepass")


def as_literals(records: list[dict[str, Any]]) -> bytes:
    return "".join(repr(record) + "\n" for record in records).encode("utf-8", "surrogatepass")


def as_csv(records: list[dict[str, Any]]) -> bytes:
    rows = [",".join(records[0]), *(",".join(str(value) for value in record.values()) for record in records)]
    return ("\n".join(rows) + "\n").encode("utf-8", "surrogatepass")


def as_dat(records: list[dict[str, Any]]) -> bytes:
    rows = ["::".join(str(value) for value in record.values()) for record in records]
    return ("\n".join(rows) + "\n").encode("utf-8", "surrogatepass")


Writer = Callable[[list[dict[str, Any]]], bytes]

#: Name, records, file of interactions and how it is written, file of items and how it is written.
FORMATS: dict[str, tuple[Callable[[], Any], str, Writer, str, Writer]] = {
    "amazon-beauty": (
        records_2014, "reviews_Beauty_5.json.gz", as_json_lines, "meta_Beauty.json.gz", as_literals,
    ),
    "amazon-video-games-18": (
        records_2018, "Video_Games_5.json.gz", as_json_lines, "meta_Video_Games.json.gz", as_json_lines,
    ),
    "yelp": (
        records_yelp, "yelp_academic_dataset_review.json", as_json_lines,
        "yelp_academic_dataset_business.json", as_json_lines,
    ),
    "own-csv": (records_2014, "log.csv", as_csv, "items.csv", as_csv),
    "own-jsonl": (records_2014, "log.jsonl.gz", as_json_lines, "items.jsonl", as_json_lines),
    "ml-1m": (records_2014, "ratings.dat", as_dat, "movies.dat", as_dat),
}  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, records: list[dict[str, Any]], write: Writer, packed: bool) -> bytes:
    """A file of these records with wrong values, then wrong bytes, then wrong packing."""
    records = [dict(record) for record in records]
    for _ in range(draw(st.integers(0, 3))):
        record = draw(st.sampled_from(records))
        key = draw(st.sampled_from([*record, "surplus"]))
        if draw(st.booleans()):
            record[key] = draw(st.sampled_from(NASTY) | st.text(max_size=20) | st.integers())
        elif len(record) > 1:
            record.pop(key, None)
    data = write(records)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        patch = draw(st.sampled_from([b"\xff\xfe", b"\x00", b'"', b"'", b"\n", b"{", b"[" * 5000, b"-" * 9000,
                                      b"1+" * 9000 + b"1", b"\xed\xa0\x80", b"\r", b"\\", b",", b"\t"])
                     | st.binary(max_size=8))  # fmt: skip
        data = data[:at] + patch + data[at + draw(st.integers(0, 20)) :]
    if packed:
        data = gzip.compress(data, 1, mtime=0)
        if draw(st.integers(0, 4)) == 0:
            data = data[: draw(st.integers(0, len(data)))]
        elif draw(st.integers(0, 4)) == 0:
            at = draw(st.integers(0, len(data) - 1))
            data = data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
    return data


def prepared(name: str, raw: Path, data: Path) -> Summary | UserError:
    """Prepare the damaged originals in `raw`; the only error that may come is returned."""
    _, log_file, _, item_file, _ = FORMATS[name]
    columns = {"user": "reviewerID", "item": "asin", "time": "unixReviewTime", "text": "title+description"}
    try:
        if name.startswith("own"):
            return prepare_from_tables(raw / log_file, raw / item_file, columns, name, data, progress=False)
        return prepare(name, data, raw=raw, check_counts=False, progress=False, core=1)
    except UserError as error:
        return error


def check_soundness(name: str, summary: Summary, folder: Path) -> None:
    """What was written must be readable, row by row, and every line accounted for."""
    assert is_prepared(folder)
    for ending in ("inter", "item"):
        text = (folder / f"{name}.{ending}").read_bytes().decode("utf-8")
        lines = text.split("\n")
        assert lines.pop() == ""
        assert len({line.count("\t") for line in lines}) == 1
        assert '"' not in text
        assert lines == text.splitlines()
    assert len((folder / f"{name}.inter").read_text().splitlines()) == summary.interactions + 1
    if name != "own-csv":  # there a row may span lines
        read = next(iter(summary.read.values()))
        skipped = sum(n for why, n in summary.skipped.items() if not why.endswith("(items)"))
        assert read == summary.interactions + skipped + sum(summary.dropped.values())


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_originals(name: str, tmp_path: Path) -> None:
    records, log_file, write_log, item_file, write_items = FORMATS[name]
    log, items = records()
    outcomes = {"sound": 0, "refused": 0, "skipped": 0}

    @settings(
        max_examples=170,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.large_base_example,
            HealthCheck.data_too_large,
        ],
    )
    @given(
        damaged(log, write_log, log_file.endswith(".gz")),
        damaged(items, write_items, item_file.endswith(".gz")),
    )
    def one(log_bytes: bytes, item_bytes: bytes) -> None:
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        raw, data = root / "raw", root / "data"
        raw.mkdir(parents=True)
        if name == "ml-1m":
            with zipfile.ZipFile(raw / "ml-1m.zip", "w") as archive:
                archive.writestr("../../evil.txt", "x")
                archive.writestr("ml-1m/ratings.dat", log_bytes)
                archive.writestr("ml-1m/movies.dat", item_bytes)
        else:
            (raw / log_file).write_bytes(log_bytes)
            (raw / item_file).write_bytes(item_bytes)
        originals = {path.name for path in raw.iterdir()}
        summary = prepared(name, raw, data)
        if isinstance(summary, UserError):
            assert "\n" not in str(summary)
            assert not list(data.rglob("*.inter"))
            outcomes["refused"] += 1
        else:
            check_soundness(name, summary, data / name)
            outcomes["sound"] += 1
            outcomes["skipped"] += sum(summary.skipped.values())
        assert not list(data.rglob("*.part"))
        assert {path.name for path in raw.iterdir()} == originals
        assert {path.name for path in root.iterdir()} <= {"raw", "data"}
        assert [path.name for path in tmp_path.iterdir()] == ["root"]
        if data.exists():
            assert {path.name for path in data.iterdir()} <= {name}

    one()
    assert outcomes["sound"] > 20
    assert outcomes["skipped"] > 20
    print(name, outcomes)
