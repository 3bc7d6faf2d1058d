"""What a run says while it works: lines or a bar, one estimate, epochs from 1, commands that exist."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.recbole_adapter.progress import Progress, further_runs
from recbole_unisid.recbole_adapter.trainer import RunTrainer
from recbole_unisid.report.wording import command

QUICK = ["--dataset=ml-mini", "--epochs=3", "--use_gpu=false"]


class Terminal(io.StringIO):
    """Standard error that says it is one."""

    def isatty(self) -> bool:
        return True


def test_a_line_a_validation_where_there_is_no_terminal(
    ml_mini: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Epochs count from 1, the time left is that of all runs, and the best epoch is told."""
    arguments = ["--model=ItemID,SASRec", *QUICK, f"--data_path={ml_mini}", "--eval_step=1"]
    assert main(["run", *arguments]) == 0
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if " epoch " in line]
    assert [re.findall(r"epoch (\d) of 3", line) for line in lines] == [["1"], ["2"], ["3"]] * 2
    assert ["left of all 2 runs" in line for line in lines] == [True] * 3 + [False] * 3
    assert all(re.search(r"ndcg@10 0\.\d{4}, best 0\.\d{4}, at most \d\d:\d\d left", line) for line in lines)
    assert "\r" not in said.err
    settings = {"data_path": str(ml_mini), "epochs": 3, "eval_step": 1}
    results = recbole_unisid.run("ItemID,SASRec", "ml-mini", settings, verbose=False)
    told = [tuple(map(int, one)) for one in re.findall(r"the best is epoch (\d+) of (\d+)", said.out)]
    assert told == [(result["best_epoch"] + 1, result["epochs"]) for result in results]


def test_a_bar_on_a_terminal_tells_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of four epochs are done; a further run of a known length counts."""
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    with further_runs(2, 3600.0):
        progress = Progress("ItemID toys seed 1", 4, 0, show=True)
        progress.step(1.5)
        progress.validated(2, "ndcg@10", 0.1, 0.2)
        progress.bar.refresh()
    last = screen.getvalue().split("\r")[-1]
    assert "2.0/4 epochs" in last
    assert "at most 2:00:00 left of all 3 runs, ndcg@10 0.1000, best 0.2000" in last
    assert "\n" not in screen.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_shown_where_nothing_is_wanted(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Terminal() if terminal else io.StringIO())
    progress = Progress("ItemID toys seed 1", 4, 0, show=False)
    progress.step(1)
    progress.validated(1, "ndcg@10", 0.1, 0.2)
    assert screen.getvalue() == ""


def test_a_stopped_comparison_shows_what_has_finished(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = RunTrainer.fit

    def stopped(self: Any, *given: Any, **more: Any) -> Any:
        if self.config["seed"] == 3:
            raise KeyboardInterrupt
        return fit(self, *given, **more)

    monkeypatch.setattr(RunTrainer, "fit", stopped)
    assert main(["run", "--model=ItemID", "--seeds=1,2,3,4", *QUICK, f"--data_path={ml_mini}"]) == 130
    said = capsys.readouterr()
    assert "2 of 4 runs are finished" in said.out
    assert "seeds 1, 2." in said.out
    row = next(line for line in said.out.splitlines() if line.startswith("ItemID  "))
    assert row.split()[1] == "2"
    assert "goes on" in said.err
    assert not list(Path("runs").rglob("leaderboard.*"))


def test_commands_are_those_of_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout has the script and the module; an installation has the console command."""
    root = Path(recbole_unisid.__file__).parents[1]
    assert command("run", "--model=UniSID") == "python run_recbole_unisid.py --model=UniSID"
    words = command("inspect", "--help").split()
    done = subprocess.run([sys.executable, *words[1:]], cwd=root, capture_output=True, text=True, check=True)
    assert "inspect" in done.stdout
    monkeypatch.setattr(recbole_unisid, "__file__", str(tmp_path / "recbole_unisid" / "__init__.py"))
    assert command("run", "--model=UniSID") == "recbole-unisid run --model=UniSID"
    assert command("inspect", "toys") == "recbole-unisid inspect toys"


def test_commands_take_the_newest_run_of_a_model(
    ml_mini: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``recommend`` and ``export`` with a folder above the run's."""
    assert main(["run", "--model=ItemID", *QUICK, f"--data_path={ml_mini}", "--show_progress=false"]) == 0
    (folder,) = Path("runs/ml-mini/ItemID").iterdir()
    answers = []
    for run in (folder, folder.parent, Path("runs")):
        capsys.readouterr()
        assert main(["recommend", f"--run={run}", "--user=1", "-k", "3", f"--data_path={ml_mini}"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] == answers[2]
    assert main(["export", "--run=runs/ml-mini", "--to=out"]) == 0
    assert folder.name in Path("out/manifest.json").read_text()
    assert main(["export", "--run=out", "--to=other"]) == 2
