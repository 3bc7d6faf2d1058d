"""The descriptions of settings: complete, true to the registries, and written out as they are."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT

from recbole_unisid.config.settings import KINDS, place_keys, settings, words_of
from recbole_unisid.items.part import PARTS
from recbole_unisid.models import rpg
from recbole_unisid.models.backbones import BACKBONES
from recbole_unisid.models.losses import LOSSES
from recbole_unisid.models.tiger import model as tiger
from recbole_unisid.recbole_adapter.optimisation import SCHEDULES
from recbole_unisid.recbole_adapter.registry import GENERAL_BASELINES, OWN_MODELS, known_models, resolve
from recbole_unisid.recbole_adapter.validation import CANDIDATES
from recbole_unisid.tokens.collisions import STRATEGIES
from recbole_unisid.tokens.quantiser import CODE_LENGTHS, DISTANCES
from recbole_unisid.tokens.registry import TOKENIZERS
from recbole_unisid.tokens.residual_quantiser import ESTIMATORS, LEARNING


def test_comments_and_the_page_are_what_the_descriptions_say() -> None:
    """Comments of ``properties/`` and docs/settings.md come from properties/settings.yaml."""
    command = [sys.executable, ROOT / ".ci" / "settings.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_kind_and_reader_is_known() -> None:
    """A description names a kind of values, who reads it, and says something."""
    for setting in settings().values():
        assert isinstance(setting.kind, tuple) or setting.kind in KINDS, setting
        assert setting.by in {"all", "ours", "recbole", "sequential", "listed", "nobody"}, setting
        assert setting.words.endswith("."), setting
        assert words_of(setting.kind), setting


@pytest.mark.parametrize(
    ("key", "registered"),
    [
        ("tokenizer", TOKENIZERS),
        ("collisions", STRATEGIES),
        ("joint_learning", (*LEARNING, "direct")),
        ("joint_estimator", ESTIMATORS),
        ("joint_code_length", CODE_LENGTHS),
        ("loss", (*LOSSES, *rpg.LOSSES)),
        ("semantics", PARTS),
        ("backbone", BACKBONES),
        ("architecture", tiger.ARCHITECTURES),
        ("ranker", tiger.RANKERS),
        ("softmax_over", tiger.SOFTMAXES),
        ("schedule", SCHEDULES),
        ("valid_candidates", ("full_unfiltered", *CANDIDATES)),
    ],
)
def test_choices_are_those_of_the_registries(key: str, registered: object) -> None:
    """The descriptions import none of them: a misspelt option is to be answered at once."""
    setting = settings()[key]
    words = setting.kind if isinstance(setting.kind, tuple) else setting.known
    assert sorted(words) == sorted(registered)  # type: ignore[call-overload]


def test_distances_are_those_of_the_quantiser() -> None:
    """They are members of a list."""
    assert words_of("distances") == f"a list, each of it one of {', '.join(DISTANCES)}"


def test_what_is_no_part_of_a_runs_hash() -> None:
    """A key more would give two different runs one folder, a key less would run a finished run again."""
    places = "data_path output_dir cache_dir checkpoint_dir config_files config_file device gpu_id use_gpu local_rank"
    screen = "single_spec worker show_progress state verbose log_wandb wandb_project seeds checkpoint_minutes"
    assert place_keys() == {*places.split(), *screen.split()}


def test_a_model_is_resolved_once_to_what_it_is() -> None:
    """Of ours and of RecBole, for every name: the class by its own name, its kind as the class says."""
    from recbole.utils import ModelType

    for name in known_models():
        model = resolve(name)
        assert (model.name, model.family, model.users) == (name, name, False)
        assert model.cls.__name__ == name
        assert model.ours == (name in OWN_MODELS)
        assert model.sequential == (model.cls.type == ModelType.SEQUENTIAL) == (name not in GENERAL_BASELINES)
        assert model.needs == {
            "UniSID": "tokens",
            "SemanticID": "tokens",
            "TIGER": "tokens",
            "RPG": "tokens",
        }.get(name, "vectors" if name == "DenseText" else None)
