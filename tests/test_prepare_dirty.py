"""Exports as shops write them: encodings, dates, decimal commas, stray quotes, one flat file, names in two forms."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from recbole_unisid.commands.main import main
from recbole_unisid.data.own_tables import prepare_from_tables
from recbole_unisid.data.sources.tables import open_table
from recbole_unisid.data.summary import Summary
from recbole_unisid.errors import UserError

COLUMNS = {"user": "buyer", "item": "sku", "time": "date"}
HEAD = "buyer,sku,date\n"

Prepare = Callable[..., Summary]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """Prepare a data set ``shop`` from the text, or bytes, of a CSV file."""

    def prepare(
        log: str | bytes, items: str | None = None, more: dict[str, str] | None = None, **said: str
    ) -> Summary:
        path = tmp_path / "log.csv"
        path.write_bytes(log if isinstance(log, bytes) else log.encode())
        if items is not None:
            (tmp_path / "items.csv").write_text(items, encoding="utf-8")
        return prepare_from_tables(
            path, None if items is None else tmp_path / "items.csv", {**COLUMNS, **(more or {})}, "shop",
            tmp_path / "data", progress=False, **said,
        )  # fmt: skip

    return prepare


def rows(summary: Summary, ending: str = "inter") -> list[list[str]]:
    """The cells of a prepared file below its header."""
    text = (summary.folder / f"{summary.name}.{ending}").read_text(encoding="utf-8")
    return [line.split("\t") for line in text.split("\n")[1:-1]]


def times(summary: Summary) -> dict[str, float]:
    return {item: float(time) for _, item, time in rows(summary)}


@pytest.mark.parametrize(
    ("log", "where"),
    [
        (HEAD + 'u1,a,1\nu1,"b,2\nu1,c,3\nu1,d,4\nu1,e,5\n', "line 3: a quotation mark"),
        (HEAD + 'u1,a,1\nu1,"b,2\nu1,c,3\nu1,"d,4\nu1,e,5\n', "line 3: a quotation mark"),
        (HEAD + 'u1,a,1\nu1,"b" x,2\nu1,c,3\n', "line 3: a quotation mark"),
        (HEAD + 'u1,"a\nb",1\nu1,b,"2\nu1,c,3\nu1,d,4"\n', "line 4: a quoted cell reaches to line 6"),
    ],
    ids=["never closed", "closed by another", "closed too soon", "rows within"],
)
def test_a_stray_quote_is_named_with_its_line(
    log: str, where: str, prepared: Prepare, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=where) as error:
        prepared(log)
    assert "--quotes=none" in str(error.value)
    assert not (tmp_path / "data").exists()


def test_titles_that_begin_with_a_quote_stay_apart(tmp_path: Path) -> None:
    lines = [f't{k}\t"Best" shirt {k}' if k in (3, 54) else f"t{k}\tshirt {k}" for k in range(60)]
    (tmp_path / "items.tsv").write_text("item_id\tname\n" + "\n".join(lines) + "\n")
    (tmp_path / "log.tsv").write_text("user_id\titem_id\n" + "".join(f"u\tt{k}\n" for k in range(60)))

    def prepare(quotes: str) -> Summary:
        return prepare_from_tables(
            tmp_path / "log.tsv", tmp_path / "items.tsv", {}, "shop", tmp_path, quotes=quotes, progress=False
        )

    with pytest.raises(UserError, match=r"items\.tsv, line 5"):
        prepare("csv")
    titles = dict(rows(prepare("none"), "item"))
    assert len(titles) == 60
    assert (titles["t3"], titles["t4"]) == ("''Best'' shirt 3", "shirt 4")
    with pytest.raises(UserError, match="neither csv nor none"):
        prepare("some")


def test_quotes_plain_cells_may_hold_everything(prepared: Prepare) -> None:
    items = 'sku,name\na,"two\nlines, with ""quotes"""\nb,5" pipe\n'
    with pytest.raises(UserError, match="--quotes=csv where the cell is meant so"):
        prepared(HEAD + "u1,a,1\nu1,b,2\n", items)
    summary = prepared(HEAD + 'u1,a,1\nu1,b,"2"\n', items, quotes="csv")
    assert rows(summary, "item") == [["a", "two lines, with ''quotes''"], ["b", "5'' pipe"]]


