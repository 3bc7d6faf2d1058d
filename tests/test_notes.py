"""What is to be known of RecBole's models and metrics stands where their figures are shown, and holds."""

from __future__ import annotations

from pathlib import Path

import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.evaluation.notes import METRIC_NOTES, MODEL_NOTES
from recbole_unisid.report.markup import tag
from recbole_unisid.report.page import write_report
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
    write_report([plain["run_dir"]], Path("plain.html"))
    assert (
        "RecBole" not in Path("plain.html").read_text(encoding="utf-8").partition("Protocol and command")[0]
    )


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
