"""What RecBole would refuse with a traceback, or take wrongly, is one line here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_items import with_items

import recbole_unisid
from recbole_unisid.commands.main import main

QUICK: dict[str, Any] = {"epochs": 1, "show_progress": False, "use_gpu": False, "eval_batch_size": 64}


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        ("ItemID", {"user_inter_num_interval": "[500,inf)"}, "0 of 30 items; widen it"),
        (
            "ItemID",
            {"user_inter_num_interval": "[2,inf)", "item_inter_num_interval": "[500,inf)"},
            "=[2,inf) and item_inter_num_interval=[500,inf) leaves nothing",
        ),
        (
            "SASRecF",
            {"selected_features": "[kind]", "val_interval": "{price: '[99,inf)'}"},
            "val_interval={'price': '[99,inf)'} leaves nothing of 'tiny' to train on: 403 of 403 interactions, "
            "50 of 50 users, 0 of 30 items",
        ),
        ("ItemID", {"user_inter_num_interval": "[5, inf]"}, "must be text such as"),
        ("ItemID", {"rm_dup_inter": "frist"}, "Did you mean first"),
        ("ItemID", {"load_col": "{inter: [user_id, item_id]}"}, "timestamp"),
        ("SASRecCPR", {}, "out of range"),
        ("ItemID", {"additional_feat_suffix": "itememb"}, "names tiny.itememb, but there is no such file"),
        ("SASRecF", {"selected_features": "[price]"}, "--numerical_features=[price]"),
        ("FDSA", {"selected_features": "[kind,price]"}, "'price' is float"),
        ("S3Rec", {"item_attribute": "price"}, "to others (item_id, kind)."),
        ("SASRec", {"log_wandb": "True"}, "pip install wandb"),
        ("BPR", {"repeatable": "True"}, "leaves out what a user had"),
        ("BPR", {"train_neg_sample_args": "None"}, "learns from pairs"),
        ("GRU4Rec", {"loss_type": "BPR", "train_neg_sample_args": "None"}, "learns from pairs"),
        ("ItemID", {"gpu_id": "cuda:0"}, "must be numbers of GPUs"),
        ("GRU4Rec", {"val_interval": "{'kind': '[1,2]'}"}, "'kind' holds names: give a list"),
        ("ItemID", {"val_interval": "{'price': ['1.5']}"}, "'price' holds numbers: give an interval"),
    ],
)
def test_what_recbole_refuses_is_one_line(
    model: str,
    given: dict[str, str],
    words: str,
    tiny: Path,
    tmp_path: Path,
    in_empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Between the settings and the end of the first batch: a line and status 2, no traceback."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    options = [f"--{key}={value}" for key, value in given.items()]
    places = [f"--data_path={with_items(tiny, tmp_path)}", "--show_progress=False", "--epochs=1"]
    assert main(["run", f"--model={model}", "--dataset=tiny", *places, *options]) == 2
    said = capsys.readouterr()
    assert words in said.err.splitlines()[-1]
    assert "Traceback" not in said.out + said.err


def test_a_number_is_read_as_a_feature_where_it_is_embedded(
    tiny: Path, tmp_path: Path, in_empty_folder: Path
) -> None:
    """RecBole's way to use it."""
    given = QUICK | {"data_path": str(with_items(tiny, tmp_path)), "selected_features": ["kind", "price"]}
    result = recbole_unisid.run("SASRecF", "tiny", given | {"numerical_features": ["price"]}, verbose=False)
    assert result["data"]["items"] == 30