def test_marks_line_ends_and_missing_cells(prepared: Prepare) -> None:
    text = "buyer,sku,date\r\nu1,a,1\r\n,b,2\r\nu1,,3\r\n\r\nu1,b\r\nu1,b,4,5\r\nu1,b,6\r\nu1,b,6\r\n"
    summary = prepared(b"\xef\xbb\xbf" + text.encode())
    assert rows(summary) == [["u1", "a", "1"], ["u1", "b", "6"]]
    assert summary.skipped == {"no user": 1, "no item": 1, "blank line": 1, "wrong number of cells": 2}
    assert summary.dropped == {"repeats (exact)": 1}
    lost = sum(summary.skipped.values()) + sum(summary.dropped.values())
    assert summary.read["rows of interactions"] == summary.interactions + lost


WORDS = "Müsli „Früchte“ – fein, 5 €"


@pytest.mark.parametrize(
    ("encoding", "text", "named"),
    [
        ("utf-8", WORDS, None),
        ("utf-8-sig", WORDS, None),
        ("cp1252", WORDS, "cp1252"),
        ("latin-1", "Käse für Österreich, groß", "cp1252"),
        ("utf-16", WORDS, "utf-16"),
        ("utf-16-le", WORDS, "utf-16-le"),
        ("utf-16-be", WORDS, "utf-16-be"),
        ("cp1251", "Ложка столовая большая", "cp1251"),
        ("cp1250", "Łyżka stołowa żółta, gęś i źdźbło", "cp1250"),
    ],
)
def test_an_encoding_is_found_out_and_named(
    encoding: str, text: str, named: str | None, prepared: Prepare
) -> None:
    plain = "".join(f"u{k};i{k};2025-01-01;plain\n" for k in range(300))
    log = f"buyer;sku;date;name\n{plain}u1;x;2025-01-01;{text}\n"
    summary = prepared(log.encode(encoding), more={"title": "name"})
    assert dict(rows(summary, "item"))["x"] == text
    assert [note for note in summary.notes if "is read as" in note] == (
        [f"log.csv is read as {named}, as its bytes look: say --encoding=... if it is another"]
        if named
        else []
    )


def test_the_encoding_of_an_item_table_is_named(prepared: Prepare, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_bytes("sku;name\na;Käse\nb;Brötchen\n".encode("cp1252"))
    columns = {**COLUMNS, "title": "name"}
    (tmp_path / "log.csv").write_text(HEAD + "u1,a,1\nu1,b,2\n")
    summary = prepare_from_tables(
        tmp_path / "log.csv", tmp_path / "items.csv", columns, "shop", tmp_path / "data", progress=False
    )
    assert [note for note in summary.notes if "is read as" in note] == [
        "items.csv is read as cp1252, as its bytes look: say --encoding=... if it is another"
    ]


def test_an_encoding_that_is_said(prepared: Prepare) -> None:
    log = "buyer,sku,date,name\nu1,a,1,plain\nu1,b,2,Käse\n"
    summary = prepared(log.encode("cp850"), more={"title": "name"}, encoding="cp850")
    assert rows(summary, "item") == [["a", "plain"], ["b", "Käse"]]
    with pytest.raises(UserError, match=r"log\.csv, line 3 is not utf-8"):
        prepared(log.encode("cp1252"), encoding="utf-8")
    with pytest.raises(UserError, match="no encoding"):
        prepared(log, encoding="utf-99")


def test_a_damaged_line_does_not_change_the_others_encoding(prepared: Prepare) -> None:
    log = (
        "buyer,sku,date,name\nu1,a,1,Käse\nu1,b,2,Brötchen\n".encode() + b"u1,c\xff,3,Torte\nu1,d,4,\xffEis\n"
    )
    summary = prepared(log, more={"title": "name"})
    assert rows(summary, "item") == [["a", "Käse"], ["b", "Brötchen"], ["d", "Eis"]]
    assert summary.skipped == {"unusable item name": 1}


DAY = 1_758_153_600  # 2025-09-18


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-09-18", DAY),
        ("2025/09/18", DAY),
        ("2025/9/18 14:05", DAY + 50_700),
        ("18.09.2025", DAY),
        ("18.9.2025 14:05:33", DAY + 50_733),
        ("09/18/2025", DAY),
        ("9/18/2025 2:05 PM", DAY + 50_700),
        ("9/18/2025 12:05:01 a.m.", DAY + 301),
        ('"18-09-2025, 14:05"', DAY + 50_700),
        ('"Sep 18, 2025"', DAY),
        ('"September 18, 2025 at 2:05 pm"', DAY + 50_700),
        ("18 Sep 2025", DAY),
        ("18-SEP-2025 14:05:33", DAY + 50_733),
        ('"Thu, 18 Sep 2025 14:05:33 +0200"', DAY + 43_533),
        ("2025-09-18 14:05:33 UTC", DAY + 50_733),
        ("2025-09-18 14:05:33.250 UTC", DAY + 50_733.25),
        ("2025-09-18T14:05:33Z", DAY + 50_733),
        ("2025-09-18 14:05:33+02:00", DAY + 43_533),
        ("1758204333", DAY + 50_733),
    ],
)
def test_dates_in_the_forms_that_exports_have(text: str, seconds: float, prepared: Prepare) -> None:
    assert times(prepared(f"{HEAD}u1,a,{text}\n")) == {"a": seconds}


