"""Lists beside their ranks: coverage, concentration, novelty, diversity; and tables for notebooks."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import recbole_unisid
from recbole_unisid.data.split import TEST
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.lists import best_items
from recbole_unisid.runs.split_files import load_split


def test_best_items_leave_out_padding_and_what_was_seen() -> None:
    """And the scores are what they were."""
    scores = torch.tensor([[9.0, 1.0, 3.0, 2.0], [9.0, -torch.inf, 5.0, -torch.inf]])
    before = scores.clone()
    assert best_items(scores, (torch.tensor([0, 1]), torch.tensor([2, 1])), 5).tolist() == [
        [3, 1, 0, 0, 0],
        [2, 0, 0, 0, 0],
    ]
    assert torch.equal(scores, before)


@pytest.fixture
def settings(ml_mini: Path, in_empty_folder: Path) -> dict[str, Any]:
    return {"data_path": str(ml_mini), "show_progress": False}


def test_figures_of_lists_are_those_counted_pair_by_pair(settings: dict[str, Any]) -> None:
    """Every pair of lists and of items, for popularity of RecBole's and for the same lists brought from elsewhere."""
    result = recbole_unisid.run("Pop", "ml-mini", settings | {"epochs": 1}, verbose=False)
    loaded = load_split("ml-mini", {"data_path": settings["data_path"]})
    sequences, split = loaded.sequences, loaded.split
    counts, takers = split.training_counts(sequences), {}
    lists, rows = [], []
    for user in range(sequences.n_users):
        trained = split.phase[sequences.offsets[user] : sequences.offsets[user + 1]] <= 1
        for item in set(sequences.of(user)[trained]):
            takers[item] = takers.get(item, 0) + 1
    for target in split.targets(TEST):
        user = int(sequences.owners(np.array([target]))[0])
        had = set(sequences.items[sequences.offsets[user] : target].tolist())
        # Distinct scores, so that the first ten are the same whoever sorts.
        order = sorted(set(range(1, sequences.n_items + 1)) - had, key=lambda item: (-counts[item], item))
        lists.append(order[:10])
        rows += [
            (sequences.user_ids[user], sequences.item_ids[item], place)
            for place, item in enumerate(order[:50], 1)
        ]
    brought = recbole_unisid.evaluate(
        pd.DataFrame(rows, columns=["user", "item", "rank"]), "popular", "ml-mini",
        {"data_path": settings["data_path"]}, verbose=False,
    )["test"]["lists"]  # fmt: skip
    shown = np.array([sum(item in one for one in lists) for item in range(1, sequences.n_items + 1)])
    differences = np.abs(shown[:, None] - shown[None, :]).mean()
    novelty = [[-np.log2(takers.get(item, 1) / sequences.n_users) for item in one] for one in lists]
    unlike = [1 - len(set(a) & set(b)) / 10 for a, b in itertools.combinations(lists, 2)]
    assert brought["coverage@10"] == pytest.approx((shown > 0).mean(), abs=1e-12)
    assert brought["gini@10"] == pytest.approx(differences / 2 / shown.mean(), abs=1e-12)
    assert brought["novelty@10"] == pytest.approx(np.mean(novelty), abs=1e-12)
    assert brought["diversity@10"] == pytest.approx(np.mean(unlike), abs=1e-12)
    # The run breaks ties of popularity otherwise: items as popular stand in other lists.
    assert result["test"]["lists"]["novelty@10"] == pytest.approx(brought["novelty@10"], rel=0.01)
    assert result["test"]["lists"] == pytest.approx(brought, abs=0.1)


@pytest.mark.parametrize("model", ["ItemID", "SASRec"])
def test_every_kind_of_model_has_lists(model: str, settings: dict[str, Any]) -> None:
    """Ours, and RecBole's on its own loaders; the table for notebooks has them, and the figures of result.json."""
    result = recbole_unisid.run(
        model, "ml-mini", settings | {"epochs": 1, "MAX_ITEM_LIST_LENGTH": 8}, verbose=False
    )
    lists = result["test"]["lists"]
    assert 10 / result["data"]["items"] <= lists["coverage@10"] <= 1
    assert 0 < lists["gini@10"] < 1
    assert 0 <= lists["diversity@10"] <= 1
    table = recbole_unisid.results("runs")
    assert table.loc[0, "model"] == model
    assert table.loc[0, "full ndcg@10"] == result["test"]["full"]["ndcg@10"]
    assert table.loc[0, "coverage@10"] == lists["coverage@10"]
    assert table.loc[0, "run_dir"].endswith(Path(result["run_dir"]).name)


def test_data_frames_become_a_data_set(in_empty_folder: Path) -> None:
    """Ids keep their zeros; a data set that is there is not replaced without a word."""
    sold = pd.DataFrame({"buyer": ["07", "07", "8"], "sku": ["01000", "1000", "1000"], "when": [3, 5, 4]})
    names = pd.DataFrame({"sku": ["01000", "1000"], "name": ["red hat", "blue hat"]})
    roles = {"user": "buyer", "item": "sku", "time": "when", "title": "name"}
    summary = recbole_unisid.prepare(sold, "shop", names, roles)
    assert "3" in summary.as_table()
    written = (in_empty_folder / "dataset/shop/shop.inter").read_text()
    assert "07\t01000\t" in written
    assert "red hat" in (in_empty_folder / "dataset/shop/shop.item").read_text()
    with pytest.raises(UserError, match="overwrite=True"):
        recbole_unisid.prepare(sold, "shop", names, roles)
    recbole_unisid.prepare(sold.iloc[:2], "shop", names, roles, overwrite=True)
    assert (in_empty_folder / "dataset/shop/shop.inter").read_text() != written
