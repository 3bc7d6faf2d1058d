"""The descriptions of settings: complete, true to the registries, and written out as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

import recbole_unisid
from recbole_unisid.commands.options import parse_options
from recbole_unisid.config.defaults import read_yaml
from recbole_unisid.config.given import given_settings, parsed
from recbole_unisid.config.settings import KINDS, place_keys, settings, words_of
from recbole_unisid.errors import UserError
from recbole_unisid.models.tiger import model as tiger
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.keys import RUN_KEYS, check_read, keys_read, recbole_keys
from recbole_unisid.recbole_adapter.optimisation import SCHEDULES
from recbole_unisid.recbole_adapter.registry import (
    GENERAL_BASELINES,
    OWN_MODELS,
    PUBLISHED_MODELS,
    RULES,
    known_models,
    recbole_folder,
    resolve,
)
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
        ("architecture", tiger.ARCHITECTURES),
        ("ranker", tiger.RANKERS),
        ("softmax_over", tiger.SOFTMAXES),
        ("schedule", SCHEDULES),
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
    started = "from"
    screen = "single_spec worker show_progress state verbose log_wandb wandb_project seeds checkpoint_minutes"
    assert place_keys() == {*places.split(), *screen.split(), started}


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
        }.get(name, "vectors" if name in {"DenseText", "NearestText", "TransitionText"} else None)


#: What is accepted nowhere: a setting, the model that it is given to, and what the message says.
UNREAD = [
    ("UniSID", {"hidden_size": 256}, "it reads semantic_dim and attention_dim and id_dim"),
    ("UniSID", {"embedding_size": 8}, "semantic_dim"),
    ("UniSID", {"num_layers": 3}, "it reads n_layers"),
    ("UniSID", {"dropout_prob": 0.1}, "it reads hidden_dropout_prob and attn_dropout_prob"),
    ("UniSID", {"loss_type": "CE"}, "it reads loss"),
    ("ItemID", {"threshold": {"rating": 4}}, "keep ratings with val_interval"),
    ("ItemID", {"train_neg_sample_args": None}, "it reads negatives"),
    ("ItemID", {"codebook_sizes": [8, 8]}, "ItemID does not read codebook_sizes"),
    ("SASRec", {"semantic_dim": 8}, "it reads hidden_size"),
    ("SASRec", {"loss": "bce"}, "it reads loss_type"),
    ("BSARec", {"semantic_dim": 8}, "it reads hidden_size"),
    ("BSARec", {"loss_type": "BPR"}, "BSARec does not read loss_type"),
    (
        "BSARec",
        {"train_neg_sample_args": {"distribution": "popularity"}},
        "BSARec does not read train_neg_sample_args",
    ),
    ("WEARec", {"attn_dropout_prob": 0.1}, "it reads hidden_dropout_prob"),
    ("WEARec", {"filter_cutoff": 3}, "WEARec does not read filter_cutoff"),
    ("GRU4Rec", {"n_layers": 3}, "it reads num_layers"),
    ("GRU4Rec", {"n_heads": 3}, "GRU4Rec does not read n_heads"),
    ("BPR", {"MAX_ITEM_LIST_LENGTH": 9}, "BPR does not read MAX_ITEM_LIST_LENGTH"),
    ("Pop", {"compile": True}, "Pop does not read compile"),
    ("SASRec,GRU4Rec", {"loss": "bce"}, "SASRec, GRU4Rec do not read loss"),
    ("UniSID", {"kg_reverse_r": True}, "knowledge graph"),
    ("UniSID", {"valid_metric_bigger": False}, "It follows from valid_metric"),
    ("UniSID", {"save_dataset": True}, "pickle"),
    ("SASRec", {"neg_sampling": {"uniform": 1}}, "its name is train_neg_sample_args"),
    ("BPR", {"eval_setting": "TO_LS,full"}, "its name is eval_args"),
    ("SASRec", {"min_user_inter_num": 5}, "it is user_inter_num_interval, such as [5,inf)"),
    ("ItemID", {"lowest_val": {"rating": 4}}, "it is val_interval, such as {rating: '[4,inf)'}"),
    ("ItemID", {"nproc": 2}, "torchrun starts several processes"),
    ("UniSID", {"learning_rat": 1}, "There is no setting 'learning_rat'"),
]


@pytest.mark.parametrize(("models", "given", "words"), UNREAD)
def test_what_no_model_reads_is_refused_with_what_it_reads(
    models: str, given: dict[str, Any], words: str, in_empty_folder: Path
) -> None:
    """A benchmark must not let people believe that they tried a hidden size of 256; nothing is begun."""
    with pytest.raises(UserError) as raised:
        recbole_unisid.run(models, "none-such", given, verbose=False)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not any(in_empty_folder.iterdir())


def test_in_a_comparison_one_reader_is_enough() -> None:
    """One command line sets up models that differ."""
    models = [resolve(name) for name in ("ItemID", "SASRec", "GRU4Rec", "UniSID")]
    check_read(
        {"codebook_sizes": [8], "hidden_size": 32, "num_layers": 1, "loss": "bce", "id_dim": 4}, models
    )


def test_a_setting_that_repeats_a_default_asks_for_nothing() -> None:
    """config.yaml of a run holds RecBole's defaults, too; the same with another value is refused."""
    check_read({"train_neg_sample_args": settings_of_recbole()["train_neg_sample_args"]}, [resolve("UniSID")])
    check_read({"require_pow": False, "threshold": None, "compile": False}, [resolve("SASRec")])
    with pytest.raises(UserError, match="does not read require_pow"):
        check_read({"require_pow": True}, [resolve("SASRec")])


