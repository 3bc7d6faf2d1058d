"""The commands and the Python of docs/product.md and docs/serving.md work as they are printed."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from documents import blocks
from serving_material import UntrainedRun

from recbole_unisid.commands.main import main
from recbole_unisid.serving.export import export


def python_of(name: str) -> str:
    """The one Python block of a page."""
    (block,) = (block for block in blocks(ROOT / "docs" / name) if block.language == "python")
    return block.text


def test_the_product_page_works_as_printed(
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
    page = (ROOT / "docs" / "product.md").read_text(encoding="utf-8")
    lines = re.findall(r"^recbole-unisid ((?:recommend|add-items) .*)$", page, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        words = [word.replace('"', "") for word in re.findall(r'(?:[^\s"]|"[^"]*")+', line.split(" >")[0])]
        assert main(words) == 0, line
    capsys.readouterr()
    exec(python_of("product.md"), {})
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_recommender_of_the_serving_page_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its Python, beside an export that has the items it names and with the exported folder's own module."""
    code = python_of("serving.md")
    run = UntrainedRun()
    named = sorted(set(re.findall(r"B0\w{8}", code)))
    run.item_ids[1 : 1 + len(named)] = named
    export(run, tmp_path / "exported")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "exported")
    monkeypatch.delitem(sys.modules, "recommender", raising=False)
    names: dict[str, object] = {}
    exec(code, names)
    assert Path(sys.modules.pop("recommender").__file__ or "").parent == tmp_path / "exported"
    assert capsys.readouterr().out == "True\n"
