"""Whether text says what follows: by that UniSID's IDs are narrow or wide."""

from __future__ import annotations

import runpy
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from test_never_trained import settings_of
from torch import nn

import recbole_unisid
from recbole_unisid.data.split import TRAIN, VALID
from recbole_unisid.errors import UserError
from recbole_unisid.items import weak_text
from recbole_unisid.items.weak_text import near_text_share
from recbole_unisid.recbole_adapter import lazy_table
from recbole_unisid.recbole_adapter.optimisation import shrink_table
from recbole_unisid.serving.loaded import LoadedRun


def data_set(vectors: NDArray[np.float32], items: list[list[int]]) -> SimpleNamespace:
    """Histories of item numbers from 1 on; the last of each is not trained on."""
    users = np.repeat(np.arange(len(items)), [len(one) for one in items])
    phase = np.concatenate([[TRAIN] * (len(one) - 1) + [VALID] for one in items])
    sequences = SimpleNamespace(users=users, items=np.concatenate(items))
    return SimpleNamespace(
        sequences=sequences, split=SimpleNamespace(phase=phase), semantics=SimpleNamespace(vectors=vectors)
    )


@pytest.mark.parametrize("rows", [1, 256])
def test_the_share_is_that_of_its_definition(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pair by pair, with items that have no text and items that have the same."""
    monkeypatch.setattr(weak_text, "_ROWS", rows)
    monkeypatch.setattr(weak_text, "NEAR", 0.1)
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(60, 5)).astype(np.float32)
    vectors[[4, 17]], vectors[[8, 9, 10]] = 0, vectors[11]
    histories = [list(rng.integers(1, 61, 6)) for _ in range(40)] + [[9, 10, 11, 12, 1], [5, 18, 5, 5, 2]]
    told = vectors.any(1)
    centred = vectors - vectors[told].mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    found = []
    for one in histories:
        for last, item in pairwise(one[:-1]):
            if last != item:
                cosines = [centred[last - 1] @ row for row in centred]
                others = [k for k in np.flatnonzero(told) if k not in (last - 1, item - 1)]
                nearer = sum(cosines[k] >= cosines[item - 1] - 1e-6 for k in others)
                found.append(told[last - 1] and told[item - 1] and nearer < 0.1 * (told.sum() - 1))
    assert 0.05 < np.mean(found) < 0.5
    assert near_text_share(data_set(vectors, histories)) == pytest.approx(np.mean(found))


def test_it_is_one_where_texts_say_all_and_none_where_they_say_nothing() -> None:
    """A walk along a line; one text for all; no text; no training pair; no data set."""
    line = np.stack([np.cos(np.arange(500) / 200), np.sin(np.arange(500) / 200)], axis=1).astype(np.float32)
    walks = [list(range(start, start + 6)) for start in range(1, 490, 5)]
    assert near_text_share(data_set(line, walks)) == 1.0
    mixed = line[np.random.default_rng(0).permutation(500)]
    assert near_text_share(data_set(mixed, walks)) < 0.05  # type: ignore[operator]
    assert near_text_share(data_set(np.ones_like(line), walks)) == 0.0
    assert near_text_share(data_set(np.zeros_like(line), walks)) == 0.0
    assert near_text_share(data_set(line, [[1, 2], [3, 4]])) is None
    assert near_text_share(SimpleNamespace(sequences=None)) is None


def test_a_large_catalogue_is_compared_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a part of the items, spread evenly, the share is about the same."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(3000, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = [int(np.argsort(-(vectors @ vectors[k]))[rng.integers(1, 60)]) for k in range(3000)]
    histories = [[k + 1, near[k] + 1, 1] for k in range(3000) if near[k] != k]
    whole = near_text_share(data_set(vectors, histories))
    monkeypatch.setattr(weak_text, "_COMPARED", 500)
    assert whole is not None
    assert 0.2 < whole < 0.8
    assert near_text_share(data_set(vectors, histories)) == pytest.approx(whole, abs=0.06)


def run_of(ml_mini: Path, **more: Any) -> LoadedRun:
    """A run on ml-mini, whose titles say little, loaded."""
    settings = settings_of(ml_mini, epochs=1, id_join="add", **more)
    return recbole_unisid.load(recbole_unisid.run("UniSID", "ml-mini", settings, verbose=False)["run_dir"])


def test_ids_are_wide_where_text_says_little(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded, too; not where a width is asked for, or where the text says more. A warm start keeps the width."""
    run = run_of(ml_mini)
    share = run.stored.result["near_text_share"]
    assert 0 < share < weak_text.WEAK
    assert run.model.items.ids.weight.shape[1] == run.stored.result["id_dim"] == 32
    assert run.stored.result["parameters"]["tokens"] == 16 * 64 + 32 * run.n_items
    narrow = run_of(ml_mini, id_dim=7)
    assert narrow.model.items.ids.weight.shape[1] == narrow.stored.result["id_dim"] == 7
    assert narrow.stored.result["near_text_share"] is None
    asked = run_of(ml_mini, id_dim=7, weak_text_id_dim=9)
    assert asked.model.items.ids.weight.shape[1] == 9
    monkeypatch.setattr(weak_text, "WEAK", share)
    dense = run_of(ml_mini, seed=7)
    assert dense.model.items.ids.weight.shape[1] == dense.config["id_dim"] < 32
    settings = {"from": str(run.path), "data_path": str(ml_mini), "show_progress": False, "id_dim": 32}
    warm = recbole_unisid.run("UniSID", "ml-mini", settings, verbose=False)
    again = recbole_unisid.run("UniSID", "ml-mini", settings | {"from": warm["run_dir"]}, verbose=False)
    for result in (warm, again):
        found = recbole_unisid.load(result["run_dir"])
        assert found.model.items.ids.weight.shape[1] == found.config["id_dim"] == 32


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_a_table_shrinks_before_each_step(kind: Any) -> None:
    """By its rate times the decay, as AdamW does, whatever the optimiser; other weights do not."""
    torch.manual_seed(0)
    table, other = nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(3))
    expected, rest = table.detach().clone().requires_grad_(), other.detach().clone().requires_grad_()
    optimizer, plain = kind([table, other], lr=0.1), kind([expected, rest], lr=0.1)
    shrink_table(optimizer, table, 2.0)
    for step in range(4):
        for one in (optimizer, plain):
            one.param_groups[0]["lr"] = 0.1 / (1 + step)
        for given, slope in ((table, 0.3), (expected, 0.3), (other, -0.2), (rest, -0.2)):
            given.grad = torch.full_like(given, slope * (step + 1))
        with torch.no_grad():
            expected *= 1 - 0.2 / (1 + step)
        optimizer.step()
        plain.step()
    torch.testing.assert_close(table, expected)
    torch.testing.assert_close(other, rest)