def settings_of_recbole() -> dict[str, Any]:
    """RecBole's defaults for every model."""
    return read_yaml(recbole_folder() / "properties" / "overall.yaml")


def test_no_setting_falls_between() -> None:
    """Every key of RecBole's and of ours is read by a model, or refused by every one of them in a line."""
    read_by = {name: keys_read(resolve(name)) for name in known_models()}
    everybody = [resolve(name) for name in known_models()]
    refused = []
    for key in sorted(recbole_keys() | settings().keys()):
        if key in RUN_KEYS:
            continue
        readers = [name for name, read in read_by.items() if key in read]
        for name in {"UniSID", "SASRec", "Pop"} - set(readers):
            with pytest.raises(UserError) as raised:
                check_read({key: "a value that is no default"}, [resolve(name)])
            assert key in str(raised.value)
        if not readers:
            refused.append(key)
            with pytest.raises(UserError):
                check_read({key: "a value that is no default"}, everybody)
    assert {key for key, setting in settings().items() if setting.by == "nobody"} <= set(refused)
    assert len(refused) > 100  # of models that do not run here
    assert all(setting.name not in refused for setting in settings().values() if setting.by != "nobody")


def test_each_of_our_settings_stands_in_our_code() -> None:
    """A description of something that nothing reads would be a promise that nothing keeps."""
    files = [path for path in (ROOT / "recbole_unisid").rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    for key in {name for name, setting in settings().items() if setting.by != "nobody"} - recbole_keys():
        assert re.search(rf"""["']{key}["']""", code), key


#: Asked for by code that models share: RecBole's warning about weight decay, the ID of a model without one, parts that
#: may be classes of the user's own, and two parts of losses that RPG does not have.
IDLE = {"reg_weight", "id_join", "semantics", "lookahead_weight", "negatives", "loss", "backbone"}


@pytest.mark.parametrize("model", [*OWN_MODELS, *PUBLISHED_MODELS, "SASRec", "GRU4RecF", "BPR", "Pop"])
def test_what_a_run_asks_for_is_what_its_model_is_said_to_read(
    model: str, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a setting with an effect would be refused."""
    asked: set[str] = set()
    getter = UniSIDConfig.__getitem__

    def noting(self: Any, key: str) -> Any:
        asked.add(key)
        return getter(self, key)

    monkeypatch.setattr(UniSIDConfig, "__getitem__", noting)
    given = {"data_path": str(ml_mini), "show_progress": False}
    small = {"epochs": 1, "text_encoder": "lsa", "codebook_sizes": [8, 8], "MAX_ITEM_LIST_LENGTH": 10}
    small |= {"text_encoder": "lsa", "beams": 20} | ({"codebook_sizes": [8] * 4} if model == "RPG" else {})
    given |= {key: value for key, value in small.items() if key in keys_read(resolve(model))}
    recbole_unisid.run(model, "ml-mini", given, verbose=False)
    about = settings()
    # Code that models share asks for these whatever the model, where they have no effect or are refused.
    idle = {key for key in asked if key in about and about[key].by in {"nobody", "recbole", "ours"}} | IDLE
    if model in RULES:  # parts that rules do not have, and RecBole's trainer, which has nothing to do
        idle |= {"id_dim", "score_terms", "initializer_range"}
        idle |= {key for key in asked if key in about and about[key].group == "Training"}
    assert "learning_rate" in asked
    assert asked - idle - RUN_KEYS <= keys_read(resolve(model))


@pytest.mark.parametrize(
    "command", [["run", "--modle=x"], ["run", "--model=SASRek"], ["run", "--help", "--model=RPG"]]
)
def test_options_are_read_before_torch(command: list[str]) -> None:
    """Neither torch nor RecBole is imported for a misspelt option, a misspelt model or help."""
    code = (
        "import sys; from recbole_unisid.commands.main import main; status = main(sys.argv[1:]); "
        "assert not {'torch', 'recbole', 'pandas', 'sklearn'} & set(sys.modules), sorted(sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == (0 if "--help" in command else 2), done.stderr
    assert "Did you mean" in done.stderr or "codebook_sizes" in done.stdout


def test_the_package_is_a_command() -> None:
    """``python -m recbole_unisid`` is the console command."""
    command = [sys.executable, "-m", "recbole_unisid", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"recbole_unisid {recbole_unisid.__version__}"


def test_home_is_meant_by_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No shell replaces it behind an equals sign: on the command line, in files and from Python."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("data_path: ~/data\ncache_dir: ~\n", encoding="utf-8")
    assert parse_options(["--run=~/runs/shop", "--to", "~/page"]) == {
        "run": f"{tmp_path}/runs/shop",
        "to": f"{tmp_path}/page",
    }
    given = parsed(
        given_settings(["~/mine.yaml"], {"output_dir": "~/runs", "tokens_file": Path("~/codes.tsv")})
    )
    assert given == {
        "data_path": f"{tmp_path}/data",
        "cache_dir": None,
        "output_dir": f"{tmp_path}/runs",
        "tokens_file": tmp_path / "codes.tsv",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no settings"),
        ("# nothing but words\n", "holds no settings"),
        ("5: 3\n", "5 is no name of a setting"),
        ("null: 3\n", "None is no name of a setting"),
        ("[a, b]: 3\n", "cannot be read"),
        ("seed: 1\nseed: 2\n", "'seed' stands twice"),
        ("tokenizer_options: " + "{a: " * 30 + "1" + "}" * 30, "nested deeper than any setting"),
        ("metrics: " + "[" * 3000 + "]" * 3000, "nested deeper than any setting"),
        ("metrics: &again [*again]\n", "nested deeper than any setting"),
        ("seed: 2020-13-45\n", "cannot be read"),
        ("- seed\n", "'key: value' lines, not a list"),
    ],
)
def test_a_file_of_settings_that_is_none_is_said_in_one_line(text: str, words: str, tmp_path: Path) -> None:
    """With the file's name."""
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words) as raised:
        given_settings([tmp_path / "mine.yaml"], {})
    assert "mine.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_numbers_of_numpy_are_numbers() -> None:
    """A loop over an array of seeds gives what a list of them gives."""
    assert parsed({"seed": np.int64(3), "learning_rate": np.float32(0.5)}) == {
        "seed": 3,
        "learning_rate": 0.5,
    }
    assert type(parsed({"seed": np.int64(3)})["seed"]) is int


@pytest.mark.parametrize(
    ("model", "items", "sizes"),
    [
        ("UniSID", 300, [16] * 3),
        ("UniSID", 40, [4] * 3),
        ("SemanticID", 300, [64] * 5),
        ("TIGER", 999, [128] * 5),
        ("RPG", 300, [64] * 16),
        ("UniSID", 675, [32] * 3),
        ("UniSID", 1000, [512] * 3),
        ("SemanticID", 1682, [512] * 5),
    ],
)
@pytest.mark.parametrize("listed", [40, 3675])
def test_default_codebooks_fit_a_small_catalogue(
    model: str, items: int, sizes: list[int], listed: int, tmp_path: Path
) -> None:
    """A thousand items and more keep the defaults, whatever the item file lists; a recipe is as published."""
    (tmp_path / "small").mkdir()
    rows = "".join(f"{user}\t{item}\t{user}\n" for user in (1, 2) for item in range(items))
    (tmp_path / "small" / "small.inter").write_text(f"user_id:token\titem_id:token\ttimestamp:float\n{rows}")
    rows = "".join(f"{item}\tword {item}\n" for item in range(items, items + listed))
    (tmp_path / "small" / "small.item").write_text(f"item_id:token\ttitle:token_seq\n{rows}")
    assert UniSIDConfig(model, "small", {"data_path": str(tmp_path)})["codebook_sizes"] == sizes
    given = {"data_path": str(tmp_path), "codebook_sizes": [256] * 5}
    assert UniSIDConfig(model, "small", given)["codebook_sizes"] == [256] * 5
    if model == "UniSID" and items >= 1000:  # dense data keep the codes that were tuned there
        dense = {"data_path": str(tmp_path), "recipe": "dense"}
        assert UniSIDConfig(model, "small", dense)["codebook_sizes"] == [256] * 5
    if model != "RPG":
        paper = {"data_path": str(tmp_path), "recipe": "paper"}
        assert UniSIDConfig(model, "small", paper)["codebook_sizes"] == [256] * 3


def test_codebooks_of_data_that_is_split_already(tmp_path: Path) -> None:
    """The items of all parts count, those of histories too, and a separator of the user's own is one."""
    (tmp_path / "parts").mkdir()
    head = "user_id:token,item_id_list:token_seq,item_id:token\n"
    for part, first in (("train", 0), ("test", 40)):
        rows = "".join(f"{item},{item + 80} {item + 100},{item}\n" for item in range(first, first + 40))
        (tmp_path / "parts" / f"parts.{part}.inter").write_text(head + rows)
    given = {"data_path": str(tmp_path), "benchmark_filename": ["train", "test"], "field_separator": ","}
    given |= {"alias_of_item_id": ["item_id_list"]}
    assert UniSIDConfig("UniSID", "parts", given)["codebook_sizes"] == [8] * 3  # 180 items, 11 for a code


def test_settings_that_came_later_leave_the_names_of_finished_runs_as_they_are(ml_mini: Path) -> None:
    """At the value that stands for how it was; TIGER had a schedule from the start."""
    given: dict[str, Any] = {"data_path": str(ml_mini), "schedule": "constant", "warmup_steps": 0}
    later = {"schedule", "warmup_steps", "label_smoothing", "candidates", "tail_below", "tie_orders"}
    for model in ("UniSID", "ItemID", "SemanticID", "DenseText"):
        assert not later & UniSIDConfig(model, "ml-mini", settings=given).hashed().keys()
        changed = UniSIDConfig(model, "ml-mini", settings=given | {"schedule": "cosine", "warmup_steps": 5})
        assert {"schedule", "warmup_steps"} <= changed.hashed().keys()
    of_tiger = UniSIDConfig("TIGER", "ml-mini", settings=given).hashed().keys()
    assert {"schedule", "warmup_steps"} <= of_tiger
    shared = {"attention_dim", "layer_norm_eps"}
    assert not of_tiger & (shared | {"backbone", "positions", "filter_taps", "filter_scale", "filter_mix"})
    assert shared <= UniSIDConfig("UniSID", "ml-mini", settings=given).hashed().keys()
    assert "layer_norm_eps" in UniSIDConfig("SASRec", "ml-mini", settings=given).hashed()
