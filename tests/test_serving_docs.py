"""The commands of docs/product.md work as they are printed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from recbole_unisid.commands.main import main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "product.md"


def test_the_page_works_as_printed(
    served_runs: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each recommend and add-items line, and the Python, with RUN as a run's folder."""
    shutil.copytree(served_runs("UniSID"), tmp_path / "RUN")
    monkeypatch.chdir(tmp_path)
    Path("users.txt").write_text('1\n["Fargo"]\n')
    Path("new.csv").write_text("item_id,movie_title\nn1,Space Sheriff\n")
    page = PAGE.read_text(encoding="utf-8")
    lines = re.findall(r"^recbole-unisid ((?:recommend|add-items) .*)$", page, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        words = [word.replace('"', "") for word in re.findall(r'(?:[^\s"]|"[^"]*")+', line.split(" >")[0])]
        assert main(words) == 0, line
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    capsys.readouterr()
    exec(code[0], {})
    assert len(capsys.readouterr().out.splitlines()) == 5
