"""Semantic parts, backbones and losses of the user's own, each named by a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.config.defaults import properties_folder, read_yaml
from recbole_unisid.config.settings import settings
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.finished_run import StoredConfig
from recbole_unisid.report.run_files import differing_settings
from recbole_unisid.runs import single

pytestmark = pytest.mark.usefixtures("nothing_in_use")

PARTS = """
import torch
from torch import nn
from recbole_unisid.items.text import TextProjection
from recbole_unisid.models.backbones.base import Backbone
from recbole_unisid.models.losses.softmax import Softmax

class Halved(TextProjection):
    def forward(self, items):
        return super().forward(items) / 2

class Still(Halved):
    grows = False

class Sum(Backbone):
    defaults = {"fade": 0.5}
    def __init__(self, width, fade):
        super().__init__()
        self.fade, self.layer = fade, nn.Linear(width, width)
    @classmethod
    def from_config(cls, config, width):
        return cls(width, config["fade"])
    def forward(self, items):
        return self.layer(self.fade * items.cumsum(1))
    def start(self):
        nn.init.eye_(self.layer.weight)

class Backwards(Sum):
    def forward(self, items):
        return super().forward(items.flip(1)).flip(1)

class Doubled(Softmax):
    def forward(self, positions):
        return 2 * super().forward(positions)
"""


def settings_of(root: Path, **more: str) -> dict[str, Any]:
    """Of a short run with parts of the user's own."""
    Path("own_parts.py").write_text(PARTS)
    for name in more.values():
        recbole_unisid.use(name)
    given = {"data_path": str(root), "text_encoder": "lsa", "epochs": 1, "show_progress": False}
    return given | {"id_dim": 4, "codebook_sizes": [4, 4]} | more


def test_a_run_of_own_parts_loads_and_scores(ml_mini: Path, in_empty_folder: Path) -> None:
    """A text part, a backbone with a setting of its own and a loss, in UniSID; the run remembers their code."""
    names = {"semantics": "own_parts:Halved", "backbone": "own_parts:Sum", "loss": "own_parts:Doubled"}
    given = settings_of(ml_mini, **names) | {"fade": 0.25, "score_terms": []}
    result = recbole_unisid.run("UniSID", "ml-mini", given, verbose=False)
    run = recbole_unisid.load(result["run_dir"])
    assert run.model.transformer.fade == 0.25
    assert result["tokenizer"] is None
    history = np.array([1, 2, 3])
    expected = run.states([history]) @ run.item_vectors.T  # type: ignore[union-attr]
    np.testing.assert_allclose(run.scores([history]), expected, rtol=1e-5, atol=1e-6)
    assert sorted(run.stored.manifest["code"]) == sorted(names.values())


