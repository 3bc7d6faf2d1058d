"""The subcommands as a newcomer uses them: from a CSV to a report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from report_material import Material

from recbole_unisid.commands.main import SUBCOMMANDS, main

QUICK = ["--text_encoder=lsa", "--codebook_sizes=[8,8,8]", "--epochs=1", "--show_progress=false"]


@pytest.fixture
def shop(in_empty_folder: Path) -> Path:
    """Two tables as a shop might have them, in the folder that we stand in."""
    generator = np.random.default_rng(0)
    words = ["red", "blue", "shirt", "shoe", 'a "nice" hat', "Müller's, scarf"]
    items = [
        f"{k},{words[k % 6]} {words[k % 5]} {k}".replace('"', '""').replace(",", ',"', 1) + '"'
        for k in range(30)
    ]
    (in_empty_folder / "items.csv").write_text("sku,name\n" + "\n".join(items) + "\n", encoding="utf-8")
    rows = [
        f"b{buyer},{item},2024-01-{1 + day:02d}T10:00:00"
        for buyer in range(25)
        for day, item in enumerate(generator.permutation(30)[:6])
    ]
    (in_empty_folder / "interactions.csv").write_text("buyer,sku,date\n" + "\n".join(rows) + "\n")
    return in_empty_folder


def test_from_a_csv_to_a_report(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """prepare, inspect, run, tokenize, report: each ends well and leaves what it says."""
    columns = "--columns=user=buyer,item=sku,time=date,text=name"
    tables = ["prepare", "shop", "--from-csv=interactions.csv", "--items=items.csv", columns]
    assert main([*tables, "--dry-run"]) == 0
    assert not (shop / "dataset").exists()
    assert main(tables) == 0
    assert main(["inspect", "shop", "--format=json"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed[printed.rindex("\n{") :])["users"] == 25
    assert main([*tables, "--overwrite=false"]) == 2
    assert main(["prepare", "amazon-beauty", "--check_counts=no"]) == 2
    refused = capsys.readouterr().err.splitlines()
    assert "say --overwrite to replace it" in refused[-2]
    assert "--check_counts=no is neither true nor false" in refused[-1]
    assert main(["run", "--model=UniSID,Pop", "--dataset=shop", "--seeds=1", *QUICK]) == 0
    assert "UniSID" in capsys.readouterr().out
    assert main(["tokenize", "--dataset=shop", *QUICK[:2], "--show_progress=false"]) == 0
    assert len((shop / "runs/shop/tokens/residual_kmeans/tokens.tsv").read_text().splitlines()) == 31
    assert main(["report", "runs/shop", "--to=page", "--latex"]) == 0
    assert "\\begin{tabular}" in capsys.readouterr().out
    assert {path.name for path in (shop / "page").iterdir()} == {
        "report.html",
        "leaderboard.md",
        "leaderboard.csv",
    }


def test_what_cannot_be_done_does_not_keep_others_from_being_done(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """30 items have no 4 tuples to share fairly, and a model of one's own fails: Pop is run and reported."""
    columns = "--columns=user=buyer,item=sku,time=date,text=name"
    assert main(["prepare", "shop", "--from-csv=interactions.csv", "--items=items.csv", columns]) == 0
    (shop / "broken_one.py").write_text(
        "from recbole_unisid.models.unisid import ItemID\n\n\nclass Broken(ItemID):\n"
        "    def calculate_loss(self, interaction):\n        return 1 / 0\n"
    )
    options = [
        "--dataset=shop",
        QUICK[0],
        *QUICK[2:],
        "--codebook_sizes=[2,2]",
        "--distances=[cosine,euclidean]",
    ]
    models = "--model=UniSID,broken_one:Broken,Pop"
    capsys.readouterr()
    assert main(["run", models, "--collisions=balanced", *options]) == 2
    printed = capsys.readouterr()
    line = printed.err.strip().splitlines()[-1]
    assert "2 of 3 runs could not be done" in line
    assert "Traceback" not in printed.err
    for named in ("UniSID, seed 2020", "ZeroDivisionError"):
        assert named in line
    (board,) = (shop / "runs/shop").glob("benchmark-*/leaderboard.csv")
    assert str(board.parent.relative_to(shop)) in line
    assert "Pop" in board.read_text()


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help prints the usage and ends with 0."""
    assert main([name, "--help"]) == 0
    assert f"usage: recbole-unisid {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["inspekt"], ["inspekt", "Did you mean inspect"]),
        (["prepare", "amazon-beuty"], ["amazon-beuty", "amazon-beauty"]),
        (["prepare"], ["name"]),
        (["prepare", "shop", "--from-csv=absent.csv"], ["absent.csv"]),
        (["prepare", "shop", "--form-csv=x"], ["form_csv", "Did you mean"]),
        (["prepare", "shop", "--from-csv=a.csv", "--raw=originals"], ["--raw", "--from-csv"]),
        (["prepare", "amazon-beauty", "--items=items.csv"], ["--items", "--from-csv"]),
        (["inspect"], ["name"]),
        (["inspect", "ml-100k", "--format=xml"], ["xml"]),
        (["report"], ["runs"]),
        (["tokenize", "--tokenizer=rqkmeans", *QUICK[:2]], ["rqkmeans", "residual_kmeans"]),
        (["tokenize", "--tokenizer=file", *QUICK[:2]], ["tokens_file"]),
    ],
)
def test_bad_arguments(
    arguments: list[str], words: list[str], in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on standard error and status 2."""
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert all(word in error for word in words), error


