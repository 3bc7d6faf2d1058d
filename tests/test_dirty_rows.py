"""Rows of atomic files as people have them: all models read the same ones, and what is left out is counted."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.data.leaks import identifier_places
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders

HEAD = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ROWS = [f"u{u}\ti{(u * 7 + k) % 30}\t4\t{1600000000 + 10 * k + u}" for u in range(20) for k in range(6)]
MODELS = ["ItemID", "GRU4Rec", "BPR"]


def read(
    model: str, root: Path, rows: list[str], name: str = "dirty", start: str = "", end: str = "\n"
) -> list[str]:
    """Interactions of a file of these rows as ``user item`` in the order of the sequences."""
    (root / name).mkdir(exist_ok=True)
    text = start + end.join([HEAD, *rows]) + end
    (root / name / f"{name}.inter").write_bytes(text.encode())
    config = UniSIDConfig(model, name, settings={"data_path": str(root), "use_gpu": False})
    dataset = load_dataset(config)
    make_loaders(config, dataset)
    sequences = dataset.sequences
    assert "[PAD]" not in sequences.item_ids[sequences.items].tolist()
    users = sequences.user_ids[sequences.users]
    return [f"{u} {i}" for u, i in zip(users, sequences.item_ids[sequences.items], strict=True)]


def expected(rows: list[str]) -> list[str]:
    """The same in plain loops."""
    fields = [row.split("\t") for row in rows]
    users = list(dict.fromkeys(row[0] for row in fields))
    fields.sort(key=lambda row: (users.index(row[0]), float(row[3])))
    return [f"{row[0]} {row[1]}" for row in fields]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("line", [2, 21, len(ROWS) + 2])
def test_a_row_without_a_user_or_an_item(
    model: str, line: int, tmp_path: Path, in_empty_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both are left out and counted, wherever they stand; no good row goes with them."""
    at = line - 2
    rows = [*ROWS[:at], "\ti3\t4\t1600000001", "u1\t\t4\t1600000002", *ROWS[at:]]
    with caplog.at_level(logging.WARNING):
        assert read(model, tmp_path, rows) == expected(ROWS)
    said = " ".join(record.getMessage() for record in caplog.records)
    assert f"1 rows have no user_id and are left out, the first is line {line}" in said
    assert f"1 rows have no item_id and are left out, the first is line {line + 1}" in said


@pytest.mark.parametrize("model", MODELS)
def test_files_of_other_programs(model: str, tmp_path: Path, in_empty_folder: Path) -> None:
    """A byte order mark, Windows' line ends, a quote that is not closed, items called NA."""
    assert read(model, tmp_path, ROWS, start="\ufeff") == expected(ROWS)
    assert read(model, tmp_path, ROWS, end="\r\n") == expected(ROWS)
    odd = ['u1\t"i2\t4\t1600000003', "u2\tNA\t4\t1600000004", *ROWS]
    assert sorted(read(model, tmp_path, odd)) == sorted(expected(odd))


