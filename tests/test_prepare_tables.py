"""A person's own CSV, JSON lines and Parquet, and what RecBole reads of the result."""

import csv
import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from recbole_unisid.data.columns import parse_columns
from recbole_unisid.data.own_tables import prepare_from_tables
from recbole_unisid.data.summary import Summary
from recbole_unisid.errors import UserError

COLUMNS = {"user": "customer", "item": "sku", "time": "when", "text": "title+notes"}

INTERACTIONS = [
    {"customer": "u1", "sku": "a", "when": "1700000000.25"},
    {"customer": "u1", "sku": "b", "when": "1600000000"},
    {"customer": "u1", "sku": "b", "when": "1600000000"},
    {"customer": "u2", "sku": "b", "when": "2020-09-13 12:26:40"},
    {"customer": "u2", "sku": "c", "when": "2020-09-13T14:26:40+02:00"},
    {"customer": "u2", "sku": "c", "when": "2020-09-14"},
    {"customer": "", "sku": "c", "when": "1"},
    {"customer": "u3", "sku": "c", "when": "soon"},
    {"customer": "u3", "sku": "c", "when": ""},
    {"customer": "null", "sku": "c", "when": "1"},
]
ITEMS = [
    {"sku": "a", "title": '"Quoted" first', "notes": "tab\there\nand line"},
    {"sku": "b", "title": "None", "notes": '24" screen'},
    {"sku": "b", "title": "again", "notes": ""},
    {"sku": "z", "title": "never met", "notes": ""},
]


def write_csv(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_json_lines(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[dict[str, str]]) -> Path:
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("write", "ending"),
    [(write_csv, "csv"), (write_json_lines, "jsonl"), (write_parquet, "parquet")],
    ids=["csv", "jsonl", "parquet"],
)
def test_every_format_gives_the_same_data_set(write, ending: str, tmp_path: Path) -> None:
    interactions = write(tmp_path / f"log.{ending}", INTERACTIONS)
    items = write(tmp_path / f"items.{ending}", ITEMS)
    summary = prepare_from_tables(interactions, items, COLUMNS, "shop", tmp_path / "data", progress=False)

    assert (tmp_path / "data" / "shop" / "shop.inter").read_text() == (
        "user_id:token\titem_id:token\ttimestamp:float\n"
        "u1\tb\t1600000000\n"
        "u1\ta\t1700000000.25\n"
        "u2\tb\t1600000000\n"
        "u2\tc\t1600000000\n"
        "u2\tc\t1600041600\n"
    )
    assert (tmp_path / "data" / "shop" / "shop.item").read_text() == (
        "item_id:token\ttitle:token_seq\tnotes:token_seq\n"
        "a\t''Quoted'' first\ttab here and line\n"
        "b\t\t24'' screen\n"
        "c\t\t\n"
    )
    assert summary.read == {
        "rows of interactions": 10,
        "rows of items": 5 if ending == "csv" else 4,
        "items without interactions": 1,
    }
    assert summary.skipped == {
        "no user": 1,
        "time is no number": 1,
        "no time": 1,
        "unusable user name": 1,
        "item met before (items)": 1,
    }
    assert summary.dropped == {"repeats (exact)": 1}
    assert (summary.users, summary.items, summary.interactions) == (2, 3, 5)
    assert summary.tied == pytest.approx(1 / 3)
    assert summary.coverage == pytest.approx({"title": 1 / 3, "notes": 2 / 3})
    assert json.loads(json.dumps(summary.as_json()))["skipped"] == summary.skipped
    assert "no user" in summary.as_table()


def test_a_dry_run_counts_the_same_and_writes_nothing(tmp_path: Path) -> None:
    log, items = write_csv(tmp_path / "log.csv", INTERACTIONS), write_csv(tmp_path / "items.csv", ITEMS)

    def run(dry_run: bool) -> Summary:
        return prepare_from_tables(
            log, items, COLUMNS, "shop", tmp_path / "data", dry_run=dry_run, progress=False
        )

    dry = run(True)
    assert not (tmp_path / "data").exists()
    wet = run(False)
    assert dry.as_json() == {**wet.as_json(), "dry_run": True}


