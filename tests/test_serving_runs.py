"""Trained runs, exported and served: the evaluator's answers, every kind of model, new items."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.data.split import TEST, leave_one_out
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.serving import server
from recbole_unisid.serving.recommend import RunRecommender
from recbole_unisid.serving.recommender import Recommender

Runs = Callable[[str], Path]
#: What two scores may differ by and change places, beside a millionth of what they are.
TOLERANCE = 1e-5


@pytest.mark.parametrize("model", ["UniSID", "SemanticID", "ItemID", "DenseText"])
def test_the_export_gives_the_top_ten_of_the_evaluator(model: str, served_runs: Runs, tmp_path: Path) -> None:
    """Every test case of the run: the model's top-10, and the target at the rank that ranks.npz has."""
    folder = served_runs(model)
    assert main(["export", f"--run={folder}", f"--to={tmp_path / 'export'}"]) == 0
    run, recommender = recbole_unisid.load(folder), Recommender(tmp_path / "export")
    sequences = run.sequences
    assert sequences is not None
    positions = leave_one_out(sequences).targets(TEST)
    users = sequences.users[positions]
    histories = [sequences.items[sequences.offsets[u] : at] for u, at in zip(users, positions, strict=True)]
    ranks = RankTable.load(folder / "ranks.npz").ranks["full"]
    number = {name: at for at, name in enumerate(run.item_ids)}
    answers = recommender.recommend_many([[run.item_ids[n] for n in one] for one in histories])
    at_their_rank = 0
    for history, items, scores, target, rank in zip(
        histories, answers, run.scores(histories), sequences.items[positions], ranks, strict=True
    ):
        scores[[0, *history.tolist()]] = -np.inf
        listed = [number[item.id] for item in items]
        assert len(set(listed)) == 10
        np.testing.assert_allclose([item.score for item in items], scores[listed], rtol=1e-6, atol=TOLERANCE)
        # Swaps only between equals: place by place the same scores as the evaluator's best.
        np.testing.assert_allclose(scores[listed], np.sort(scores)[::-1][:10], rtol=1e-6, atol=TOLERANCE)
        apart = TOLERANCE + 1e-6 * abs(scores[target])
        alone = (np.abs(scores - scores[target]) <= apart).sum() == 1
        if rank <= 10 and alone:
            assert listed[rank - 1] == target
            at_their_rank += 1
    if model != "SemanticID":  # whose items share their tokens, and with them their scores
        assert at_their_rank > 0


def test_new_items_are_exported_and_old_versions_stay_at_hand(served_runs: Runs, tmp_path: Path) -> None:
    """What add-items brought is in the newest export, and not in that of an earlier catalogue."""
    folder = Path(shutil.copytree(served_runs("UniSID"), tmp_path / "run"))
    (tmp_path / "new.csv").write_text(
        "item_id,movie_title,class,release_year\nn1,Fargo Again,Crime Drama,1996\n"
    )
    assert main(["add-items", f"--run={folder}", f"--items={tmp_path / 'new.csv'}"]) == 0
    for arguments, known in (([], True), (["--catalogue=1"], False)):
        assert main(["export", f"--run={folder}", f"--to={tmp_path / 'export'}", *arguments]) == 0
        recommender = Recommender(tmp_path / "export")
        assert ("n1" in recommender) == known
    assert main(["export", f"--run={folder}", f"--to={tmp_path / 'export'}"]) == 0
    recommender = Recommender(tmp_path / "export")
    assert recommender.search("fargo again")[0].codes
    assert len(recommender.recommend(["n1"])) == 10
    assert "n1" in [item.id for item in recommender.recommend(["1"], k=10**6)]


def test_any_model_is_served_live(served_runs: Runs) -> None:
    """RecBole's SASRec, which cannot be exported, from its scores."""
    run = recbole_unisid.load(served_runs("SASRec"))
    live = RunRecommender(run)
    history = [run.item_ids[n] for n in (1, 2, 3)]
    scores = run.scores([np.array([1, 2, 3])])[0]
    scores[:4] = -np.inf
    assert [item.id for item in live.recommend(history)] == [
        run.item_ids[n] for n in np.argsort(-scores)[:10]
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to=x"], ["--run"]),
        (["--run={UniSID}"], ["--to"]),
        (["--run=absent", "--to=x"], ["absent"]),
        (["--run={UniSID}", "--to=x", "--index=hsnw"], ["hsnw", "Did you mean hnsw"]),
        (["--run={UniSID}", "--to=x", "--catalogue=7"], ["7"]),
        (["--run={UniSID}", "--to=x", "--catalog=1"], ["Did you mean"]),
        (["--run={UniSID}", "--to={UniSID}"], ["no export"]),
        (["--run={SASRec}", "--to=x"], ["SASRec", "UniSID", "serve --run"]),
    ],
)
def test_bad_arguments_of_export_are_one_line(
    arguments: list[str],
    words: list[str],
    served_runs: Runs,
    in_empty_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 2, and nothing is left behind."""
    folders = {model: str(served_runs(model)) for model in ("UniSID", "SASRec")}
    capsys.readouterr()
    assert main(["export", *(one.format(**folders) for one in arguments)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all(word in line for word in words), line
    assert not (in_empty_folder / "x").exists()


def test_serve_a_run_or_an_export(
    served_runs: Runs, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command hands the service a run's model, whichever it is, or the exported folder, with their names."""
    asked: list[Any] = []
    monkeypatch.setattr(server, "serve", lambda *arguments: asked.append(arguments))
    assert main(["serve", f"--run={served_runs('SASRec')}", "--port=0"]) == 0
    assert main(["export", f"--run={served_runs('UniSID')}", "--to=x"]) == 0
    for cores in (3, 64):
        monkeypatch.setattr(joblib, "cpu_count", lambda cores=cores: cores)
        assert main(["serve", "--export=x", "--host=::1"]) == 0
    (make_live, *of_run), (make_exported, *of_export), (_, *_, most, _) = asked
    loopback = ["localhost", "127.0.0.1", "[::1]"]
    assert of_run == ["127.0.0.1", 0, [*loopback, "127.0.0.1"], 1, None]  # no versions to follow
    workers = (3, 4) if sys.platform == "linux" else (1, 1)
    assert of_export == ["::1", 8000, [*loopback, "[::1]"], workers[0], None]
    assert most == workers[1]
    (live, *names_of_run), (exported, *names_of_export) = make_live(), make_exported()
    assert names_of_run == ["SASRec", "ml-mini", served_runs("SASRec").name]
    assert names_of_export == ["UniSID", "ml-mini", served_runs("UniSID").name]
    history = recbole_unisid.load(served_runs("SASRec")).item_ids[1:3]
    assert isinstance(live, RunRecommender)
    assert isinstance(exported, Recommender)
    assert len(live.recommend(history, 5)) == len(exported.recommend(history, 5)) == 5


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        ("recbole_unisid.serving.server", r"pip install 'recbole_unisid\[serve\]'"),
        ("faiss", r"needs faiss.*pip install 'recbole_unisid\[export\]'"),
    ],
)
def test_what_serve_lacks_is_one_line(
    absent: str,
    words: str,
    served_runs: Runs,
    in_empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A package that is not installed is named with the extra that brings it."""
    assert main(["export", f"--run={served_runs('UniSID')}", "--to=x"]) == 0
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, absent, None)
    assert main(["serve", "--export=x", "--port=0"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(words, line), line
