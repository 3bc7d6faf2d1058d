"""Recommendations are the evaluator's, from the command and from Python."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import read_by

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.config.defaults import read_yaml
from recbole_unisid.data.split import TEST
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import PrefixRowDataset
from recbole_unisid.recbole_adapter.loaders import HistoryLoader
from recbole_unisid.serving.add_items import add_items
from recbole_unisid.serving.recommend import best_items, nearest_in_history, recommend
from recbole_unisid.serving.requests import ItemLookup, Requests, parse_history

TITLES = ["[PAD]", "Fargo", "Good, the Bad and the Ugly, The", "Bad", "Heat", "Heat", "Alien; Director's Cut"]
NAMES = ItemLookup(["[PAD]", "10", "20", "30", "40", "50", "60"], TITLES)


@torch.no_grad()
def evaluated_lists(run_dir: Path, k: int) -> dict[str, list[str]]:
    """The best k unseen items of every test user, by the evaluator's loader and RecBole's full-sort scores."""
    settings = read_yaml(run_dir / "config.yaml")
    config = UniSIDConfig(settings["model"], settings["dataset"], settings | {"use_gpu": False})
    dataset = PrefixRowDataset(config)
    dataset.build_sequences()
    sequences = dataset.sequences
    model = recbole_unisid.load(run_dir).model
    lists = {}
    for batch, _, _, _ in HistoryLoader(config, dataset, dataset.split.targets(TEST)):
        scores = model.full_sort_predict(batch)
        for row, user in enumerate((batch[dataset.uid_field] - 1).tolist()):
            seen = sequences.of(user)[:-1]
            unseen = np.setdiff1d(np.arange(1, sequences.n_items + 1), seen)
            order = np.argsort(-scores[row].numpy()[unseen], kind="stable")
            lists[str(sequences.user_ids[user])] = sequences.item_ids[unseen[order[:k]]].tolist()
    return lists


@pytest.mark.parametrize("model", ["UniSID", "ItemID", "DenseText"])
def test_the_list_is_the_evaluators(
    model: str, served_runs: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command's top 10 of every user, one item left out, is what the evaluation ranked highest."""
    folder = served_runs(model)
    expected = evaluated_lists(folder, 10)
    (tmp_path / "users.txt").write_text("\n".join(expected) + "\n")
    arguments = [f"--run={folder}", f"--file={tmp_path / 'users.txt'}", "--leave_out=1", "--format=jsonl"]
    assert main(["recommend", *arguments, "-k", "10"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["user"] for line in lines] == list(expected)
    scores = [[item["score"] for item in line["items"]] for line in lines]
    for line, own in zip(lines, scores, strict=True):
        found = [item["item_id"] for item in line["items"]]
        swapped = [a != b for a, b in zip(found, expected[line["user"]], strict=True)]
        gaps = np.abs(np.diff(own, append=own[-1]))
        assert not any(swapped) or gaps.min() < 1e-5
        assert own == sorted(own, reverse=True)


def test_seen_items_are_kept_or_left_out(served_runs: Callable[[str], Path]) -> None:
    """Filtered, no item of the history is recommended, however long; kept, the raw order of scores."""
    run = recbole_unisid.load(served_runs("UniSID"))
    assert run.sequences is not None
    histories = [np.arange(1, 120), run.sequences.of(0)]
    for history, found in zip(histories, recommend(run, histories, 50), strict=True):
        assert not set(history.tolist()) & {one.item for one in found}
    kept = recommend(run, histories, 5, seen="keep")
    order = np.argsort(-run.scores(histories)[:, 1:], axis=1, kind="stable") + 1
    assert [[one.item for one in found] for found in kept] == order[:, :5].tolist()
    everything = recommend(run, histories[:1], run.n_items)[0]
    assert len(everything) == run.n_items - 119


@pytest.mark.parametrize(("k", "seen"), [(0, "filter"), (-1, "filter"), (10**9, "filter"), (5, "maybe")])
def test_out_of_range_is_refused(k: int, seen: str, served_runs: Callable[[str], Path]) -> None:
    """k is one of the catalogue's sizes and seen one of two words."""
    run = recbole_unisid.load(served_runs("ItemID"))
    with pytest.raises(UserError):
        recommend(run, [np.array([1])], k, seen)


def test_ties_are_in_the_order_of_numbers() -> None:
    """Equal scores at the end of the list do not depend on how a selection walks."""
    scores = np.array([-np.inf, 1, 3, 1, 3, 1, -np.inf], dtype=np.float32)
    assert best_items(scores, 3).tolist() == [2, 4, 1]
    assert best_items(scores, 6).tolist() == [2, 4, 1, 3, 5]


def test_reasons_are_the_nearest_by_tokens(served_runs: Callable[[str], Path]) -> None:
    """The named item shares the longest prefix of all; by brute force over the history."""
    run = recbole_unisid.load(served_runs("UniSID"))
    assert run.codes is not None
    history = np.array([3, 9, 3, 20, 41, 77, 130, 200])
    items = np.arange(210, 260)

    def shared(one: int, other: int) -> int:
        count = 0
        for a, b in zip(run.codes[one].tolist(), run.codes[other].tolist(), strict=True):  # type: ignore[index]
            if a != b:
                break
            count += 1
        return count

    found = nearest_in_history(run, items, history, 2)
    some_share = 0
    for item, reasons in zip(items.tolist(), found, strict=True):
        longest = max(shared(item, past) for past in history.tolist())
        assert reasons[0].shared == longest == shared(item, reasons[0].item)
        assert all(reason.shared for reason in reasons[1:])
        some_share += longest > 0
    assert some_share > 5


def test_without_tokens_the_nearest_are_by_vector(served_runs: Callable[[str], Path]) -> None:
    """ItemID has no codes: the largest cosine is named."""
    run = recbole_unisid.load(served_runs("ItemID"))
    assert run.item_vectors is not None
    history = np.array([5, 6, 7, 8])
    reasons = nearest_in_history(run, np.array([50]), history, 2)[0]
    unit = run.item_vectors / np.linalg.norm(run.item_vectors, axis=1, keepdims=True).clip(1e-12)
    assert reasons[0].item == history[np.argmax(unit[history] @ unit[50])]
    assert (reasons[0].levels, len(reasons)) == (0, 2)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Fargo", [1]),
        ("Fargo, Bad", [1, 3]),
        ("10, 30,60", [1, 3, 6]),
        ("Good, the Bad and the Ugly, The", [2]),
        ("Fargo, Good, the Bad and the Ugly, The, Bad", [1, 2, 3]),
        ("good, the bad; fargo", [2, 1]),
        ('["Good, the Bad and the Ugly, The", "Alien; Director\'s Cut", 10]', [2, 6, 1]),
        ("Alien; Director's Cut", [6]),
        ("fargo,,alien", [1, 6]),
        ("40, 50", [4, 5]),
    ],
)
def test_histories_as_people_type_them(text: str, numbers: list[int]) -> None:
    """Commas inside titles, ids, parts of titles, semicolons, JSON."""
    assert parse_history(text, NAMES).tolist() == numbers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (" , ,", "empty"),
        ("[]", "empty"),
        ("[1.5]", "JSON list"),
        ("[", "no JSON list"),
        ("Heat", "2 items have the title"),
        ("Fargo, Goodfellas", "';'"),
        ("Fargi", "Did you mean Fargo"),
    ],
)
def test_histories_that_cannot_be_read(text: str, words: str) -> None:
    """One line that says how to mend it."""
    with pytest.raises(UserError) as error:
        parse_history(text, NAMES)
    assert words in str(error.value)