def test_usual_names_are_found_and_order_stands_for_time(tmp_path: Path) -> None:
    rows = [{"User_ID": f"u{k % 2}", "item": str(9 - k)} for k in range(8)]
    log = write_csv(tmp_path / "log.tsv", rows, delimiter="\t")
    summary = prepare_from_tables(log, None, {}, "mine", tmp_path, progress=False)
    assert not summary.timed
    lines = (tmp_path / "mine" / "mine.inter").read_text().splitlines()[1:]
    assert lines[:4] == ["u0\t9\t1", "u0\t7\t2", "u0\t5\t3", "u0\t3\t4"]
    assert not (tmp_path / "mine" / "mine.item").exists()


def test_core_and_repeats_policies(tmp_path: Path) -> None:
    rows = [
        {"user_id": "u", "item_id": item, "timestamp": str(time)} for time, item in enumerate("abcabcabd")
    ] + [{"user_id": "v", "item_id": item, "timestamp": str(time)} for time, item in enumerate("abc")]
    log = write_csv(tmp_path / "log.csv", rows)

    def items_of(user: str, **policy: object) -> str:
        prepare_from_tables(log, None, {}, "p", tmp_path, progress=False, **policy)  # type: ignore[arg-type]
        cells = (line.split("\t") for line in (tmp_path / "p" / "p.inter").read_text().splitlines()[1:])
        return "".join(row[1] for row in cells if row[0] == user)

    assert items_of("u") == "abcabcabd"
    assert items_of("u", duplicates="first") == "abcd"
    assert items_of("u", duplicates="last") == "cabd"
    assert items_of("u", core=2, duplicates="first") == "abc"
    with pytest.raises(UserError, match="Nothing is left"):
        items_of("u", core=50)


def test_what_both_readers_see(tmp_path: Path) -> None:
    nasty = ['"', '""open', 'end"', "a\tb", "line\r\nbreak", "nul\0", "\u2028sep", "NA", "=1+1", "é ü 漢"]
    items = [{"item_id": f"i{k}", "title": title, "last": "end"} for k, title in enumerate(nasty)]
    rows = [{"user_id": "u", "item_id": row["item_id"], "timestamp": "5"} for row in items]
    prepare_from_tables(
        write_json_lines(tmp_path / "log.jsonl", rows),
        write_json_lines(tmp_path / "items.jsonl", items),
        {},
        "nasty",
        tmp_path,
        progress=False,
    )
    path = tmp_path / "nasty" / "nasty.item"
    as_recbole = pd.read_csv(path, delimiter="\t", engine="python", encoding="utf-8", dtype=str).fillna("")
    unquoted = pd.read_csv(
        path, sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False, dtype=str, encoding="utf-8"
    )
    assert as_recbole.to_numpy().tolist() == unquoted.to_numpy().tolist()
    assert len(as_recbole) == len(nasty)
    assert as_recbole["last:token_seq"].eq("end").all()


def test_times_come_back_exactly(tmp_path: Path) -> None:
    times = ["881250949", "881250950", "1631250589.584", "1631250589584", "-5", "0.1"]
    rows = [{"user_id": "u", "item_id": f"i{k}", "timestamp": time} for k, time in enumerate(times)]
    prepare_from_tables(write_csv(tmp_path / "log.csv", rows), None, {}, "t", tmp_path, progress=False)
    written = Counter(
        line.split("\t")[2] for line in (tmp_path / "t" / "t.inter").read_text().splitlines()[1:]
    )
    assert written == Counter(times)


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ({"user": "custommer"}, "Did you mean customer?"),
        ({"usr": "customer"}, "Did you mean user?"),
        ({"user": "customer", "item": "sku", "text": "titel"}, "Did you mean title?"),
        ({}, "--columns=user="),
    ],
)
def test_wrong_columns_get_the_nearest_name(columns: dict[str, str], hint: str, tmp_path: Path) -> None:
    log, items = write_csv(tmp_path / "log.csv", INTERACTIONS), write_csv(tmp_path / "items.csv", ITEMS)
    with pytest.raises(UserError) as error:
        prepare_from_tables(log, items, columns, "shop", tmp_path / "data", progress=False)
    assert hint in str(error.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/b", "", "..", ".hidden", "a b", "ml-100k", "x\n"])
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    log = write_csv(tmp_path / "log.csv", INTERACTIONS)
    with pytest.raises(UserError):
        prepare_from_tables(log, None, COLUMNS, name, tmp_path / "data", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_columns_as_typed() -> None:
    assert parse_columns(" user = a , item=b") == {"user": "a", "item": "b"}
    for wrong in ("user", "user=", "users=a"):
        with pytest.raises(UserError):
            parse_columns(wrong)