@pytest.mark.parametrize("learner", ["adam", "sgd"])
@pytest.mark.parametrize("large", [False, True])
def test_a_run_shrinks_its_ids(
    learner: str, large: bool, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a table of rows that catch up, too; codes are as long as without."""
    if large:
        monkeypatch.setattr(lazy_table, "LARGE_CATALOGUE", 0)
    lengths = []
    for decay in (0, 50):
        more = {"learner": learner, "schedule": "constant", "weight_average": 0}
        items = run_of(ml_mini, id_decay=decay, **more).model.items
        lengths.append((items.ids.weight[1:].norm().item(), items.semantic.table.weight.norm().item()))
    (long, codes), (short, others) = lengths
    assert short < 0.7 * long
    assert others == pytest.approx(codes, rel=0.2)


def test_a_decay_that_would_turn_ids_around_is_refused(ml_mini: Path, in_empty_folder: Path) -> None:
    """In one line."""
    with pytest.raises(UserError, match=r"id_decay=101 times learning_rate=0\.01 is above 1"):
        run_of(ml_mini, id_decay=101)


def test_a_class_that_brings_a_width_keeps_it(ml_mini: Path, nothing_in_use: Path) -> None:
    """Whatever the text says."""
    (nothing_in_use / "own_width.py").write_text(
        "from recbole_unisid.models.unisid import UniSID\n\n\nclass Mine(UniSID):\n"
        '    defaults = {"id_dim": 12}\n'
    )
    settings = settings_of(ml_mini, epochs=1, id_join="add")
    result = recbole_unisid.run("own_width:Mine", "ml-mini", settings, verbose=False)
    assert result["near_text_share"] is None
    assert result["parameters"]["tokens"] == 16 * 64 + 12 * result["data"]["items"]


def test_data_sets_whose_text_says_less() -> None:
    """A share of the texts change places and none is lost; one column alone is left."""
    items = pd.DataFrame(
        {
            "item_id:token": [f"i{k}" for k in range(200)],
            "title:token_seq": [f"title {k}" for k in range(200)],
            "brand:token": [f"brand {k}" for k in range(200)],
        }
    )
    made = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "weak_text.py"))
    mixed = made["with_mixed_texts"](items, 0.5)
    other = mixed["title:token_seq"] != items["title:token_seq"]
    assert 70 < other.sum() < 130
    assert sorted(mixed["title:token_seq"]) == sorted(items["title:token_seq"])
    assert mixed["item_id:token"].equals(items["item_id:token"])
    assert (mixed["title:token_seq"].str[6:] == mixed["brand:token"].str[6:]).all()
    one = made["with_one_column"](items, "brand")
    assert one["brand:token"].equals(items["brand:token"])
    assert (one["title:token_seq"] == "").all()
