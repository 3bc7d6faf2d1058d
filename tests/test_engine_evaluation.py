"""Evaluation in chunks bounded by rows x items, with RecBole's metrics from ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recbole_unisid
from recbole_unisid.data.split import TEST
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import HistoryLoader, make_loaders

QUICK: dict[str, Any] = {"epochs": 1, "show_progress": False, "use_gpu": False, "metric_decimal_place": 8}


def test_chunks_do_not_change_ranks(ml_mini: Path, in_empty_folder: Path) -> None:
    """Three users at a time or all at once."""
    given = QUICK | {"data_path": str(ml_mini)}
    whole = recbole_unisid.run("ItemID", "ml-mini", given, verbose=False)
    chunks = recbole_unisid.run("ItemID", "ml-mini", given | {"eval_scores": 2000}, verbose=False)
    first, second = (np.load(Path(result["run_dir"]) / "ranks.npz") for result in (whole, chunks))
    assert all(np.array_equal(first[name], second[name]) for name in first.files)


def test_rows_are_bounded_by_the_catalogue(ml_mini: Path, in_empty_folder: Path) -> None:
    """A catalogue too large for one row is still scored, a row at a time."""
    for scores, rows in ((2000, 3), (1, 1), (10**9, 16)):
        given = QUICK | {"data_path": str(ml_mini), "eval_scores": scores, "eval_batch_size": 16}
        config = UniSIDConfig("ItemID", "ml-mini", settings=given)
        loader = make_loaders(config, load_dataset(config)).test
        sizes = [len(batch[0]) for batch in loader]
        assert max(sizes) == rows
        assert sum(sizes) == 40


def test_some_targets_alone(ml_mini: Path, in_empty_folder: Path) -> None:
    """A sample of the users, each with the history before the target."""
    config = UniSIDConfig("ItemID", "ml-mini", settings=QUICK | {"data_path": str(ml_mini)})
    dataset = load_dataset(config)
    make_loaders(config, dataset)
    targets = dataset.split.targets(TEST)[5:9]
    ((interaction, _, _, items),) = HistoryLoader(config, dataset, targets)
    assert sorted(items.tolist()) == sorted(dataset.sequences.items[targets].tolist())
    assert sorted(interaction["user_id"].tolist()) == [6, 7, 8, 9]


@pytest.mark.parametrize("metrics", [["NDCG", "Recall", "MRR"], ["NDCG", "Recall", "MRR", "ItemCoverage"]])
def test_metrics_of_recbole_follow_from_ranks(
    metrics: list[str], ml_mini: Path, in_empty_folder: Path
) -> None:
    """With our ranks (no ties here), by comparison and, where lists are wanted, by top-k alike."""
    result = recbole_unisid.run(
        "ItemID", "ml-mini", QUICK | {"data_path": str(ml_mini), "metrics": metrics}, verbose=False
    )
    ours, theirs = result["test"]["full_unfiltered"], result["test"]["recbole"]
    for name in ("ndcg@5", "ndcg@10", "ndcg@20", "recall@5", "recall@10", "recall@20"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-7)
    assert ("itemcoverage@10" in theirs) == ("ItemCoverage" in metrics)
