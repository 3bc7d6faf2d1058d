"""Tables without quotation marks are read a block at a time, and say what the csv module says of them."""

from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recbole_unisid.data.own_tables import prepare_from_tables
from recbole_unisid.data.sources import lines, tables
from recbole_unisid.data.sources.records import as_list
from recbole_unisid.data.sources.tables import open_table
from recbole_unisid.errors import UserError

CELLS = st.sampled_from(
    ["", "a", " a", "a ", "\x1f", "\u00a0", "é", "01000", "1000", "1", "1.5", "+1", "1e3", "1e999", "nan", "-inf",
     "1_0", "9223372036854775809", "2019-05-05 10:00:00", "x" * 40, "\x85", "\x0b", "NA", "'"]
)  # fmt: skip
ODD = st.sampled_from(['"a', '"a"', 'a"', '"a\nb"', "\0", "\r", "a\rb", "\udcff", '"a""b"'])
ROWS = st.lists(
    st.lists(CELLS, min_size=4, max_size=4)
    | st.lists(CELLS, max_size=5)
    | st.lists(CELLS | ODD, min_size=4, max_size=4),
    max_size=8,
)


def never(*_: Any) -> Generator[Any, None, bool]:
    """As `plain_batches`, of a table that is not plain."""
    return False
    yield


def outcome(path: Path, data: Path, quotes: str | None) -> Any:
    """What the table says, and what is prepared of it, or the error."""
    try:
        table, counts = open_table(path, quotes=quotes), Counter[str]()
        rows = [
            row
            for batch in table.batches(counts, table.columns[::2], (), False)
            for row in zip(batch.lines, *map(as_list, batch.columns.values()), strict=True)
        ]
        summary = prepare_from_tables(
            path, None, {}, "own", data, progress=False, dates="day-first", quotes=quotes
        )
    except UserError as error:
        return str(error)
    return rows, counts, summary.as_json(), (data / "own" / "own.inter").read_bytes()


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    ROWS, st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.booleans(),
    st.sampled_from([None, "none", "csv"]), st.sampled_from([8, 60, 1 << 20]), st.booleans(),
)  # fmt: skip
@example(
    [["a", "b", "1", "2"], [], ["", ""], ["", "", "", ""], ["c", "d", "1", "2"]],
    ",",
    "\n",
    True,
    None,
    8,
    True,
)
@example([["a", "b", "1", "2"]] * 9 + [['"a\nb"', "b", "1", "2"]] * 2, ",", "\r\n", False, "csv", 60, False)
def test_a_plain_table_is_what_the_csv_module_reads(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]], delimiter: str, end: str, ended: bool, quotes: str | None, block: int, mark: bool,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("table")
    texts = [delimiter.join(row) for row in [["user_id", "item_id", "timestamp", "rating"], *rows]]
    text = "\ufeff" * mark + end.join(texts) + end * ended
    (folder / "log.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK", block)
        found = outcome(folder / "log.csv", folder / "data", quotes)
        patch.setattr(tables, "plain_batches", never)
        assert found == outcome(folder / "log.csv", folder / "data", quotes)


def test_a_quoted_cell_late_in_a_table_keeps_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_BLOCK", 64)
    texts = ["user_id,item_id,timestamp", *(f"u{row},i{row % 7},{row}" for row in range(2, 90))]
    texts += ['"u90\nand more",i1,90', "u92,i1,92", "too,few", 'u94,i"1,94']
    (tmp_path / "log.csv").write_text("\n".join(texts))
    counts = Counter[str]()
    found = {
        line: user
        for batch in open_table(tmp_path / "log.csv").batches(counts, ["user_id"], (), False)
        for line, user in zip(batch.lines, as_list(batch.columns["user_id"]), strict=True)
    }
    assert found == {row: f"u{row}" for row in [*range(2, 90), 92, 94]} | {90: "u90\nand more"}
    assert counts == {"lines": 93, "wrong number of cells": 1}


def test_plain_lines_are_not_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + "a,b,1\n" * 9)
    monkeypatch.setattr(tables, "_csv_rows", None)
    summary = prepare_from_tables(
        tmp_path / "log.csv", None, {}, "own", tmp_path, duplicates="all", progress=False
    )
    assert (summary.interactions, summary.read) == (9, {"rows of interactions": 9})
