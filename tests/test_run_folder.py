"""A run's folder beside other commands, after a kill, and with damaged files."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from kills import killed_at
from report_material import Material
from run_commands import command

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.files import scratch_folder, write_atomically, write_text
from recbole_unisid.report.run_files import newest_run, read_result
from recbole_unisid.runs.folder import owned

# --- two commands at once ---------------------------------------------------------------------------


def test_two_identical_commands_end_well(ml_mini: Path, in_empty_folder: Path) -> None:
    """Both answer with the same figures; one trains, and the checkpoint holds nothing unfinished."""
    processes = [command(ml_mini, "--show_progress=false", "--checkpoint_minutes=0") for _ in range(2)]
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    (result,) = Path("runs").rglob("result.json")
    figures = [out.split("candidates", 1)[1] for out, _ in answers]
    assert figures[0] == figures[1]
    assert (result.parent / "log.txt").read_text().count("the best is epoch") == 1
    assert not list(Path("runs").rglob("*.part"))


def test_the_second_command_says_that_it_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It goes on when the first has ended."""
    begun: list[float] = []

    def second() -> None:
        with owned(tmp_path / "run", verbose=True):
            begun.append(time.monotonic())

    with owned(tmp_path / "run", verbose=True):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        assert not begun
        assert "waits for it" in capsys.readouterr().out
    thread.join()
    assert begun


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A killed command owns nothing."""
    child = os.fork()
    if not child:
        with owned(tmp_path / "run", verbose=False):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    FileLock(tmp_path / "run" / ".lock").acquire(blocking=False)


# --- left-overs -------------------------------------------------------------------------------------


def killed_while_writing(write: Callable[[], None]) -> None:
    """Do something in a process that kills itself on the way."""
    child = os.fork()
    if not child:
        write()
        os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_left_overs_go_with_the_next_file(tmp_path: Path) -> None:
    """What a killed process was writing is removed; what a living one writes is not, nor anybody else's files."""

    def half() -> None:
        with write_atomically(tmp_path / "ranks.npz") as part:
            part.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    killed_while_writing(half)
    others = tmp_path / ".film.part"
    others.write_text("of another program")
    (left_over,) = tmp_path.glob(".ranks.npz.*.part")
    with scratch_folder(tmp_path / "export") as living:
        write_text(tmp_path / "other.json", "{}")
        assert living.is_dir()
    assert not left_over.exists()
    assert others.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".film.part", "other.json"]


