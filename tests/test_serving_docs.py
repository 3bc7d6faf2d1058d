"""The commands and the Python of docs/product.md and docs/serving.md work as they are printed."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from documents import blocks
from serving_material import UntrainedRun

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.serving import recommender
from recbole_unisid.serving.export import export


def python_of(name: str) -> list[str]:
    """The Python blocks of a page."""
    return [block.text for block in blocks(ROOT / "docs" / name) if block.language == "python"]


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
    (code,) = python_of("product.md")
    exec(code, {})
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_recommender_of_the_serving_page_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its Python, beside an export that has the items it names and with the exported folder's own module."""
    code = python_of("serving.md")[0]
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


def test_a_vector_database_in_the_place_of_the_index(
    served_runs: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's Qdrant, embedded: the lists of the exact index, of vectors of unequal length and with score terms."""
    pytest.importorskip("qdrant_client", reason="pip install 'recbole_unisid[vectors]'")
    run = recbole_unisid.load(served_runs("UniSID"))
    export(run, tmp_path / "exported", "exact")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "recommender", recommender)
    code = re.sub(r"B0\w{8}", lambda _: run.item_ids[1], python_of("serving.md")[1])
    names: dict[str, Any] = {}
    exec(code, names)
    own, there = recommender.Recommender("exported"), names["recommender"]
    lengths = np.linalg.norm(own.vectors, axis=1)
    assert lengths.max() > 1.5 * lengths.min()
    assert own.manifest["terms"]
    draw = np.random.default_rng(0)
    histories = [draw.choice(own.ids, draw.integers(1, 30)).tolist() for _ in range(50)]
    for expected, found in zip(own.recommend_many(histories), there.recommend_many(histories), strict=True):
        assert [one.id for one in found] == [one.id for one in expected]
        assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-4)
    names["client"].close()
