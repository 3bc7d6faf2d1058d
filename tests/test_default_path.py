"""The files that UniSID's forward pass and loss go through are those that docs/architecture.md lists."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType

from conftest import ROOT

from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics

PACKAGE = ROOT / "recbole_unisid"


def listed() -> set[str]:
    """The first column of the table of files."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## The default model in four files")[2].partition("Around them")[0]
    return set(re.findall(r"^\| `([\w/]+\.py)` \|", table, re.M))


def test_a_step_and_a_scoring_stay_within_the_listed_files(ml_mini: Path, in_empty_folder: Path) -> None:
    """Python's profiler sees every function of ours that runs; the files are four and short."""
    given = {"data_path": str(ml_mini), "text_encoder": "lsa", "show_progress": False, "use_gpu": False}
    config = UniSIDConfig("UniSID", "ml-mini", settings=given | {"codebook_sizes": [4, 4]})
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    loaders = make_loaders(config, dataset)
    model = config.make_model(loaders.train.dataset)
    batch, asked = next(iter(loaders.train)), next(iter(loaders.test))[0]
    seen: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            seen.add(Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix())

    sys.setprofile(note)
    try:
        model.train().calculate_loss(batch)
        model.eval().full_sort_predict(asked)
    finally:
        sys.setprofile(None)
    assert seen == listed()
    assert len(seen) <= 4
    assert sum(len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) for name in seen) <= 600
