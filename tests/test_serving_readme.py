"""The section "Use it in your product" of the README, as printed, on a small run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from serving_material import Service

import recbole_unisid


def section() -> str:
    """The section's text."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^## Use it in your product\n(.*?)^## ", text, re.M | re.S)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def shop(ml_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run at the place that the README's main command puts one, and the console command."""
    folder = tmp_path_factory.mktemp("product")
    settings = {
        **{"data_path": str(ml_mini), "output_dir": str(folder / "made"), "cache_dir": str(folder / "cache")},
        **{"text_encoder": "lsa", "codebook_sizes": [8, 8, 8], "epochs": 2, "show_progress": False},
    }
    made = recbole_unisid.run("UniSID", "ml-mini", settings, verbose=False)
    (folder / "runs/ml-100k").mkdir(parents=True)
    Path(made["run_dir"]).parent.rename(folder / "runs/ml-100k/UniSID")
    command = folder / "bin" / "recbole-unisid"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m recbole_unisid.commands.main "$@"\n')
    command.chmod(0o755)
    return folder


def test_the_section_is_short() -> None:
    """At most twenty lines with its heading."""
    assert len(section().strip().splitlines()) + 2 <= 20


def test_the_section_works_as_printed(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands in a shell, its Python in an interpreter, and the service that it names."""
    monkeypatch.chdir(shop)
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {
        "PATH": f"{shop / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": python_path,
    }

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    blocks = re.findall(r"```(python)?\n(.*?)```", section(), re.S)
    assert [kind for kind, _ in blocks] == ["", "python"]
    assert "-> exported" in run("bash", "-euo", "pipefail", "-c", blocks[0][1])
    lines = run(sys.executable, "-c", blocks[1][1]).splitlines()
    assert len(lines) == 5
    serve = re.search(r"`recbole-unisid serve (.*?)`", section())
    assert serve
    monkeypatch.setenv("PYTHONPATH", python_path)
    service = Service(*serve[1].split())
    (first,) = service.ask("items?q=toy+story&limit=1")[1]["items"]
    assert [line.split()[0] for line in lines] == service.recommended([first["id"]], k=5)
    assert service.stop() == (0, "")