def test_the_script_of_the_checkout() -> None:
    """``run_recbole_unisid.py`` is the run command, without a traceback when it is misused."""
    script = Path(__file__).resolve().parents[1] / "run_recbole_unisid.py"
    done = subprocess.run([sys.executable, script, "--modle=x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Did you mean model" in done.stderr
    assert "Traceback" not in done.stderr


def test_published_codes_run_end_to_end(shop: Path) -> None:
    """Codes of others in UniSID, and out again unchanged as an index."""
    codes = {f"{k}": [f"<a_{k % 4}>", f"<b_{k % 7}>", f"<c_{k // 7}>"] for k in range(30)}
    (shop / "codes.index.json").write_text(json.dumps(codes))
    columns = "--columns=user=buyer,item=sku,time=date,text=name"
    assert main(["prepare", "shop", "--from-csv=interactions.csv", "--items=items.csv", columns]) == 0
    given = ["--dataset=shop", "--tokenizer=file", "--tokens_file=codes.index.json", QUICK[0], QUICK[3]]
    assert main(["run", "--model=UniSID", "--epochs=1", *given]) == 0
    assert main(["tokenize", *given]) == 0
    assert json.loads((shop / "runs/shop/tokens/file/index.json").read_text()) == codes


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_help_and_a_misspelt_option_are_answered_before_torch(command: str) -> None:
    """By every subcommand."""
    done = before_torch([[command, "--help"], [command, "--no_such_option=1"]])
    assert done.returncode == 0, done.stderr
    assert "usage: recbole-unisid" in done.stdout
    assert "recbole-unisid: " in done.stderr


def test_reports_and_boards_are_made_without_torch(in_empty_folder: Path) -> None:
    """They read finished runs, tokens among them."""
    Material(in_empty_folder, users=40, items=30, examples=False, slice_samples=5).write_runs(seeds=(2020,))
    done = before_torch([["report", "runs", "--to=page"], ["board", "--small", "runs", "--to", "site"]])
    assert done.returncode == 0, done.stderr
    assert (in_empty_folder / "page" / "report.html").is_file()
    assert (in_empty_folder / "site" / "index.html").is_file()


def before_torch(commands: list[list[str]]) -> subprocess.CompletedProcess[str]:
    """Run some commands in a process of their own, whose status is not 0 where one imports torch or RecBole."""
    code = (
        "import json, sys; from recbole_unisid.commands.main import main\n"
        "for command in json.loads(sys.argv[1]): main(command)\n"
        "sys.exit(', '.join({'torch', 'recbole', 'scipy', 'sklearn', 'transformers'} & set(sys.modules)) or 0)"
    )
    given = [sys.executable, "-c", code, json.dumps(commands)]
    return subprocess.run(given, capture_output=True, text=True, check=False)