@pytest.mark.parametrize("model", MODELS)
def test_doubled_rows_are_said_once(
    model: str, tmp_path: Path, in_empty_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They stay, as the file has them."""
    rows = [*ROWS, ROWS[0], ROWS[7]]
    with caplog.at_level(logging.WARNING):
        assert sorted(read(model, tmp_path, rows)) == sorted(expected(rows))
    (said,) = [record.getMessage() for record in caplog.records if "repeat another's" in record.getMessage()]
    assert "2 rows" in said


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "a header and no rows"),
        (["\ti3\t4\t1", "u1\t\t4\t1"], "no row with a user and an item"),
        (["u1\ti3\t4\t", *ROWS], "line 2: the time is missing"),
        (["u1\ti3\tfour\t1", *ROWS[:1]], None),
        (["u1\ti3\t4\tnoon", *ROWS], "cannot be read"),
    ],
)
def test_rows_that_cannot_be_read(
    rows: list[str], words: str | None, tmp_path: Path, in_empty_folder: Path
) -> None:
    """One line; a column that nobody reads may hold anything."""
    if words is None:
        assert len(read("ItemID", tmp_path, rows + ROWS)) == len(rows) + len(ROWS)
        return
    with pytest.raises(UserError, match=words):
        read("ItemID", tmp_path, rows)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (HEAD.replace("\t", ","), "separated by tabs or field_separator"),
        (HEAD.replace(":token", ":float", 1), "user_id is of type float, .* write user_id:token"),
        (HEAD.replace("item_id:token", "item_id:token_seq"), "item_id is of type token_seq"),
        (HEAD.replace(":", ": "), "is not name:type"),
        (HEAD.replace(":token", ""), "'user_id' is not name:type"),
    ],
)
@pytest.mark.parametrize("model", ["ItemID", "BPR"])
def test_headers_that_name_no_columns(
    head: str, words: str, model: str, tmp_path: Path, in_empty_folder: Path
) -> None:
    """Another separator than is said, names that are no text, no types."""
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.inter").write_text("\n".join([head, *ROWS]) + "\n")
    with pytest.raises(UserError, match=words):
        UniSIDConfig(model, "odd", settings={"data_path": str(tmp_path), "use_gpu": False})


def test_another_order_of_rows_is_the_same_data(
    tmp_path: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Histories by name are those of the file, however its rows stand, and a run made before recommends the same."""
    read("ItemID", tmp_path, ROWS)
    given = {"data_path": str(tmp_path), "epochs": 1, "show_progress": False, "use_gpu": False}
    folder = recbole_unisid.run("ItemID", "dirty", given, verbose=False)["run_dir"]
    ask = ["recommend", "--run", folder, "--user", "u7", "-k", "3"]
    assert main(ask) == 0
    before = capsys.readouterr().out
    shuffled = [ROWS[k] for k in np.random.default_rng(0).permutation(len(ROWS))]
    assert sorted(read("ItemID", tmp_path, shuffled)) == sorted(expected(ROWS))
    assert main(ask) == 0
    assert capsys.readouterr().out == before
    read("ItemID", tmp_path, [*ROWS, "u1\tnew\t4\t1700000000"])
    assert main(ask) == 2
    assert "other items" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "in_log", "in_table", "rows_left"),
    [
        ("ItemID", "18.0", "18", 120),
        ("SASRec", "0018", "18", 120),
        ("UniSID", "18", "0018", 120),
        ("SASRecF", "18.0", "18", 116),
    ],
)
def test_items_that_differ_in_form_alone_are_named_in_both_forms(
    model: str, in_log: str, in_table: str, rows_left: int, tmp_path: Path, in_empty_folder: Path
) -> None:
    """Once a run: they are two items, of which one has no text; a model of RecBole's that reads the table drops it."""
    folder = tmp_path / "forms"
    folder.mkdir()
    rows = [row.replace("\ti18\t", f"\t{in_log}\t").replace("\ti", "\t") for row in ROWS]
    (folder / "forms.inter").write_text("\n".join([HEAD, *rows]) + "\n")
    table = [f"{in_table if k == 18 else k}\tthing {k}\tkind{k % 3}" for k in range(30)]
    head = "item_id:token\ttitle:token_seq\tclass:token_seq"
    (folder / "forms.item").write_text("\n".join([head, *table]) + "\n")
    given = {"data_path": str(tmp_path), "epochs": 1, "show_progress": False, "use_gpu": False}
    given |= {"text_encoder": "lsa", "codebook_sizes": [4, 4]} if model == "UniSID" else {}
    result = recbole_unisid.run(model, "forms", given, verbose=False)
    assert result["data"]["interactions"] == rows_left
    log = (Path(result["run_dir"]) / "log.txt").read_text(encoding="utf-8")
    said = [line for line in log.splitlines() if "written" in line]
    assert len(said) == 1
    assert repr(in_log) in said[0]
    assert repr(in_table) in said[0]
    if model == "SASRecF":
        assert "4 of 120 interactions are left out" in said[0]