def test_a_part_that_takes_in_no_items_says_what_to_write(
    ml_mini: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The method that is missing, where it is described, and what helps without it."""
    given = settings_of(ml_mini, semantics="own_parts:Still")
    folder = recbole_unisid.run("UniSID", "ml-mini", given, verbose=False)["run_dir"]
    Path("new.csv").write_text("item_id,movie_title,class\nnew,A New Film,Comedy\n")
    assert main(["add-items", f"--run={folder}", "--items=new.csv"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "own_parts:Still has no `append`" in said
    assert "`grows = True` (docs/extending.md), or add the items to the data set and train again" in said


def test_a_backbone_that_looks_ahead_is_refused(ml_mini: Path, in_empty_folder: Path) -> None:
    given = settings_of(ml_mini, backbone="own_parts:Backwards")
    with pytest.raises(UserError, match="its transformer looks ahead"):
        recbole_unisid.run("UniSID", "ml-mini", given, verbose=False)


@pytest.mark.parametrize("setting", ["semantics", "backbone", "loss", "score_terms"])
def test_unknown_names_and_unknown_code(
    setting: str, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is none of the registry's, before any text is encoded; a class that nobody here asked for."""
    given = settings_of(ml_mini)
    monkeypatch.setattr(single, "item_semantics", lambda *_: pytest.fail("encoded"))
    with pytest.raises(UserError, match=f"{setting}='sofmax' is none of"):
        recbole_unisid.run("UniSID", "ml-mini", given | {setting: "sofmax"}, verbose=False)
    Path("given.yaml").write_text(f"{setting}: own_parts:Sum\n")
    with pytest.raises(UserError, match=f"{setting} 'own_parts:Sum' is code of somebody's own"):
        recbole_unisid.run("UniSID", "ml-mini", given, ["given.yaml"], verbose=False)


def test_the_first_backbone_keeps_the_hash_of_runs(ml_mini: Path, in_empty_folder: Path) -> None:
    """Settings that came after runs were made: at what stood for them then, a run has the hash that it had."""
    first = settings_of(ml_mini) | {"backbone": "transformer", "score_terms": []}
    hashed = UniSIDConfig("UniSID", "ml-mini", first).hashed()
    assert not {"backbone", "score_terms"} & hashed.keys()
    for given in (settings_of(ml_mini), settings_of(ml_mini, backbone="own_parts:Sum")):
        other = UniSIDConfig("UniSID", "ml-mini", given).hashed()
        assert (other["backbone"], other["score_terms"]) == (given.get("backbone", "filter"), ["all"])


def test_what_new_items_get_is_part_of_the_hash(ml_mini: Path, in_empty_folder: Path) -> None:
    """Older runs left an item that was never trained on as it was; cold ones were of mean popularity."""

    def hashed(**more: Any) -> dict[str, Any]:
        return UniSIDConfig("UniSID", "ml-mini", settings_of(ml_mini) | more).hashed()

    now = {"new_item_popularity": 0.9, "new_item_neighbours": 10}
    assert hashed()["new_item_neighbours"] == 10
    assert "new_item_popularity" not in hashed()
    assert not now.keys() & hashed(new_item_neighbours=0).keys()
    for recipe in ("plain", "paper"):
        assert not now.keys() & hashed(recipe=recipe).keys()
    for recipe in ("dense", "very_dense", "large", "sampled99"):
        assert hashed(recipe=recipe)["new_item_neighbours"] == 10
    assert hashed(new_item_popularity=0.5, new_item_neighbours=3).items() >= {
        ("new_item_popularity", 0.5),
        ("new_item_neighbours", 3),
    }
    assert hashed(split="cold_items").items() >= now.items()
    assert not now.keys() & hashed(split="global_time").keys()
    older = {"split": "cold_items", "score_terms": ["all"]}
    assert differing_settings([older, older | now]) == sorted(now)
    left_out = [one | {"split": "leave_one_out"} for one in (older, older | now)]
    assert differing_settings(left_out) == ["new_item_neighbours"]
    assert not differing_settings([left_out[0], left_out[1] | {"new_item_neighbours": 0}])


def test_a_run_older_than_a_setting_is_loaded_with_what_stood_for_it(
    ml_mini: Path, in_empty_folder: Path
) -> None:
    kept = UniSIDConfig("UniSID", "ml-mini", settings_of(ml_mini)).resolved()
    older = {key: value for key, value in kept.items() if key not in ("backbone", "score_terms")}
    for stored, backbone, terms in ((older, "transformer", []), (kept, "filter", ["all"])):
        config = StoredConfig(stored)
        assert (config["backbone"], config["score_terms"]) == (backbone, terms)


@pytest.mark.parametrize(
    "more",
    [{}, {"recipe": "plain"}, {"split": "cold_items"}, {"split": "global_time"}, {"new_item_neighbours": 0}],
)
def test_a_run_older_than_what_says_nothing_in_it_is_the_same_run(
    more: dict[str, Any], ml_mini: Path, in_empty_folder: Path
) -> None:
    """It loads, and where a setting says nothing old and new have one hash and one row."""
    config = UniSIDConfig("UniSID", "ml-mini", {"data_path": str(ml_mini), "text_encoder": "lsa"} | more)
    kept = config.resolved()
    older = {key: value for key, value in kept.items() if key not in ("shrinkage", "popularity_scale")}
    assert StoredConfig(older)["shrinkage"] == 0
    told = [key for key in ("popularity_scale", "shrinkage") if key in config.hashed()]
    assert told == (
        ["popularity_scale", "shrinkage"] if not more else [] if "recipe" in more else ["popularity_scale"]
    )
    assert differing_settings([older, kept]) == told


@pytest.mark.parametrize("recipe", ["paper", "sampled99", "plain"])
def test_recipes_keep_the_first_backbone_without_score_terms(
    recipe: str, ml_mini: Path, in_empty_folder: Path
) -> None:
    given = {"data_path": str(ml_mini), "recipe": recipe, "text_encoder": "lsa"}
    for model in ("UniSID", "SemanticID", "ItemID", "DenseText"):
        if recipe not in read_yaml(properties_folder() / "model" / f"{model}.yaml")["recipes"]:
            continue
        read = {key: value for key, value in given.items() if model != "ItemID" or key != "text_encoder"}
        hashed = UniSIDConfig(model, "ml-mini", read).hashed()
        assert not {"backbone", "score_terms", "filter_taps", "schedule", "warmup_steps"} & hashed.keys()
        assert (hashed["epochs"], hashed["eval_step"]) == (200, 1 if recipe == "paper" else 2)


def test_a_registered_part_has_defaults_and_is_tried(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of the user's own: its ``defaults`` stand below what is given, and one that looks ahead is refused."""
    given = settings_of(ml_mini)
    Path("registered_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(in_empty_folder)
    for name in ("Sum", "Backwards"):
        monkeypatch.setitem(settings()["backbone"].known, name, f"registered_parts:{name}")  # type: ignore[arg-type]
    assert UniSIDConfig("UniSID", "ml-mini", given | {"backbone": "Sum"})["fade"] == 0.5
    assert UniSIDConfig("UniSID", "ml-mini", given | {"backbone": "Sum", "fade": 0.25})["fade"] == 0.25
    with pytest.raises(UserError, match="its transformer looks ahead"):
        recbole_unisid.run(
            "UniSID", "ml-mini", given | {"backbone": "Backwards", "fade": 0.25}, verbose=False
        )