def test_a_folder_that_is_taken_for_a_left_over_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another command, between its making and its lock."""
    made: list[str] = []
    make = tempfile.mkdtemp

    def taken_once(*given: Any, **named: Any) -> str:
        made.append(make(*given, **named))
        if len(made) == 1:
            os.rmdir(made[0])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", taken_once)
    write_text(tmp_path / "page.html", "whole")
    assert len(made) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_run_removes_what_a_killed_one_left(ml_mini: Path, in_empty_folder: Path) -> None:
    """In its folder and in its checkpoint; a run that had finished cleans, too."""
    settings = {"data_path": str(ml_mini), "epochs": 1, "show_progress": False}
    folder = Path(recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)["run_dir"])
    whole = (folder / "ranks.npz").read_bytes()
    for place in (folder, folder / "checkpoint"):
        (place / ".last.safetensors.abcd1234.part").mkdir()
    (folder / "checkpoint" / ".tmpAbCdEf").write_bytes(b"half")
    recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)
    assert not list(folder.glob(".*.part"))
    (folder / "result.json").unlink()
    recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)
    assert [path.name for path in folder.rglob(".*")] == [".lock"]
    assert (folder / "ranks.npz").read_bytes() == whole


@pytest.mark.parametrize("name", ["report", "prepare"])
def test_what_a_killed_command_left_goes_with_the_next(name: str, tmp_path: Path) -> None:
    """Killed before each of its files takes its name."""
    to = tmp_path / "to" / "shop"
    if name == "report":
        run = Material(tmp_path, users=40, items=30).write_run("ItemID", 1, 0.1, tokens=False)
        arguments, whole = ["report", str(run), f"--to={to}"], to / "report.html"
    else:
        (tmp_path / "shop.csv").write_text("user,item,title\nu,a,A\nu,b,B\n")
        arguments, whole = (
            ["prepare", f"--from-csv={tmp_path / 'shop.csv'}", f"--data_path={to.parent}"],
            to / "shop.inter",
        )
        arguments.append("--overwrite")
    left, step = 0, 1
    while killed_at(step, lambda: main(arguments), ("os.rename",)):
        left += len(list(to.rglob(".*.part")))
        step += 1
    assert step > 2
    assert left >= step - 1
    assert not list(to.rglob(".*.part"))
    before = whole.read_bytes()
    assert main(arguments) == 0
    assert whole.read_bytes() == before


def test_prune_removes_left_overs_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of every command, wherever below; not what a living process writes, a download that goes on, nor behind links."""
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    checkpoint = runs / "toys" / "ItemID" / "1-abc" / "checkpoint"
    checkpoint.mkdir(parents=True)
    with scratch_folder(checkpoint / "best.safetensors") as living:
        export, last = runs / ".exp.abcd1234.part", checkpoint / ".last.safetensors.abcd1234.part"
        left = [
            export / "export" / ".items.json.abcd1234.part" / "items",
            last / "last",
            checkpoint / ".tmpAbCdEf",
        ]
        kept = [checkpoint / "last.safetensors", checkpoint.parent / ".tmpAbCdEf", runs / "set.gz.part"]
        kept += [
            runs / "checkpoint" / ".tmpAbCdEf",
            checkpoint.parent / "config.yaml",
            checkpoint.parent / ".lock",
        ]
        kept += [runs / ".cache", elsewhere / ".exp.abcd1234.part" / "items"]
        for size, path in enumerate([*left, *kept, living / "best"], 1000):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * size)
        (runs / "link").symlink_to(elsewhere)
        before = sorted(tmp_path.rglob("*"))
        assert main(["runs", "prune", str(runs), "--dry-run"]) == 0
        assert "Found 3 left-overs, 3,003 bytes" in capsys.readouterr().out
        assert sorted(tmp_path.rglob("*")) == before
        assert main(["runs", "prune", str(runs)]) == 0
        assert (living / "best").stat().st_size == 1000 + len(left) + len(kept)
    told = capsys.readouterr().out
    assert "Removed 3 left-overs, 3,003 bytes" in told
    assert f"{export}  1,000 bytes" in told
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert [path.stat().st_size for path in kept] == [1000 + len(left) + n for n in range(len(kept))]
    assert not export.exists()
    assert not last.exists()
    assert main(["runs", "prune", str(runs)]) == 0
    assert "Removed 0 left-overs, 0 bytes" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["prune"], ["prine", "."], ["prune", "absent"], ["prune", ".", "--yes=1"]]
)
def test_prune_that_is_misspelt_removes_nothing(
    arguments: list[str], in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_over = in_empty_folder / ".last.safetensors.abcd1234.part"
    left_over.mkdir()
    assert main(["runs", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("recbole-unisid: ")
    assert left_over.is_dir()


# --- damaged files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (["seed"], "2020"),
        (["model"], 3),
        (["protocol"], "raw"),
        (["protocol", "split"], 1),
        (["data", "users"], "300"),
        (["test"], []),
        (["test", "full"], 0.5),
        (["test", "full", "ndcg@10"], "0.1"),
        (["test", "slices", "tail", "n"], {}),
        (["test", "slices", "tail"], None),
        (["test", "slices", "tail"], {"n": 3}),
        (["data", "items"], None),
        (["repeated_targets"], "0.1"),
        (["test", "slices", "tail", "interval", "ndcg@10"], ["low", "high"]),
        (["controls", "popularity", "full"], "none"),
        (["parameters", "tokens"], "many"),
        (["seconds", "training"], True),
        (["history", 0], 7),
        (["history", 0, "loss"], "1"),
        (["best_epoch"], "2"),
        (["tokenizer", "levels"], {}),
        (["tokenizer", "levels", 0, "used"], "all"),
        (["versions"], "1.2.1"),
    ],
)
def test_a_mistyped_field_is_one_line_that_names_it(
    tmp_path: Path, way: list[Any], value: Any, capsys: Any
) -> None:
    folder = Material(tmp_path).write_run("UniSID", 1, 0.1, tokens=True)
    result = read_result(folder)
    inner: Any = result
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    (folder / "result.json").write_text(json.dumps(result))
    assert main(["report", str(folder), f"--to={tmp_path}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is damaged at " + " ".join(map(str, way)) in line
    assert not (tmp_path / "report.html").exists()


def test_a_flipped_bit_of_the_ranks_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    """A byte in every place of the file's structure and of its content."""
    folder = Material(tmp_path, users=40, items=30).write_run("ItemID", 1, 0.1, tokens=False)
    file = folder / "ranks.npz"
    whole, sound = file.read_bytes(), RankTable.load(file)
    refused = 0
    for place, bit in zip(
        range(len(whole)), np.random.default_rng(0).integers(0, 8, len(whole)), strict=False
    ):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(bit)
        file.write_bytes(damaged)
        try:
            found = RankTable.load(file)
        except UserError:
            refused += 1
            continue
        assert {name: ranks.tolist() for name, ranks in found.ranks.items()} == {
            name: ranks.tolist() for name, ranks in sound.ranks.items()
        }, place
        assert (found.user.tolist(), found.target.tolist()) == (sound.user.tolist(), sound.target.tolist())
    assert refused > len(whole) / 2


def test_ranks_and_result_belong_together(ml_mini: Path, in_empty_folder: Path, capsys: Any) -> None:
    """Ranks that are no less sound, of the same means, are not the run's; nor is a figure that no rank bears out."""
    settings = {"data_path": str(ml_mini), "show_progress": False, "output_dir": "runs"}
    folder = Path(recbole_unisid.run("Pop", "ml-mini", settings, verbose=False)["run_dir"])
    sound = RankTable.load(folder / "ranks.npz")
    assert main(["report", str(folder)]) == 0
    other = replace(sound, ranks={name: ranks[::-1] for name, ranks in sound.ranks.items()})
    without = replace(sound, ranks={"sampled99": sound.ranks["full"]})
    for table in (other, without):
        table.save(folder / "ranks.npz")
        assert main(["report", str(folder)]) == 2
        assert "ranks.npz is not what the run wrote" in capsys.readouterr().err
    sound.save(folder / "ranks.npz")
    assert main(["report", str(folder)]) == 0
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(
        json.dumps(result | {"seconds": result["seconds"] | {"training": 1.0}})
    )
    assert main(["report", str(folder)]) == 2
    assert "result.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "\n", "# nothing but a remark\n", "{}\n"])
def test_a_config_file_without_settings_is_refused(
    text: str, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.yaml").write_text(text)
    assert main(["run", "--config_files=mine.yaml"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "mine.yaml" in line
    assert not Path("runs").exists()


# --- what is meant by --run -------------------------------------------------------------------------


def test_the_newest_run_below_a_folder_is_meant(tmp_path: Path) -> None:
    material = Material(tmp_path)
    runs = [material.write_run("ItemID", seed, 0.1, tokens=False) for seed in (1, 2, 3)]
    for run, when in zip(runs, (10, 30, 20), strict=True):
        os.utime(run / "result.json", (when, when))
    assert newest_run(runs[0].parent) == runs[1]
    assert newest_run(runs[0]) == runs[0]
    assert newest_run(tmp_path / "absent") == tmp_path / "absent"
    with pytest.raises(UserError, match="no finished run"):
        newest_run(tmp_path / "data")
