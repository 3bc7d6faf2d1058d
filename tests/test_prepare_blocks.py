"""What is prepared does not depend on where blocks of a file end, how names are united, or on the number of threads."""

import gzip
import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_unisid.data import interactions
from recbole_unisid.data.atomic_text import LONGEST_ID, LONGEST_TEXT, MISSING_WORDS, usable_id
from recbole_unisid.data.interactions import InteractionCollector
from recbole_unisid.data.prepare import prepare
from recbole_unisid.data.sources import lines
from recbole_unisid.data.sources.records import read_columns
from recbole_unisid.data.sources.values import made_once, text_field, texts_in, web_text_field

NAMES = [
    "01000",
    "1000",
    "9223372036854775809",
    "9.99",
    "Ann",
    "é",
    "NA",
    "",
    " x",
    'a"b',
    "[PAD]",
    "a_b",
    "x" * 257,
]


def write_originals(folder: Path) -> None:
    """Reviews of whole days in the order of items, with lines that are none among them, and metadata."""
    folder.mkdir()
    draw = random.Random(7)
    reviews = [
        {"reviewerID": f"{draw.randrange(60):03d}", "asin": f"B{item:03d}",
         "unixReviewTime": draw.randrange(5) * 86_400, "overall": draw.choice([4.5, 5.0, 9.99]),
         "reviewText": 'x "y" \\ ' * draw.randrange(9)}
        for item in range(40) for _ in range(30)
    ]  # fmt: skip
    texts = [json.dumps(review) for review in reviews]
    for place, fault in (
        (17, "no JSON"),
        (400, ""),
        (401, '{"asin": "B0"}'),
        (900, '{"reviewerID": 5, "asin": "B1"}'),
    ):
        texts.insert(place, fault)
    (folder / "reviews_Beauty_5.json.gz").write_bytes(gzip.compress("\n".join(texts).encode()))
    records: list[Any] = [
        {"asin": f"B{item:03d}", "title": f'{item}" it\'s', "price": item / 8, "categories": [["a", "b"], ["a"]],
         "brand": "Käthe &amp; Co", "description": draw.choice(["<b>x</b>  y", "plain", "null"])}
        for item in range(60)
    ]  # fmt: skip
    metadata = [repr(record) for record in records]
    metadata.insert(30, "exit()")
    metadata.insert(31, "")
    (folder / "meta_Beauty.json.gz").write_bytes(gzip.compress("\n".join(metadata).encode()))


def outcome(raw: Path, data: Path) -> tuple[bytes, bytes, dict[str, Any]]:
    """The two files, and the account without the folder."""
    summary = prepare("amazon-beauty", data, raw=raw, check_counts=False, progress=False, core=2)
    folder = data / "amazon-beauty"
    files = [(folder / f"amazon-beauty.{ending}").read_bytes() for ending in ("inter", "item")]
    return files[0], files[1], {**summary.as_json(), "folder": ""}


def pool_of(threads: int, wished: int) -> ThreadPoolExecutor:
    """As many threads as the test says."""
    return ThreadPoolExecutor(threads)


def test_blocks_and_threads_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_originals(tmp_path / "raw")
    expected = outcome(tmp_path / "raw", tmp_path / "whole")
    skipped = expected[2]["skipped"]
    assert (skipped["not JSON"], skipped["blank line"], skipped["no user"]) == (1, 1, 1)
    assert (skipped["user of the wrong type"], skipped["blank line (items)"]) == (1, 1)
    assert skipped["not a Python literal (items)"] == 1
    for block, rows, threads in ((100, 7, 1), (1000, 100, 2), (4096, 1 << 22, 3)):
        monkeypatch.setattr(lines, "_BLOCK", block)
        monkeypatch.setattr(interactions, "_ROWS_AT_ONCE", rows)
        for module in (lines, interactions):
            monkeypatch.setattr(module, "ThreadPoolExecutor", partial(pool_of, threads))
        assert outcome(tmp_path / "raw", tmp_path / f"blocks of {block}") == expected