@pytest.mark.parametrize("model", ["SASRecF", "UniSID"])
def test_a_table_of_other_items_is_refused_with_both_forms(
    model: str, tmp_path: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No item of the log is in the table: neither a model without rows nor one without text."""
    folder = tmp_path / "forms"
    folder.mkdir()
    (folder / "forms.inter").write_text("\n".join([HEAD, *ROWS]) + "\n")
    table = "".join(f"I{k}\tthing {k}\tkind{k % 3}\n" for k in range(30))
    (folder / "forms.item").write_text("item_id:token\ttitle:token_seq\tclass:token_seq\n" + table)
    arguments = [f"--model={model}", "--dataset=forms", f"--data_path={tmp_path}", "--epochs=1"]
    assert main(["run", *arguments, *(["--text_encoder=lsa"] if model == "UniSID" else [])]) == 2
    said = capsys.readouterr()
    assert "'i0'" in said.out + said.err
    assert "'I0'" in said.out + said.err
    assert "forms" in said.err.splitlines()[-1]


#: Rows of user, item and time: one user has every item, all have, one user is all there is, one item is.
CROWDED = {
    "one": [(1, item, item) for item in range(12)]
    + [(u, (u * 3 + k) % 12, k) for u in range(2, 12) for k in range(5)],
    "all": [(user, (k + user) % 8, k) for user in range(1, 6) for k in range(8)],
    "alone": [(1, item, item) for item in range(4)],
    "one item": [(user, 1, k) for user in range(1, 6) for k in range(5)],
}


@pytest.mark.parametrize("who", CROWDED)
@pytest.mark.parametrize("model", ["ItemID", "UniSID", "TIGER", "GRU4Rec", "Pop", "BPR"])
def test_users_who_have_every_item(model: str, who: str, tmp_path: Path, in_empty_folder: Path) -> None:
    """Models that read histories are trained and measured; others sample, and say in a line what they lack."""
    (tmp_path / "x").mkdir()
    rows = [f"u{user}\ti{item}\t{time}" for user, item, time in CROWDED[who]]
    (tmp_path / "x" / "x.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows, ""])
    )
    titles = [f"i{item}\tThe film {item} about {item % 5}" for item in {item for _, item, _ in CROWDED[who]}]
    (tmp_path / "x" / "x.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *titles, ""]))
    given = {"data_path": str(tmp_path), "epochs": 1, "show_progress": False, "use_gpu": False}
    given |= {"text_encoder": "lsa", "codebook_sizes": [4, 4]} if model in {"UniSID", "TIGER"} else {}
    if model in {"Pop", "BPR"}:
        with pytest.raises(UserError, match=r"interacted with all items.*user_inter_num_interval") as raised:
            recbole_unisid.run(model, "x", given, verbose=False)
        assert "\n" not in str(raised.value)
        return
    result = recbole_unisid.run(model, "x", given, verbose=False)
    assert result["data"]["interactions"] == len(set(rows))
    assert 0 < result["test"]["full"]["mrr"] <= 1
    if who == "one item":  # nothing is left to recommend
        assert result["test"]["lists"] in (None, {"coverage@10": 0.0})


def test_a_column_with_a_line_break_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The form feed is no end of a line for a reader of tables, and is one for a terminal."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "x.inter").write_text("user_id:token\titem_id:token\nu1\ti1\nu1\ti2\n")
    (tmp_path / "x" / "x.item").write_text("item\x0c_id:token\ttitle:token_seq\ni1\tOne\n")
    assert main(["inspect", "x", f"--data_path={tmp_path}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "item _id" in line


def test_names_of_thousands_of_digits_are_ordered_as_text() -> None:
    """Python makes no number of them."""
    names = np.array(["[PAD]", "2", "1" * 5000, "10"])
    assert identifier_places(names).tolist() == [0, 3, 2, 1]
