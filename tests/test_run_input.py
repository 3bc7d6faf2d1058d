"""Bad input is one clear line; awkward input is a right result."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.commands.options import parse_options
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset

QUICK = ["--text_encoder=lsa", "--codebook_sizes=[8,8,8]", "--epochs=1", "--show_progress=false"]


@pytest.fixture
def data(ml_mini: Path, in_empty_folder: Path) -> Path:
    """A data path of one's own, with ml-mini in it, to spoil."""
    shutil.copytree(ml_mini / "ml-mini", in_empty_folder / "dataset" / "ml-mini")
    return in_empty_folder / "dataset"


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command; it must end with one line and status 2."""
    capsys.readouterr()
    assert main(["run", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("recbole-unisid: ")
    return error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model=SASRek"], ["SASRek", "Did you mean SASRec"]),
        (["--model=KSR"], ["KSR", "knowledge graph"]),
        (["--datset=x"], ["datset", "Did you mean dataset"]),
        (["--dataset=nope"], ["nope", "ml-mini"]),
        (["--dataset=ml-mimi"], ["ml-mimi", "Did you mean ml-mini"]),
        (["--learning_rat=1"], ["learning_rat", "Did you mean learning_rate"]),
        (["--dataset=ml-mini", "--recipe=best"], ["recipe", "best"]),
        (["--dataset=ml-mini", "--model=ItemID", "--loss=hinge"], ["hinge", "sampled_softmax"]),
        (["--dataset=ml-mini", "--valid_metric=NDCG@7"], ["NDCG@7", "topk"]),
        (["--dataset=ml-mini", "--text_fields=[titel]"], ["titel"]),
        (["--dataset=ml-mini", "--save_dataset=true"], ["save_dataset", "pickle"]),
        (["--dataset=ml-mini", "--seeds=many"], ["many"]),
        (["--config_files=absent.yaml"], ["absent.yaml"]),
        (["--dataset=../ml-mini"], ["ml-mini"]),
        (["model=UniSID"], ["--key=value"]),
        (["--epochs"], ["--epochs="]),
    ],
)
def test_one_clear_line(
    arguments: list[str], words: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong and how to mend it, status 2, no traceback."""
    line = fails(capsys, *arguments)
    assert all(word in line for word in words), line