@pytest.mark.parametrize(
    "text",
    ["soon", "31.02.2025", "18.09.25", "Sep 2025", "2025-09-18 25:00", "2025-09-18 CEST", "Foo 18, 2025", "13:00 PM",
     "18.09.2025 14:05 Uhr", "18.09.2025 13:05 PM", "2025-9-18x", "1_000"],
)  # fmt: skip
def test_what_is_no_date_is_counted_and_named(text: str, prepared: Prepare) -> None:
    summary = prepared(f'{HEAD}u1,a,1\nu1,b,"{text}"\nu1,c,never\n')
    assert times(summary) == {"a": 1}
    assert summary.skipped == {"time is no number": 2}
    assert f"log.csv, line 3: '{text}' is no time" in summary.notes
    with pytest.raises(UserError, match="line 2: 'later' is no time"):
        prepared(HEAD + "u1,a,later\n")


def test_days_and_months_are_not_guessed(prepared: Prepare) -> None:
    unclear = HEAD + "u1,a,01/02/2025\nu1,b,03/04/2025\n"
    with pytest.raises(UserError, match=r"log\.csv, line 2: 01/02/2025 may have .* --dates=day-first"):
        prepared(unclear)
    assert times(prepared(unclear, dates="day-first"))["a"] == 1_738_368_000  # 1 February
    assert times(prepared(unclear, dates="month-first"))["a"] == 1_735_776_000  # 2 January
    told = "".join(f"u1,i{k},01/02/2025\n" for k in range(20_000)) + "u1,z,31/01/2025\n"
    assert times(prepared(HEAD + told))["i0"] == 1_738_368_000
    with pytest.raises(UserError, match=r"line 3: 31/12/2024.*line 2: 12/31/2024"):
        prepared(HEAD + "u1,a,12/31/2024\nu1,b,31/12/2024\n")
    with pytest.raises(UserError, match="neither day-first nor month-first"):
        prepared(unclear, dates="european")


def test_one_flat_export_makes_the_items_too(prepared: Prepare) -> None:
    log = "buyer,sku,date,name,eur\nu1,a,1,,2\nu1,b,2,Pear,\nu2,a,3,Apple,2.5\nu2,c,4,Plum,x\nu3,,5,Fig,1\n"
    summary = prepared(log, more={"text": "name", "price": "eur"})
    assert rows(summary, "item") == [["a", "Apple", "2"], ["b", "Pear", ""], ["c", "Plum", ""]]
    assert summary.skipped == {"no item": 1}
    summary = prepared(log)
    assert not (summary.folder / "shop.item").exists()
    assert (
        "no item text: name, eur of the interactions are not used; name them with --columns=text=COLUMN"
        in summary.notes
    )


def test_names_that_differ_in_form_alone_are_said(prepared: Prepare) -> None:
    log = HEAD + "u1,18.0,1\nu1,0019,2\nu1,20,3\nu1,ab 1,4\nu1,zz,5\n"
    summary = prepared(log, "sku,name\n18,One\n19,Two\n20,Three\nAB1,Four\n")
    assert dict(rows(summary, "item")) == {"18.0": "", "0019": "", "20": "Three", "ab 1": "", "zz": ""}
    said = " ".join(summary.notes)
    assert "4 of the items in the interactions are not in items.csv" in said
    assert (
        "3 items are written otherwise in items.csv, such as '0019' in the interactions and '19' there"
        in said
    )


def test_identifiers_and_numbers_stay_as_they_are(prepared: Prepare) -> None:
    names = ["1000", "01000", "18.0", "0018", "18", "9223372036854775809", "1e3", "0x10", "True"]
    log = (
        HEAD
        + "".join(f"u{name},{name},5\n" for name in names)
        + "".join(f"u,i{k},{k}\n" for k in range(30_000))
    )
    summary = prepared(log + "u,last,9.99\n")
    assert [row[1] for row in rows(summary)[: len(names)]] == names
    assert times(summary)["last"] == 9.99