def test_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    write_originals(tmp_path / "raw")
    inter = outcome(tmp_path / "raw", tmp_path / "data")[0].decode().splitlines()[1:]
    rows = [line.split("\t") for line in inter]
    order = {user: place for place, user in enumerate(dict.fromkeys(row[0] for row in rows))}
    # The source is in the order of items, so that equal times of one user have rising items.
    assert rows == sorted(rows, key=lambda row: (order[row[0]], int(row[3]), row[1]))
    assert len({(row[0], row[3]) for row in rows}) < len(rows)


@pytest.mark.parametrize("block", [7, 64, 1 << 20])
def test_a_line_has_its_number_in_whichever_block(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_BLOCK", block)
    texts = [
        '{"user": "a"}',
        "",
        "no",
        '{"user": "b"}\r',
        "[1]",
        '{"user": "c", "x": "' + "y" * 100 + '"}',
        '{"user": 1}',
    ]
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(texts))
    counts = Counter[str]()
    found = dict[int, Any]()
    for numbers, part in read_columns(lines.read_blocks(path, counts), {"user": pa.string()}, counts):
        users = part["user"]
        values = users if isinstance(users, list) else users.to_pylist()
        found.update(zip(numbers, values, strict=True))
    assert found == {1: "a", 4: "b", 6: "c", 7: 1}
    assert counts == {"lines": 7, "blank line": 1, "not JSON": 1, "not a record": 1}


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(*[st.sampled_from([*NAMES, None])] * 2), max_size=20), st.integers(1, 5))
def test_names_are_numbered_by_first_appearance(
    rows: list[tuple[str | None, str | None]], at_once: int
) -> None:
    counts = Counter[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interactions, "_ROWS_AT_ONCE", at_once)
        collector = InteractionCollector(counts, timed=False)
        for user, item in rows:
            collector.add([user], [item])
        log = collector.collected()
    usable = [
        [name for name in column if name is not None and usable_id(name)]
        for column in zip(*rows, strict=True)
    ]
    assert [log.user_ids, log.item_ids] == [list(dict.fromkeys(names)) for names in usable or ([], [])]
    pairs = zip(log.users.tolist(), log.items.tolist(), strict=True)
    kept = [row for row in rows if all(name is not None and usable_id(name) for name in row)]
    assert [(log.user_ids[user], log.item_ids[item]) for user, item in pairs] == kept
    assert sum(counts.values()) == len(rows) - len(kept)


def test_an_id_may_be_so_long_and_no_longer() -> None:
    collector = InteractionCollector(counts := Counter[str](), timed=False)
    collector.add(["u" * LONGEST_ID, "u" * (LONGEST_ID + 1)], ["é" * LONGEST_ID] * 2)
    assert len(collector.collected()) == 1
    assert counts == {"unusable user name": 1}


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.none()
        | st.text(max_size=8)
        | st.text(' "&<>a\tb;\u00a0\u2028', max_size=8)
        | st.sampled_from(
            [*MISSING_WORDS, '"' * LONGEST_TEXT, "a" * (LONGEST_TEXT + 1), "&quot;&lt;b>", "a  b", "a ", " a"]
        ),
        max_size=6,
    )
)
def test_a_column_of_texts_is_its_texts(texts: list[str | None]) -> None:
    columns = [pa.chunked_array([texts], pa.string()), texts]
    for clean in (text_field, web_text_field):
        assert [texts_in(column, clean) for column in columns] == [list(map(clean, texts))] * 2
    lists = [[text, None] for text in texts]
    column = pa.chunked_array([[lists, None, []]], pa.list_(pa.list_(pa.string())))
    assert made_once(column, text_field) == list(map(text_field, (lists, None, [])))


def test_the_last_row_ends_its_line_and_nothing_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_originals(tmp_path / "raw")
    monkeypatch.setattr("recbole_unisid.data.atomic_files._ROWS_AT_ONCE", 10)
    text = outcome(tmp_path / "raw", tmp_path / "data")[0].decode()
    assert text.startswith("user_id:token\titem_id:token\trating:float\ttimestamp:float\n")
    assert text.endswith("\n")
    assert np.unique([line.count("\t") for line in text.removesuffix("\n").split("\n")]).tolist() == [3]
