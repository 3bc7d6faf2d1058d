"""Blocks of lines read at once are what each of their lines says, whatever the lines are."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recbole_unisid.data.interactions import Interactions, stable_order, storable_name, storable_number
from recbole_unisid.data.sources import records
from recbole_unisid.data.sources.lines import Block
from recbole_unisid.data.sources.records import as_list, read_columns

TYPES = {"user": pa.string(), "time": pa.float64(), "tags": pa.list_(pa.list_(pa.string()))}

JSON = [
    b'{"user": "01000", "time": 9.99, "tags": [["a", "b"], []]}',
    b'{"user": "1000", "time": 9223372036854775809, "x": {"y": [1, {"z": "}\\n{"}]}}',
    b'{"time": -0.0, "user": "\\u00e9\\ud83e\\udd8a\\\\\\"", "tags": null}',
    b'{"user": null, "time": 1e999, "x": "' + "müßig".encode() + b'"}',
    b'{"user": "a", "time": 1} {"user": "b", "time": 2}', b'{"user": "open', b'{"user": [1,', b'{"user": "in"}]}',
    b'{"user": "a", "user": "b"}', b'{"user": 5, "time": 1}', b'{"user": "u", "time": "5"}', b'{"user": true}',
    b'{"user": "\\ud800"}', b'{"user": "\\udc00"}', b'{"user": "\xff"}', b'{"user": "tab\there"}', b'{"time": NaN}',
    b'{"time": 01}', b'{"time": 1_0}', b'\xef\xbb\xbf{"user": "mark"}', b"", b"  ", b"[1]", b"5", b"null", b"{}",
    b'{"user": "crlf"}\r', b' {"user": "blank"} ', b'{"tags": [["a", 1]]}', b'{"tags": ["a"]}', b'{"user": "\x00"}',
    b"{" + b'"a":{' * 2000, b'{"time": ' + b"9" * 400 + b"}", b"{'user': 'single'}", b'{"user": "2019-05-05 10:00:00"}',
]  # fmt: skip
LITERALS = [
    b"{'user': '01000', 'time': 9.99, 'tags': [['a', 'b'], []]}",
    b"""{'user': "it's", 'time': 3, 'tags': [['say "x"', 'it\\'s "x"']]}""",
    b"{'user': u'\\xe9\\n\\\\', 'time': None, 'x': True}", b"{'user': 'True None \\u00e9 u', 'x': {'y': 'u'}}",
    b"{'user': 'open}", b"{', 'time': 1}", b"{'user': 'x\\'}", b"{'user': \"open}", b'{", "time": 1}',
    b"{'user': 'a'} {'user': 'b'}", b"{'user': exit()}", b"{'user': 'a' 'b'}", b"{'user': true, 'time': NaN}",
    b"{'user': 'tab\there'}", b"{'user': '\xff'}", b"{'user': r'x'}", b"{'user': b'x'}", b"", b"{}", b"[1]",
    b"{'user': '\\ud800'}", b"{'user': '\\q'}", b"{'user': 'a\\", b"{'user': 'crlf'}\r", b'{"user": "double"}',
]  # fmt: skip


def read(lines: list[bytes], literals: bool, exact: bool, ended: bool = True) -> Any:
    """Numbers of lines, what stands under each field, and what is skipped."""
    block = Block(3, b"\n".join(lines) + b"\n" * ended)
    types: Any = dict.fromkeys(TYPES) if exact else TYPES
    counts = Counter[str]()
    numbers, users, times, tags = [], [], [], []
    for where, part in read_columns([block], types, counts, literals=literals):
        numbers += list(where)
        users += map(storable_name, as_list(part["user"]))
        times += [repr(storable_number(time)) for time in as_list(part["time"])]
        tags += as_list(part["tags"])
    return numbers, users, times, tags, counts


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    st.booleans().flatmap(
        lambda literals: st.tuples(
            st.lists(st.sampled_from(LITERALS if literals else JSON), min_size=1, max_size=6),
            st.just(literals),
        )
    ),
    st.booleans(),
)
@example(([b'{"user": [1,', b'{"user": "in"}]}', JSON[4]], False), True)
@example(([b"", JSON[4]], False), True)
@example(([b"{'user': 'x\\'}", b"{', 'time': 1}", b"{'user': 'a'} {'user': 'b'}"], True), True)
def test_a_block_is_its_lines(given_lines: tuple[list[bytes], bool], ended: bool) -> None:
    lines, literals = given_lines
    ended = ended or not lines[-1]  # else there is no such line
    assert read(lines, literals, False, ended) == read(lines, literals, True, ended)


@pytest.mark.parametrize(("lines", "literals"), [(JSON[:3], False), ([*LITERALS[:2], LITERALS[3]], True)])
def test_sound_lines_are_read_at_once(
    lines: list[bytes], literals: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read(lines, literals, True)
    monkeypatch.setattr(records, "_parsed", None)  # line by line is not to be
    assert read(lines, literals, False) == expected


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.sampled_from([0.0, -0.0, 1.0, 2.0**52, -(2.0**60), 2.0**70, 0.5, float("inf"), float("nan")])
        | st.integers(-5, 5).map(float),
        max_size=30,
    )
)
def test_equal_numbers_keep_their_order(numbers: list[float]) -> None:
    times = np.array(numbers, dtype=np.float64)
    assert stable_order(times).tolist() == np.argsort(times, kind="stable").tolist()
    users = np.arange(len(times), dtype=np.int32) % 3
    log = Interactions(users, np.arange(len(times), dtype=np.int32), times, times, ["a", "b", "c"], [])
    if log.timed:
        assert log.in_order().items.tolist() == np.lexsort((times, users)).tolist()
