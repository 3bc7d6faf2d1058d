"""A full disk, a place that is taken, and other trouble of the machine."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from report_material import Material
from run_commands import QUICK, command

import recbole_unisid
from recbole_unisid import files
from recbole_unisid.commands.main import main
from recbole_unisid.errors import UserError, machine_trouble
from recbole_unisid.files import write_atomically
from recbole_unisid.recbole_adapter.trainer import RunTrainer
from recbole_unisid.runs.folder import owned


def no_large_files() -> None:
    """A disk that is full after 40 kB a file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def test_a_full_disk_is_one_line(ml_mini: Path, in_empty_folder: Path) -> None:
    """The run ends with status 2, and goes on with the same command."""
    # Where coverage is measured, its own file would be too large as well.
    env = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    full = command(ml_mini, "--show_progress=false", preexec_fn=no_large_files, env=env)
    err = full.communicate()[1]
    (line,) = err.strip().splitlines()
    assert (full.returncode, line.startswith("recbole-unisid: ")) == (2, True), err
    assert "File too large" in line
    assert not list(Path("runs").rglob("result.json"))
    assert not list(Path("runs").rglob("*.part"))
    again = command(ml_mini, "--show_progress=false")
    assert (again.communicate()[1], again.returncode) == ("", 0)


@pytest.mark.parametrize(("name", "nth"), [("best", 1), ("last", 2), ("last", 3), ("model", 1)])
def test_a_disk_without_space_is_seen_before_a_file_begins(
    name: str, nth: int, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line; what was written before stays as it was, nothing half-written stands beside it, and the run goes on."""
    settings = {"data_path": str(ml_mini), "epochs": 3, "show_progress": False}
    real, sizes, before = files.require_space, [], {}

    def require_space(file: Path, size: int) -> None:
        if file.name == f"{name}.safetensors":
            sizes.append(size)
        full = len(sizes) == nth and file.name == f"{name}.safetensors"
        if full:
            before.update({path: path.read_bytes() for path in Path("runs").rglob("*.safetensors")})
        free = size - 1 if full else size
        with monkeypatch.context() as disk:
            disk.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(total=1 << 40, free=free))
            real(file, size)

    with monkeypatch.context() as patched:
        patched.setattr(files, "require_space", require_space)
        with pytest.raises(UserError, match="lacks the space") as raised:
            recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)
    assert f"{name}.safetensors: {sizes[-1]:,} bytes" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in Path("runs").rglob("*.safetensors")} == before
    assert any(path.name == "last.safetensors" for path in before)
    assert not list(Path("runs").rglob("*.part"))
    assert not list(Path("runs").rglob("result.json"))
    result = recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)
    written = Path(
        result["run_dir"], "model.safetensors" if name == "model" else f"checkpoint/{name}.safetensors"
    )
    assert sizes[-1] <= written.stat().st_size < sizes[-1] + 20_000


def test_a_file_system_that_tells_no_sizes_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(total=0, free=0))
    with write_atomically(tmp_path / "a", 100) as part:
        part.write_bytes(b"x" * 100)
    assert (tmp_path / "a").stat().st_size == 100


@pytest.mark.parametrize("place", ["taken", "taken/below"])
@pytest.mark.parametrize(
    "command",
    [
        "run --cache_dir",
        "tokenize --cache_dir",
        "tokenize --output_dir",
        "report --to",
        "prepare --data_path",
    ],
)
def test_a_file_in_a_folders_place_is_one_line(
    command: str, place: str, ml_mini: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stays as it is."""
    Path("taken").write_text("a file")
    Path("shop.csv").write_text("user,item\nu,a\n")
    name, option = command.split()
    lsa = [f"--data_path={ml_mini}", "--dataset=ml-mini", "--text_encoder=lsa", "--codebook_sizes=[4,4]"]
    given = {
        "run": [*lsa, "--epochs=1", "--use_gpu=false"],
        "tokenize": lsa,
        "prepare": ["--from-csv=shop.csv"],
    }
    given["report"] = [
        str(Material(in_empty_folder, users=40, items=30).write_run("ItemID", 1, 0.1, tokens=False))
    ]
    assert main([name, *given[name], f"{option}={place}"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("recbole-unisid: ")]
    assert "taken" in line
    assert Path("taken").read_text() == "a file"


@pytest.mark.parametrize("place", ["taken", "taken/below"])
def test_an_output_folder_that_is_a_file_is_refused_before_any_work(
    place: str, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(RunTrainer, "fit", lambda *_, **__: pytest.fail("trained"))
    Path("taken").write_text("a file")
    arguments = [*QUICK, "--model=ItemID,SASRec", f"--data_path={ml_mini}", f"--output_dir={place}"]
    assert main(["run", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--output_dir" in line


def test_a_folder_without_permission_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(UserError, match=r"Permission denied.*--output_dir"), owned(tmp_path / "run", True):
        pytest.fail("went on")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(28, "No space left on device", "runs/x"),
            "runs/x: No space left on device; free some space",
        ),
        (PermissionError(13, "Permission denied", "x"), "choose a place"),
        (MemoryError(), "Not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "lower train_batch_size"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "free some space"),
    ],
)
def test_trouble_of_the_machine_is_one_line(error: Exception, words: str) -> None:
    assert words in str(machine_trouble(error))


@pytest.mark.parametrize("error", [RuntimeError("shape"), ValueError("x"), KeyError("x")])
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    assert machine_trouble(error) is None
