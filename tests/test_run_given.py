"""What is given in files, in Python and on the command line: one order of precedence for all of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.config.given import parse_value
from recbole_unisid.errors import UserError

QUICK = {"epochs": 1, "show_progress": False, "text_encoder": "lsa", "codebook_sizes": [8, 8, 8]}


@pytest.fixture
def files(ml_mini: Path, in_empty_folder: Path) -> list[str]:
    """Two files: one names the model and the data set, the other another model."""
    base = {"model": "SemanticID", "dataset": "ml-mini", "data_path": str(ml_mini)} | QUICK
    Path("base.yaml").write_text(json.dumps(base), encoding="utf-8")  # JSON is YAML
    Path("over.yaml").write_text("model: UniSID\nseed: 7\n", encoding="utf-8")
    return ["base.yaml", "over.yaml"]


def test_a_file_names_model_and_data_set(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """They were ignored once: UniSID ran on ml-100k."""
    assert main(["run", "--config_files=base.yaml"]) == 0
    assert [folder.parent.name for folder in Path("runs/ml-mini").glob("*/2020-*")] == ["SemanticID"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({}, "UniSID 7"),
        ({"config_dict": {"model": "SemanticID", "seed": 8}}, "SemanticID 8"),
        ({"config_dict": {"model": "UniSID"}, "model": "SemanticID"}, "SemanticID 7"),
    ],
)
def test_precedence(call: dict[str, Any], expected: str, files: list[str]) -> None:
    """Files in their order, then `config_dict`, then what the call itself names."""
    result = recbole_unisid.run(config_files=files, verbose=False, **call)
    assert f"{result['model']} {result['seed']}" == expected
    assert result["dataset"] == "ml-mini"


def test_several_models_and_seeds_of_a_file(files: list[str]) -> None:
    """What the command line may say, a file may say."""
    Path("over.yaml").write_text("model: [ItemID, SemanticID]\nseeds: 2\n", encoding="utf-8")
    results = recbole_unisid.run(config_files=files, verbose=False)
    found = [(result["model"], result["seed"]) for result in results]
    assert found == [("ItemID", 2020), ("ItemID", 2021), ("SemanticID", 2020), ("SemanticID", 2021)]


def test_tokenize_reads_files(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A file's data set and sizes; the file may be the one of a model that reads tokens."""
    assert main(["tokenize", "--config_files=base.yaml,over.yaml"]) == 0
    codes = Path("runs/ml-mini/tokens/residual_kmeans/index.json").read_text(encoding="utf-8")
    assert all(len(tokens) == 3 for tokens in json.loads(codes).values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tokenize", "--config_files=base.yaml", "--model=ItemID"], "ItemID is none that reads tokens"),
        (["run", "--config_files=base.yaml", "--model=ItemID"], "ItemID does not read text_encoder"),
        (["run", "--config_files="], "names no file"),
        (["tokenize", "--config_files=base.yaml", "--model=TIGER,RPG"], "TIGER, RPG is none"),
        (["run", "--config_files=base.yaml", "--tune=2", "--seeds=3"], "searches with one seed"),
        (["run", "--config_files=base.yaml", "--tune=0"], "no number of trials"),
        (["run", "--config_files=base.yaml", "--model=,"], "names no model"),
    ],
)
def test_one_clear_line(
    arguments: list[str], words: str, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be meant is said."""
    assert main(arguments) == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": 5}, "model=5"),
        ({"model": [5]}, "model="),
        ({"dataset": ["ml-mini"]}, "dataset="),
        ({"config_files": "base.yaml"}, "run\\(config_files="),
    ],
)
def test_names_are_names(given: dict[str, Any], words: str, files: list[str]) -> None:
    """From Python, too."""
    with pytest.raises(UserError, match=words):
        recbole_unisid.run(config_dict=given, verbose=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{max_norm:5}", {"max_norm": 5}),
        ("{split:{RS:[0.8,0.1,0.1]},order:TO}", {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO"}),
        ("{iid:item_emb, a: b}", {"iid": "item_emb", "a": "b"}),
        ("{code_length:unit,centre:true}", {"code_length": "unit", "centre": True}),
        ("{a:1,a:2}", "{a:1,a:2}"),
        ("{text:}", {"text": None}),
    ],
)
def test_a_mapping_of_the_command_line_needs_no_blank(text: str, value: Any) -> None:
    """A shell takes quotes away, and YAML wants a blank after a colon; what cannot be read stays text."""
    assert parse_value(text) == value
