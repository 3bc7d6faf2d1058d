"""Lines and what they say: literals are read as Python would, and never run."""

import gzip
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_unisid.data.sources import lines
from recbole_unisid.data.sources.lines import read_lines
from recbole_unisid.data.sources.records import parse_literal
from recbole_unisid.errors import UserError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_every_repr_is_read_back(record: dict[str, object]) -> None:
    counts = Counter[str]()
    assert parse_literal(repr(record).encode(), counts) == record
    assert not counts


@pytest.mark.parametrize(
    "line",
    [
        b"{'asin': __import__('os').getcwd()}",
        b"{'asin': open}",
        b"{'a': 1+1}",
        b"{'a': " + b"-" * 100_000 + b"1}",
        b"{'a': " + b"1+" * 100_000 + b"1}",
        b"{'a': " + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"{'a': 'open",
        b"{'a': 'b'",
        b"{[]: 1}",
        b"{'a': " + b"9" * 10_000 + b"}",
        b"lambda: 0",
    ],
    ids=lambda line: line[:12].decode(),
)
def test_anything_else_is_counted_not_run(line: bytes) -> None:
    counts = Counter[str]()
    assert parse_literal(line, counts) is None
    assert counts == {"not a Python literal": 1}


def test_lines_without_end_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 10)
    path = tmp_path / "lines.gz"
    path.write_bytes(gzip.compress(b"one\n" + b"x" * 95 + b"\n\ntwo\n" + b"123456789\n" + b"y" * 30))
    counts = Counter[str]()
    assert list(read_lines(path, counts)) == [b"one", b"two", b"123456789"]
    assert counts == {"lines": 6, "line too long": 2, "blank line": 1}


def test_a_cut_off_gzip_says_how_far_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "lines.gz"
    packed = gzip.compress(b"".join(b"%d\n" % (number * 7919) for number in range(50_000)))
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UserError, match=r"cut off after \d\d,\d{3} lines"):
        list(read_lines(path, Counter()))
