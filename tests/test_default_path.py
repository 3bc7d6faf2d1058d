"""The files that UniSID's forward pass, loss and score terms go through are those that docs/architecture.md lists."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from conftest import ROOT

from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import Loaders, make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics

PACKAGE = ROOT / "recbole_unisid"


def listed(table: int) -> set[str]:
    """The first column of a table of files: 0 those of the model, 1 those of the score terms."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    part = page.partition("## The default model in four files")[2].partition("Around them")[0]
    tables = part.split("| file (below `recbole_unisid/`) |")[1:]
    return set(re.findall(r"^\| `([\w/]+\.py)` \|", tables[table], re.M))


def prepared(root: Path, **settings: Any) -> tuple[Any, Loaders]:
    """UniSID, not trained, and its batches."""
    given = {"data_path": str(root), "text_encoder": "lsa", "show_progress": False, "use_gpu": False}
    config = UniSIDConfig("UniSID", "ml-mini", settings=given | {"codebook_sizes": [4, 4]} | settings)
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    loaders = make_loaders(config, dataset)
    return config.make_model(loaders.train.dataset), loaders


@contextmanager
def files_that_run() -> Iterator[set[str]]:
    """Python's profiler sees every function of ours that runs."""
    seen: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            seen.add(Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix())

    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("settings", [{}, {"backbone": "filter"}, {"backbone": "transformer"}])
def test_a_step_and_a_scoring_stay_within_the_listed_files(
    settings: dict[str, str], ml_mini: Path, in_empty_folder: Path
) -> None:
    """The defaults first; the files are four and short. The scores are states @ item vectors, without score terms."""
    model, loaders = prepared(ml_mini, **settings)
    model.terms = None
    batch, asked = next(iter(loaders.train)), next(iter(loaders.test))[0]
    with files_that_run() as seen:
        model.train().calculate_loss(batch)
        model.eval().full_sort_predict(asked)
    assert seen == listed(0)
    assert len(seen) <= 4
    assert sum(len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) for name in seen) <= 600


def test_score_terms_are_no_part_of_training_and_stay_within_theirs(
    ml_mini: Path, in_empty_folder: Path
) -> None:
    """A training step runs none of their files; the fit of their weights and a scoring run them all."""
    model, loaders = prepared(ml_mini, score_terms=["all"])
    batch, validation = next(iter(loaders.train)), list(loaders.valid)
    with files_that_run() as trained:
        model.train().calculate_loss(batch)
    assert trained == listed(0)
    assert not model.terms.weights.any()
    with files_that_run() as seen, torch.no_grad():
        model.eval().terms.fit(model, validation, ranked=validation)
        model.full_sort_predict(validation[0][0])
    assert model.terms.weights.all()
    assert seen - listed(0) == listed(1)
