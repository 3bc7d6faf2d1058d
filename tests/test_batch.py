"""Recommendations for everybody into one file."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kills import killed_at
from pyarrow.parquet import ParquetFile

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.serving import batch
from recbole_unisid.serving.recommend import recommend
from recbole_unisid.serving.requests import Requests


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    """The rows of a file of any format."""
    if path.suffix == ".parquet":
        return [tuple(row.values()) for row in ParquetFile(path).read().to_pylist()]
    if path.suffix == ".jsonl":
        return [tuple(json.loads(line).values()) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == list(batch.COLUMNS)
    return [(user, int(rank), item, float(score)) for user, rank, item, score in rows]


@pytest.mark.parametrize("ending", batch.FORMATS)
def test_everyone(
    ending: str, served_runs: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each user's rows are what is recommended to the user alone, part by part."""
    monkeypatch.setattr(batch, "HISTORIES", 7)
    monkeypatch.setattr(batch, "_ROWS", 50)
    to = tmp_path / f"all{ending}"
    run = recbole_unisid.load(served_runs("UniSID"))
    assert main(["recommend", f"--run={run.path}", f"--to={to}", "-k", "3"]) == 0
    expected = [
        (request.user, rank, run.item_ids[one.item], pytest.approx(one.score, rel=1e-5))
        for request in Requests(run).of_everyone()
        for rank, one in enumerate(recommend(run, [request.history], 3)[0], start=1)
    ]
    assert len(expected) == 3 * 40
    assert rows_of(to) == expected
    assert list(tmp_path.iterdir()) == [to]
    if ending == ".parquet":
        assert ParquetFile(to).num_row_groups == 2


@pytest.mark.parametrize("ending", batch.FORMATS)
def test_killed_anywhere(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before every file operation and within the users: the earlier file or the whole new one is there."""
    monkeypatch.setattr(batch, "_ROWS", 2)
    asked = [SimpleNamespace(user=str(number), history=[1]) for number in range(6)]
    found = [SimpleNamespace(item=1, score=1.0)]
    monkeypatch.setattr(batch, "recommend", lambda _, histories, *__, **___: [found] * len(histories))
    monkeypatch.setattr(batch, "HISTORIES", 2)
    run, to = cast("Any", SimpleNamespace(n_items=1, item_ids=["[PAD]", "one"])), tmp_path / f"all{ending}"

    def requests() -> Iterator[Any]:
        for one in asked:
            sys.audit("test.user")
            yield one

    batch.write_recommendations(run, asked[:1], to)
    earlier, step = rows_of(to), 1
    events = ("os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir", "tempfile", "test.user")
    while killed_at(step, lambda: batch.write_recommendations(run, requests(), to), events):
        assert rows_of(to) in (earlier, whole := [(str(number), 1, "one", 1.0) for number in range(6)])
        step += 1
    assert step > 10
    assert rows_of(to) == whole
    assert list(tmp_path.iterdir()) == [to]


def test_users_of_a_file(served_runs: Callable[[str], Path], tmp_path: Path) -> None:
    """Those alone, in their order; a line that cannot be used leaves no file and the earlier one as it was."""
    users, to = tmp_path / "users.txt", tmp_path / "some.csv"
    users.write_text("3\n1\n")
    arguments = ["recommend", f"--run={served_runs('ItemID')}", f"--file={users}", f"--to={to}", "-k", "2"]
    assert main(arguments) == 0
    before = to.read_text()
    assert [row[:2] for row in rows_of(to)] == [("3", 1), ("3", 2), ("1", 1), ("1", 2)]
    for bad in ("nobody", '["1", "2"]'):
        users.write_text(f"3\n{bad}\n")
        assert main(arguments) == 2
        assert to.read_text() == before
    assert {path.name for path in tmp_path.iterdir()} == {"users.txt", "some.csv"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to=all.xlsx"], "ends in none of .parquet"),
        (["--to=a.csv", "--user=1"], "or --to with or without --file"),
        (["--to=a.csv", "--format=jsonl"], "leave --format and --explain out"),
    ],
)
def test_refusals(
    words: list[str],
    told: str,
    served_runs: Callable[[str], Path],
    in_empty_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line."""
    assert main(["recommend", f"--run={served_runs('ItemID')}", *words]) == 2
    assert told in capsys.readouterr().err