def test_tables_and_typed_histories(
    served_runs: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has titles, tokens and the nearest item; a model of RecBole's has no tokens to show."""
    assert main(["recommend", f"--run={served_runs('UniSID')}", "--history=Fargo, Toy Story", "-k=4"]) == 0
    printed = capsys.readouterr().out
    assert "2 items, last: Toy Story; Fargo" in printed
    assert "tokens" in printed
    assert len(printed.strip().splitlines()) == 4 + 4
    assert main(["recommend", f"--run={served_runs('SASRec')}", "--user=7", "--k", "3"]) == 0
    printed = capsys.readouterr().out
    assert "for user 7" in printed
    assert "tokens" not in printed


def test_batches_are_answered_as_they_are_read(
    served_runs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first batch is out before the second is read, and a bad line stops with its number."""
    from recbole_unisid.serving import batch

    monkeypatch.setattr(batch, "HISTORIES", 2)
    printed: list[str] = []

    def lines() -> object:
        yield "1\n"
        yield '["Fargo"]\n'
        printed.append(capsys.readouterr().out)
        yield "\n"
        yield "nobody\n"

    monkeypatch.setattr("sys.stdin", lines())
    arguments = [f"--run={served_runs('ItemID')}", "--file=-", "--format=jsonl", "-k", "1"]
    assert main(["recommend", *arguments]) == 2
    assert len(printed[0].splitlines()) == 2
    assert "standard input, line 4: There is no user 'nobody'" in capsys.readouterr().err


def test_more_items_are_left_out_than_a_history_has(served_runs: Callable[[str], Path]) -> None:
    """By one item or by nearly as many again: no item is left, none comes back."""
    run = recbole_unisid.load(served_runs("ItemID"))
    length = len(Requests(run).of_user("1").history)
    assert len(Requests(run, length - 1).of_user("1").history) == 1
    for left_out in (length, length + 1, 2 * length - 1):
        with pytest.raises(UserError, match="leaves none of it"):
            Requests(run, left_out).of_user("1")


def test_standard_input_that_is_no_text(
    served_runs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, as of a file."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1\n\xff\n"), encoding="utf-8"))
    assert main(["recommend", f"--run={served_runs('ItemID')}", "--file=-"]) == 2
    assert "standard input cannot be read as text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--run"]),
        (["--user=1", "--history=Fargo"], ["one of"]),
        (["--user=1", "-k", "0"], ["--k=0"]),
        (["--user=1", "--k=ten"], ["--k=ten"]),
        (["--user=1", "-k", "1000000000"], ["out of range"]),
        (["--user=1", "--seen=both"], ["seen=both"]),
        (["--user=1", "--format=xml"], ["xml"]),
        (["--user=1", "--catalogue=7"], ["no catalogue 7"]),
        (["--user=1", "--leave_out=500"], ["leaves none of it"]),
        (["--user=1", "--data_path=nowhere"], ["not at hand"]),
        (["--user=1", "--device=tpu9"], ["tpu9"]),
        (["--user=1", "--topk=3"], ["topk", "recommend --help"]),
        (["--file=absent.txt"], ["absent.txt"]),
    ],
)
def test_bad_arguments(
    arguments: list[str],
    words: list[str],
    served_runs: Callable[[str], Path],
    in_empty_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line on standard error and status 2."""
    run = [f"--run={served_runs('ItemID')}"] if arguments else []
    assert main(["recommend", *run, *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert all(word in error[0] for word in words), error


def test_a_data_set_that_has_changed_is_not_mixed_with_the_run(
    served_runs: Callable[[str], Path], ml_mini: Path, tmp_path: Path
) -> None:
    """Item numbers of other data would be other items: refused."""
    folder = tmp_path / "ml-mini"
    folder.mkdir()
    head, *rows = (ml_mini / "ml-mini" / "ml-mini.inter").read_text().splitlines()
    (folder / "ml-mini.inter").write_text("\n".join([head, *rows[5:]]) + "\n")
    run = recbole_unisid.load(served_runs("ItemID"), data_path=tmp_path)
    with pytest.raises(UserError, match="has changed"):
        _ = run.sequences


def test_output_into_a_closed_pipe_ends_quietly(served_runs: Callable[[str], Path], tmp_path: Path) -> None:
    """``recommend ... | head -1`` leaves no traceback."""
    import subprocess
    import sys

    (tmp_path / "users.txt").write_text("\n".join(str(user) for user in range(1, 41)) + "\n")
    command = (
        f"{sys.executable} -m recbole_unisid.commands.main recommend --run={served_runs('ItemID')} "
        f"--file={tmp_path / 'users.txt'} -k 200 --format=jsonl | head -c 10"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith('{"user"')


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_a_history_of_every_item_leaves_nothing(
    form: str, served_runs: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table says so, and how to rank them all the same; a program gets an empty list."""
    folder = served_runs("UniSID")
    everything = tmp_path / "everything.txt"
    everything.write_text(json.dumps(recbole_unisid.load(folder).item_ids[1:]) + "\n")
    assert main(["recommend", f"--run={folder}", f"--file={everything}", f"--format={form}"]) == 0
    out = capsys.readouterr().out
    if form == "table":
        assert "Nothing is left to recommend" in out
        assert "--seen=keep" in out
    else:
        assert json.loads(out)["items"] == []
    assert main(["recommend", f"--run={folder}", f"--file={everything}", "--seen=keep"]) == 0
    assert "Nothing is left" not in capsys.readouterr().out


#: Models whose scores have parts, and what they are besides the score terms'.
EXPLAINED = [
    ("UniSID", {"codebook_sizes": [8, 8], "score_terms": ["all"]}, ["model (tokens)", "model (ID)"]),
    (
        "UniSID",
        {"codebook_sizes": [8, 8], "id_join": "concatenate", "score_terms": ["neighbours"]},
        ["model (tokens)", "model (ID)"],
    ),
    ("DenseText", {"score_terms": ["text", "neighbours"]}, ["model (text)"]),
    ("ItemID", {"score_terms": ["transitions"]}, ["model (ID)"]),
    ("TransitionText", {}, ["model (text)"]),
    ("SemanticID", {"codebook_sizes": [8, 8]}, ["model (tokens)"]),
    ("RPG", {"codebook_sizes": [8] * 4}, ["model"]),
    ("SASRec", {"train_neg_sample_args": None, "loss_type": "CE"}, ["model"]),
]


@pytest.mark.parametrize(("model", "given", "own"), EXPLAINED, ids=str)
def test_parts_add_up_to_the_score(
    model: str,
    given: dict[str, Any],
    own: list[str],
    ml_mini: Path,
    in_empty_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In JSON and within 100 columns on the screen; each term's part is its weight times its feature."""
    settings = {"epochs": 1, "show_progress": False, "text_encoder": "lsa", "data_path": str(ml_mini)}
    result = recbole_unisid.run(model, "ml-mini", read_by(model, settings | given), verbose=False)
    run, history = recbole_unisid.load(result["run_dir"]), np.array([3, 9, 20, 9])
    asked = ["recommend", f"--run={result['run_dir']}", "--explain", "--seen=keep", "-k", "40"]
    asked += [f"--history={json.dumps([run.item_ids[item] for item in history])}"]
    assert main([*asked, "--format=jsonl"]) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    weights = result["score_terms"] or {}
    assert list(items[0]["parts"]) == [*own, *weights]
    for item in items:
        assert sum(item["parts"].values()) == pytest.approx(item["score"], abs=1e-4)
    terms = getattr(run.model, "terms", None)
    if terms is not None:
        assert any(item["parts"][name] for item in items for name in weights)
        found = terms(torch.from_numpy(history)[None], torch.tensor([4]))[:, 0]
        for item in items:
            place = run.number_of(item["item_id"])
            for (name, weight), feature in zip(weights.items(), found, strict=True):
                assert item["parts"][name] == pytest.approx(weight * float(feature[place]), abs=1e-5)
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    assert "what adds up to it" in shown
    assert (f"{model} has one score without parts" in shown) == (len(own) + len(weights) == 1)


def test_parts_of_an_added_item_add_up(
    served_runs: Callable[[str], Path], tmp_path: Path, ml_mini: Path
) -> None:
    """Its ID is the mean of the trained ones."""
    folder = tmp_path / "run"
    shutil.copytree(served_runs("UniSID"), folder)
    head, row, *_ = (ml_mini / "ml-mini" / "ml-mini.item").read_text().splitlines()
    (tmp_path / "new.item").write_text(f"{head}\n" + "\t".join(["new", *row.split("\t")[1:]]) + "\n")
    add_items(folder, tmp_path / "new.item", show_progress=False)
    run, history = recbole_unisid.load(folder), np.array([3, 9])
    items = np.array([run.number_of("new"), 5])
    parts = run.parts(history, items)
    np.testing.assert_allclose(sum(parts.values()), run.scores([history])[0, items], atol=1e-5)
    assert (parts["model (ID)"] != 0).all()
