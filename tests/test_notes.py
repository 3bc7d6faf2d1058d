"""What is to be known of RecBole's models and metrics stands where their figures are shown, and holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.evaluation.notes import METRIC_NOTES, MODEL_NOTES, notes_on
from recbole_unisid.report.gather import gather_report
from recbole_unisid.report.markup import tag
from recbole_unisid.report.page import draw_page
from recbole_unisid.report.tables import summary_table

QUICK = {"epochs": 1, "show_progress": False, "use_gpu": False, "MAX_ITEM_LIST_LENGTH": 10}
METRICS = {"metrics": ["NDCG", "ItemCoverage", "GiniIndex", "AveragePopularity"], "topk": [10]}


def test_notes_stand_beside_the_figures(
    ml_mini: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the screen, in the leaderboard and on the page, each once; a run without such a model or metric has none."""
    given = QUICK | {"data_path": str(ml_mini)}
    results = recbole_unisid.run("Pop,ItemKNN,BERT4Rec", "ml-mini", given | METRICS)
    screen = capsys.readouterr().out
    (folder,) = Path("runs/ml-mini").glob("benchmark-*")
    table = (folder / "leaderboard.md").read_text(encoding="utf-8")
    page = (folder / "report.html").read_text(encoding="utf-8")
    for said in [*MODEL_NOTES.values(), *METRIC_NOTES.values()]:
        assert screen.count(said) == table.count(f"> {said}") == 1
        assert page.count(str(tag("p", said, class_="warning"))) == 1
    for result in results:
        shown = summary_table(result)
        assert f"note: {MODEL_NOTES[result['model']]}" in shown
        for key in ("itemcoverage@10", "giniindex@10", "averagepopularity@10"):
            value = result["test"]["recbole"][key]
            assert f"{key} {value}" in shown
            assert f'value="{value!r}" data-model="{result["model"]}" data-key="test recbole {key}"' in page
        # The note on coverage: a whole number of items, of one more than there are.
        covered = result["test"]["recbole"]["itemcoverage@10"] * (result["data"]["items"] + 1)
        assert covered == pytest.approx(round(covered), abs=0.1)

    plain = recbole_unisid.run("ItemID", "ml-mini", given, verbose=False)
    assert "note: R" not in summary_table(plain)
    assert "RecBole's own" not in summary_table(plain)
    page = draw_page(gather_report([plain["run_dir"]]))
    assert "RecBole" not in page.partition("Protocol and command")[0]


def test_repeated_targets_are_counted_and_noted(in_empty_folder: Path) -> None:
    """A note where people repeat, on the screen and on the page; none where they do not."""
    folder = Path("data/again")
    folder.mkdir(parents=True)
    draw, lines, expected = np.random.default_rng(0), ["user_id:token\titem_id:token\ttimestamp:float"], []
    for user in range(60):
        items = draw.integers(0, 12, 8).tolist()
        lines += [f"u{user}\ti{item}\t{time}" for time, item in enumerate(items)]
        expected.append(items[-1] in items[:-1])
    (folder / "again.inter").write_text("\n".join(lines) + "\n")
    given = QUICK | {"data_path": "data"}
    result = recbole_unisid.run("ItemID", "again", given, verbose=False)
    share = sum(expected) / len(expected)
    assert 0.2 < share < 0.8
    assert result["repeated_targets"] == pytest.approx(share)
    said = f"{share:.1%} of the test targets are items that the user had before"
    assert said in summary_table(result)
    assert said in draw_page(gather_report([result["run_dir"]]))
    assert "In full and sampled99 their rivals" in summary_table(result)
    few = "The catalogue has 12 items, so every user has fewer negatives in sampled99 than its name says."
    assert few in summary_table(result)
    result = recbole_unisid.run("ItemID", "again", given | {"candidates": "sampled100"}, verbose=False)
    assert "In full and sampled100 their rivals" in summary_table(result)
    assert few.replace("99", "100") in summary_table(result)
    page = draw_page(gather_report([result["run_dir"]]))
    assert few.replace("99", "100") in page
    assert "100 uniform negatives outside the user" in page


def test_the_note_on_repeats_names_no_candidates_that_a_run_lacks() -> None:
    """Lists from elsewhere without what users had have neither all items nor sampled ones."""
    figures, test = {"ndcg@10": 0.1}, dict.fromkeys(("full", "full_unfiltered", "sampled99"))
    result = {"model": "Other", "repeated_targets": 0.3, "test": test | {"full": figures}}
    (note,) = notes_on(result)
    assert "In full their rivals" in note
    assert "full_unfiltered" not in note
    assert "sampled99" not in note
    (note,) = notes_on(result | {"test": dict.fromkeys(test, figures)})
    assert "In full and sampled99 their rivals" in note
    assert note.endswith("read full_unfiltered.")


def test_a_general_model_ranked_by_an_older_version_says_so() -> None:
    """Only where users have several targets was its `full` another set of candidates."""
    test: dict[str, Any] = {"full": {"ndcg@10": 0.1}, "full_unfiltered": None, "recbole": {"ndcg@10": 0.1}}
    result = {"model": "BPR", "test": test, "protocol": {"split": "global_time"}}
    (note,) = notes_on(result)
    assert "run of BPR was ranked by an older version" in note
    assert not [*notes_on(result | {"protocol": {"split": "leave_one_out"}})]
    assert not [*notes_on(result | {"test": test | {"full_unfiltered": test["full"]}})]


def test_a_catalogue_of_many_items_has_no_note_on_negatives() -> None:
    result = {"model": "ItemID", "data": {"items": 101}, "protocol": {"candidates": "sampled100"}}
    assert not [*notes_on(result)]
    assert [*notes_on(result | {"data": {"items": 100}})]


def test_lists_of_bert4rec_say_what_they_leave_out(
    ml_mini: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the table and in JSON; other models' lists say nothing."""
    given = QUICK | {"data_path": str(ml_mini)}
    for model, count in (("BERT4Rec", 1), ("ItemID", 0)):
        folder = recbole_unisid.run(model, "ml-mini", given, verbose=False)["run_dir"]
        for kind in ("table", "jsonl"):
            assert main(["recommend", f"--run={folder}", "--user=1", "-k", "2", f"--format={kind}"]) == 0
            assert capsys.readouterr().out.count(MODEL_NOTES["BERT4Rec"]) == count