def test_json_lines_keep_every_identifier(tmp_path: Path) -> None:
    late = [
        '{"user_id": 9223372036854775809, "item_id": "12", "timestamp": 5}',
        '{"user_id": 7, "item_id": 12.0}',
    ]
    lines = [f'{{"user_id": {k}, "item_id": "0{k}", "timestamp": {k}}}' for k in range(40_000)]
    (tmp_path / "log.jsonl").write_text(
        "\n".join([*lines, '{"user_id": 7, "item_id": "a", "timestamp": 9.99}', *late])
    )
    summary = prepare_from_tables(tmp_path / "log.jsonl", None, {}, "shop", tmp_path, progress=False)
    found = rows(summary)
    assert found[7:9] == [["7", "07", "7"], ["7", "a", "9.99"]]
    assert found[-1] == ["9223372036854775809", "12", "5"]
    assert (summary.interactions, summary.skipped) == (40_002, {"no time": 1})


def test_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    draw = random.Random(3)
    pairs = [(f"u{draw.randrange(2000)}", f"i{k}") for k in range(50_000)]
    text = "".join(
        f'{{"user_id": "{u}", "item_id": "{i}", "timestamp": 86400, "x": "{"y" * 200}"}}\n' for u, i in pairs
    )
    (tmp_path / "log.jsonl").write_text(text)
    found = rows(prepare_from_tables(tmp_path / "log.jsonl", None, {}, "shop", tmp_path, progress=False))
    expected: dict[str, list[str]] = {}
    for user, item in pairs:
        expected.setdefault(user, []).append(item)
    assert [row[:2] for row in found] == [[user, item] for user, items in expected.items() for item in items]


def test_a_second_prepare_asks_before_it_replaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.csv").write_text("user,item\nu,a\n")
    words = ["prepare", f"--from-csv={tmp_path / 'shop.csv'}", f"--data_path={tmp_path}"]
    assert main(words) == 0
    (tmp_path / "shop.csv").write_text("user,item\nu,a\nu,b\n")
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--dry-run"]) == 0
    assert len((tmp_path / "shop" / "shop.inter").read_text().splitlines()) == 2
    assert main([*words, "--overwrite"]) == 0
    assert len((tmp_path / "shop" / "shop.inter").read_text().splitlines()) == 3
    assert main(["prepare", "ml-100k", f"--data_path={tmp_path}", "--dates=day-first"]) == 2
    assert "--dates goes with --from-csv" in capsys.readouterr().err


def write_shop(path: Path) -> None:
    """A shop of 400 users and 300 items as a German spreadsheet writes it."""
    draw = random.Random(11)
    lines = ["Kunde;Artikelnr;Bestelldatum;Bezeichnung;Warengruppe;Marke;Preis"]
    for user in range(400):
        for step in range(8):
            item = (user * 37 + step * step * 11) % 300
            day = f"{1 + step * 3:02}.{1 + user % 12:02}.2025 {draw.randrange(24):02}:{draw.randrange(60):02}"
            price = (
                f'"{item // 7 + 1}.{item:03},50 €"' if item % 5 == 0 else f"{item % 40 + 1},{item % 100:02}"
            )
            lines.append(f"K{user:04};{item:05};{day};Müsli „Sorte {item}“;Frühstück;Bäcker & Söhne;{price}")
    path.write_bytes("\r\n".join([*lines, ""]).encode("cp1252"))


SHOP_COLUMNS = (
    "user=Kunde,item=Artikelnr,time=Bestelldatum,title=Bezeichnung,"
    "category=Warengruppe,brand=Marke,price=Preis"
)


def test_a_german_shop_in_two_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_shop(tmp_path / "bestellungen.csv")
    assert main(["prepare", "laden", "--from-csv=bestellungen.csv", f"--columns={SHOP_COLUMNS}"]) == 0
    shown = capsys.readouterr().out
    assert "bestellungen.csv is read as cp1252" in shown
    folder = tmp_path / "dataset" / "laden"
    header, *items = (folder / "laden.item").read_text(encoding="utf-8").splitlines()
    assert header == "item_id:token\ttitle:token_seq\tcategories:token_seq\tbrand:token\tprice:float"
    assert len(items) == 300
    assert "00010\tMüsli „Sorte 10“\tFrühstück\tBäcker & Söhne\t2010.5" in items
    log = (folder / "laden.inter").read_text().splitlines()
    assert len(log) == 1 + 400 * 8
    assert {line.split("\t")[0] for line in log[1:]} == {f"K{user:04}" for user in range(400)}

    assert main(["run", "--model=ItemID,Pop", "--dataset=laden", "--epochs=1"]) == 0
    assert "NDCG" in capsys.readouterr().out


def test_delimiters_of_a_table(tmp_path: Path) -> None:
    for name, text in (("a.csv", "u;i\n1;2\n"), ("b.tsv", "u\ti\n1\t2\n"), ("c.txt", "u|i\n1|2\n")):
        (tmp_path / name).write_text(text)
        assert open_table(tmp_path / name).columns == ["u", "i"]