def test_no_time_column(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An .inter without times is refused by naming the column."""
    path = data / "ml-mini" / "ml-mini.inter"
    rows = [line.rsplit("\t", 1)[0] for line in path.read_text().splitlines()]
    path.write_text("\n".join(rows) + "\n")
    assert "timestamp" in fails(capsys, "--dataset=ml-mini", "--model=SASRec")


@pytest.mark.parametrize("content", ["", "item_id:token\tmovie_title:token_seq\n"])
def test_empty_item_file(content: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An item file without rows is named."""
    (data / "ml-mini" / "ml-mini.item").write_text(content)
    assert "ml-mini.item" in fails(capsys, "--dataset=ml-mini", *QUICK)


def test_no_text_at_all(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All titles empty: the models of text say so, those without run."""
    path = data / "ml-mini" / "ml-mini.item"
    ids = [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]
    path.write_text("item_id:token\ttitle:token_seq\n" + "".join(f"{item}\t\n" for item in ids))
    assert "text" in fails(capsys, "--dataset=ml-mini", *QUICK)
    assert main(["run", "--model=ItemID", "--dataset=ml-mini", "--epochs=1", "--show_progress=false"]) == 0


def test_a_damaged_item_file_costs_no_training(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model without text reads titles from it, and finds out before it trains."""
    path = data / "ml-mini" / "ml-mini.item"
    path.write_text(path.read_text() + "one\ttab\ttoo\tmany\there\n")
    arguments = ["--dataset=ml-mini", "--model=ItemID", "--epochs=1", "--show_progress=false"]
    assert "columns where the header" in fails(capsys, *arguments)
    (log,) = Path("runs").rglob("log.txt")
    assert "epoch" not in log.read_text()


def test_an_item_file_without_text_is_no_error(data: Path) -> None:
    """Numbers alone: items are shown by their names, by a model that reads no text."""
    path = data / "ml-mini" / "ml-mini.item"
    ids = [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]
    path.write_text("item_id:token\theight:float\n" + "".join(f"{item}\t1.5\n" for item in ids))
    arguments = ["--dataset=ml-mini", "--model=ItemID", "--epochs=1", "--show_progress=false"]
    assert main(["run", *arguments]) == 0
    (table,) = Path("runs").rglob("items.tsv")
    item, _, title, _ = table.read_text().splitlines()[1].split("\t")
    assert title == item


def test_an_item_file_in_another_encoding(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`encoding` is that of all files of the data set."""
    path = data / "ml-mini" / "ml-mini.item"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].split("\t")[0] + "\tCrème brûlée" + "\t" * (lines[0].count("\t") - 1)
    path.write_text("\n".join(lines) + "\n", encoding="latin-1")
    assert "encoding" in fails(capsys, "--dataset=ml-mini", *QUICK)
    assert main(["run", "--dataset=ml-mini", "--encoding=latin-1", *QUICK]) == 0
    assert "Crème brûlée" in next(Path("runs").rglob("items.tsv")).read_text(encoding="utf-8")


def test_one_item_without_text_is_no_error(data: Path) -> None:
    """It gets the zero vector and codes like any other."""
    path = data / "ml-mini" / "ml-mini.item"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].split("\t")[0] + "\t\t\t"
    path.write_text("\n".join(lines) + "\n")
    assert main(["run", "--dataset=ml-mini", *QUICK]) == 0


@pytest.mark.parametrize("value", ["nan", "", "yesterday"])
def test_bad_time(value: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A time that is no number is refused with the file's name."""
    path = data / "ml-mini" / "ml-mini.inter"
    lines = path.read_text().splitlines()
    lines[5] = lines[5].rsplit("\t", 1)[0] + "\t" + value
    path.write_text("\n".join(lines) + "\n")
    assert "ml-mini.inter" in fails(capsys, "--dataset=ml-mini", "--model=ItemID")


def test_awkward_names_stay_as_they_are(in_empty_folder: Path) -> None:
    """Quotes, "NA" and "null" are names like others: no line is swallowed, none becomes missing."""
    folder = in_empty_folder / "dataset" / "odd"
    folder.mkdir(parents=True)
    items = ['"quoted', "NA", "null", "None", 'a"b', "0012"]
    rows = [f"u{u}\t{items[(u + t) % 6]}\t{t}" for u in range(4) for t in range(5)]
    (folder / "odd.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(rows) + "\n"
    )
    titles = "".join(f'{item}\t"odd" title of {item}\n' for item in items)
    (folder / "odd.item").write_text("item_id:token\ttitle:token_seq\n" + titles)
    dataset = load_dataset(UniSIDConfig("ItemID", "odd"))
    dataset.build_sequences()
    assert set(dataset.sequences.item_ids[1:].tolist()) == set(items)
    assert len(dataset.sequences.items) == 20
    assert main(["run", "--dataset=odd", *QUICK]) == 0


def test_exact_times_keep_the_order_that_float32_loses(in_empty_folder: Path) -> None:
    """Seconds since 1970 differ by one: the later file line comes first in time."""
    folder = in_empty_folder / "dataset" / "close"
    folder.mkdir(parents=True)
    rows = [f"u\ti{k}\t{1_700_000_010 - k}" for k in range(6)]
    (folder / "close.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(rows) + "\n"
    )
    order = {}
    for exact in (True, False):
        dataset = load_dataset(UniSIDConfig("ItemID", "close", settings={"exact_times": exact}))
        dataset.build_sequences()
        order[exact] = [dataset.sequences.item_ids[i] for i in dataset.sequences.items]
    assert order[True] == ["i5", "i4", "i3", "i2", "i1", "i0"]
    assert order[False] == ["i0", "i1", "i2", "i3", "i4", "i5"]


def test_benchmark_files_and_given_vectors(in_empty_folder: Path) -> None:
    """RecBole's pre-split rows and its ``.itememb`` vectors, for a model of ours and one of RecBole's."""
    folder = in_empty_folder / "dataset" / "split"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    parts: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for user in range(12):
        items = generator.permutation(20)[:7]
        for cut in range(1, 7):
            part = {6: "test", 5: "valid"}.get(cut, "train")
            history = " ".join(f"i{item}" for item in items[:cut])
            parts[part].append(f"u{user}\t{history}\ti{items[cut]}\n")
    for part, rows in parts.items():
        (folder / f"split.{part}.inter").write_text(header + "".join(rows))
    vectors = generator.normal(size=(20, 8))
    lines = [f"i{k}\t" + " ".join(f"{x:.6f}" for x in vectors[k]) + "\n" for k in range(20)]
    (folder / "split.itememb").write_text("iid:token\titem_emb:float_seq\n" + "".join(lines))
    settings: dict[str, Any] = {
        "benchmark_filename": ["train", "valid", "test"],
        "additional_feat_suffix": ["itememb"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"], "itememb": ["iid", "item_emb"]},
        "alias_of_item_id": ["iid", "item_id_list"],
        "preload_weight": {"iid": "item_emb"},
        "epochs": 1,
        "show_progress": False,
    }
    ours = settings | {"text_encoder": "preload", "codebook_sizes": [4, 4, 4]}
    result = recbole_unisid.run("UniSID", "split", ours, verbose=False)
    counts = {"users": 12, "items": 20, "interactions": 84, "train_targets": 48}
    assert {name: result["data"][name] for name in counts} == counts
    assert result["protocol"]["split"] == "benchmark_files"
    assert result["protocol"]["description"] == "pre-split files: train, valid, test"
    for key, value in (
        ("split", "global_time"),
        ("ties", "shuffled:7"),
        ("user_inter_num_interval", "[5,inf)"),
        ("rm_dup_inter", "first"),
        ("val_interval", {"user_id": "[1,2]"}),
    ):
        with pytest.raises(
            UserError, match=re.escape(f"{key}={value} has no effect with benchmark_filename")
        ):
            recbole_unisid.run("UniSID", "split", ours | {key: value}, verbose=False)
    with pytest.raises(UserError, match=r"eval_args: split=.* has no effect with benchmark_filename"):
        recbole_unisid.run(
            "GRU4Rec", "split", settings | {"eval_args": {"split": {"RS": [8, 1, 1]}}}, verbose=False
        )
    with pytest.raises(UserError, match=r"alias_of_item_id=\[item_id_list\]"):
        recbole_unisid.run("GRU4Rec", "split", settings | {"alias_of_item_id": ["iid"]}, verbose=False)
    with pytest.raises(UserError, match="Pop reads loose interactions"):
        recbole_unisid.run("Pop", "split", settings, verbose=False)
    other = recbole_unisid.run("GRU4Rec", "split", settings, verbose=False)
    assert other["data"] == result["data"]
    assert result["test"]["full"]["recall@20"] == other["test"]["full"]["recall@20"] == 1.0
    user, history, item = parts["test"][-1].rstrip("\n").split("\t")
    twin = f"{user}\t{history}\ti{(int(item[1:]) + 1) % 20}\n"  # the same history, another target
    (folder / "split.test.inter").write_text(header + "".join([*parts["test"], twin]))
    with pytest.raises(UserError, match=rf"not prefixes of one sequence per user \(user {user}\)"):
        recbole_unisid.run("GRU4Rec", "split", settings, verbose=False)


@pytest.mark.parametrize(("models", "seeds"), [("Pop,Pop", [7]), ("Pop", [7, 7])])
def test_a_run_is_asked_for_once(models: str, seeds: list[int], ml_mini: Path, in_empty_folder: Path) -> None:
    """A table refuses the same run twice; that is said before anything is trained."""
    settings = {"data_path": str(ml_mini), "seeds": seeds, "show_progress": False}
    with pytest.raises(UserError, match="Pop with seed 7 is asked for twice"):
        recbole_unisid.run(models, "ml-mini", settings, verbose=False)
    assert not Path("runs").exists()


def test_options() -> None:
    """Values may hold equals signs, come after a blank, and not be given twice."""
    assert parse_options(["--a=b=c", "--d", "e"]) == {"a": "b=c", "d": "e"}
    with pytest.raises(UserError, match="twice"):
        parse_options(["--a=1", "--a=2"])


def test_flags_may_be_denied() -> None:
    """``--overwrite=false`` overwrites nothing, and what is neither yes nor no is refused."""
    assert parse_options(["--overwrite=false", "--dry-run=True", "--small=FALSE"]) == {"dry_run": "True"}
    for word in ("no", "0", ""):
        with pytest.raises(UserError, match=f"--dry_run={word} is neither true nor false"):
            parse_options([f"--dry-run={word}"])


def test_help_and_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Both say what there is, without a run."""
    assert main(["--help"]) == 0
    assert "run" in capsys.readouterr().out
    assert main(["run", "--help"]) == 0
    assert "--seeds" in capsys.readouterr().out
    assert main(["run", "--list-models"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("UniSID", "DenseText", "SASRec", "Pop"))


def test_command_line_settings_are_not_code(in_empty_folder: Path, ml_mini: Path) -> None:
    """RecBole evaluates values as Python; ours are literals."""
    value = "__import__('os').mkdir('made')"
    config = UniSIDConfig("ItemID", "ml-mini", settings={"data_path": str(ml_mini), "wandb_project": value})
    assert config["wandb_project"] == value
    assert not Path("made").exists()


def test_the_text_that_was_named_is_read(data: Path, tmp_path: Path) -> None:
    """Not a title beside it; the run says what it reads, and what it does not."""
    people = [f"u{user}" for user in range(20)]
    rows = [f"{user},i{(at * 3 + number) % 12},{at}" for number, user in enumerate(people) for at in range(5)]
    Path("bought.csv").write_text("\n".join(["user,item,time", *rows]))
    items = [f"i{number},name {number},colour {number % 3},note {number}" for number in range(12)]
    Path("items.csv").write_text("\n".join(["item,name,colour,notes", *items]))
    plain = ["--text_encoder=lsa", "--show_progress=false"]
    for name, columns in (("asked", ["--columns=text=notes+name"]), ("usual", [])):
        given = ["--from-csv=bought.csv", "--items=items.csv", "--data_path=dataset"]
        assert main(["prepare", name, *given, *columns]) == 0
        assert main(["run", "--model=NearestText", f"--dataset={name}", "--data_path=dataset", *plain]) == 0
    texts, logs = (
        {path.parts[1]: path.read_text() for path in Path("runs").rglob(of)}
        for of in ("items.tsv", "log.txt")
    )
    assert "note 1; name 1" in texts["asked"]
    assert "note" not in texts["usual"]
    assert "text of items: notes; name\n" in logs["asked"]
    assert "text of items: name (not read: colour, notes)" in logs["usual"]


def test_where_nothing_validates_nobody_says_so(
    in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users of three interactions: the last epoch is kept, screen and log say why, and --tune has nothing to go by."""
    rows = [f"u{user}\ti{(user + at * at) % 9}\t{at}" for user in range(30) for at in range(3)]
    Path("dataset/short").mkdir(parents=True)
    header = "user_id:token\titem_id:token\ttimestamp:float"
    Path("dataset/short/short.inter").write_text("\n".join([header, *rows]) + "\n")
    given = [
        "--model=ItemID",
        "--dataset=short",
        "--data_path=dataset",
        "--epochs=2",
        "--show_progress=false",
    ]
    assert main(["run", *given]) == 0
    said, (log,) = capsys.readouterr().out, Path("runs").rglob("log.txt")
    assert "nothing was validated: the last epoch is kept" in said
    assert "best epoch by validation" not in said
    assert "nothing was validated: the last epoch of 2 is kept" in log.read_text()
    assert "users of four interactions or more" in log.read_text()
    assert "nothing to validate on" in fails(capsys, *given, "--tune=2")
    assert not list(Path("runs").rglob("best.yaml"))
