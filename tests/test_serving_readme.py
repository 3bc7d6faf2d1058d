"""The section "Use it in your product" of the README, as printed, on a small run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from serving_material import Service


def section() -> str:
    """The section's text."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^## Use it in your product\n(.*?)^## ", text, re.M | re.S)
    assert found
    return found[1]


@pytest.fixture
def product(served_runs: Callable[[str], Path], tmp_path: Path) -> Path:
    """A folder with a run at the place where the README's main command puts one, and the console command."""
    shutil.copytree(served_runs("UniSID"), tmp_path / "runs/ml-100k/UniSID/2020-0123456789ab")
    command = tmp_path / "bin" / "recbole-unisid"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m recbole_unisid.commands.main "$@"\n')
    command.chmod(0o755)
    return tmp_path


def test_the_section_is_short() -> None:
    """At most twenty lines with its heading."""
    assert len(section().strip().splitlines()) + 2 <= 20


def test_the_section_works_as_printed(product: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands in a shell, its Python in an interpreter, and the service that it names."""
    monkeypatch.chdir(product)
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {
        "PATH": f"{product / 'bin'}{os.pathsep}{os.environ['PATH']}",
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
