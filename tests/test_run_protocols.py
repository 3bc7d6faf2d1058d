"""Protocols in whole runs: several runs and seeds, shuffled ties, time and cold-item splits, the search."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import read_by

import recbole_unisid
from recbole_unisid.data.cases import tail_threshold
from recbole_unisid.data.split import TRAIN
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import TARGET_LIST, make_loaders
from recbole_unisid.recbole_adapter.trainer import RunTrainer
from recbole_unisid.report.gather import gather_report
from recbole_unisid.report.leaderboard import make_leaderboard, require_one_protocol
from recbole_unisid.report.page import draw_page
from recbole_unisid.report.run_files import load_runs
from recbole_unisid.report.tables import summary_table, to_markdown, to_screen

QUICK: dict[str, Any] = {
    "epochs": 1,
    "text_encoder": "lsa",
    "codebook_sizes": [8, 8, 8],
    "show_progress": False,
    "MAX_ITEM_LIST_LENGTH": 8,
}


@pytest.fixture
def settings(ml_mini: Path, in_empty_folder: Path) -> dict[str, Any]:
    return QUICK | {"data_path": str(ml_mini)}


def test_stopped_in_run_three_trains_nothing_twice(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call takes the finished runs as they are, runs the rest and writes one leaderboard."""
    fit, trained = RunTrainer.fit, []

    def counted(self: Any, *data: Any, **more: Any) -> Any:
        trained.append((self.config["model"], self.config["seed"]))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return fit(self, *data, **more)

    monkeypatch.setattr(RunTrainer, "fit", counted)
    given = read_by("ItemID,Pop", settings | {"seeds": 2})
    with pytest.raises(KeyboardInterrupt):
        recbole_unisid.run("ItemID,Pop", "ml-mini", given, verbose=False)
    results = recbole_unisid.run("ItemID,Pop", "ml-mini", given, verbose=False)
    assert trained == [("ItemID", 2020), ("ItemID", 2021), ("Pop", 2020), ("Pop", 2020), ("Pop", 2021)]
    board = Path(results[0]["run_dir"]).parents[1].glob("benchmark-*/*")
    assert {path.name for path in board} == {"leaderboard.md", "leaderboard.csv", "report.html"}


def test_protocols_share_no_hash_and_no_table(settings: dict[str, Any]) -> None:
    """Another order, split, seed or candidate set of the protocol is another run, of another table."""
    ratio = {"split": {"RS": [8, 1, 1]}}
    changes: list[dict[str, Any]] = [
        {}, {"ties": "shuffled:1"}, {"ties": "shuffled:2"}, {"split": "global_time"}, {"protocol_seed": 1},
        {"split": "global_time", "test_share": 0.2}, {"split": "global_time", "ties": "shuffled:1"},
        {"candidates": "sampled100"}, {"candidates": "sampled100", "tail_below": 9}, {"exact_times": False},
        {"eval_args": ratio}, {"eval_args": ratio | {"group_by": "none"}}, {"eval_args": ratio | {"order": "RO"}},
        {"rm_dup_inter": "last"}, {"user_inter_num_interval": "[2,inf)"}, {"item_inter_num_interval": "[1,inf)"},
        {"eval_args": {"split": {"LS": "test_only"}}}, {"valid_metric": "recall@10"}, {"valid_candidates": "full"},
    ]  # fmt: skip
    results = [
        recbole_unisid.run("NearestText", "ml-mini", read_by("NearestText", settings | change), verbose=False)
        for change in changes
    ]
    assert len({result["run_dir"] for result in results}) == len(changes)
    assert len({result["protocol_hash"] for result in results}) == len(changes)
    other = recbole_unisid.run("Pop", "ml-mini", read_by("Pop", settings), verbose=False)
    assert other["protocol_hash"] == results[0]["protocol_hash"]
    runs = load_runs([result["run_dir"] for result in [other, *results]])
    require_one_protocol(runs[:2])
    for one in runs[2:]:
        with pytest.raises(UserError, match="never share a table"):
            require_one_protocol([runs[0], one])
    _, first, second, *_ = runs[1:]  # two shuffled orders: averaged, where both models have both
    board = make_leaderboard([first, second])
    means = [one.result["test"]["full"]["ndcg@10"] for one in (first, second)]
    assert means[0] != means[1]
    assert board.rows[0].spreads["full", "ndcg@10"].mean == pytest.approx(np.mean(means))
    assert board.protocol_hash not in {result["protocol_hash"] for result in results}
    leaks = [one.result["controls"]["next_id"]["full"]["recall@10"] for one in (first, second)]
    assert board.controls["next_id"]["full"]["recall@10"] == pytest.approx(np.mean(leaks))
    shuffled = recbole_unisid.run("Pop", "ml-mini", read_by("Pop", settings | changes[1]), verbose=False)
    with pytest.raises(UserError, match="every model under every order"):
        require_one_protocol([first, second, *load_runs([shuffled["run_dir"]])])
    text = to_markdown(gather_report([first.folder, second.folder]).board)
    assert "ties shuffled:1, shuffled:2" in text
    assert "% at the time of the item before" in text
    filtered = next(run for run in runs if run.result["protocol"].get("filters") == "rm_dup_inter=last")
    for said in (to_markdown, to_screen):
        assert "of data filtered by rm_dup_inter=last" in said(make_leaderboard([filtered]))
    of_time = next(result for result in results if result["protocol"]["split"] == "global_time")
    data = of_time["data"]
    assert data["periods"]["training"][1] < data["periods"]["test"][0]
    assert 0 < data["unseen_users"] < 1


def test_head_and_tail_among_100_negatives(settings: dict[str, Any]) -> None:
    """What the result, the table and the screen say equals a count by hand."""
    given = settings | {"candidates": "sampled100", "tail_below": 9, "valid_candidates": "sampled100"}
    results = [
        recbole_unisid.run(name, "ml-mini", read_by(name, given), verbose=False)
        for name in ("UniSID", "SASRec")
    ]
    lines = (Path(settings["data_path"]) / "ml-mini" / "ml-mini.inter").read_text().splitlines()[1:]
    pairs = {tuple(line.split("\t")[:2]) for line in lines}
    users = Counter(item for _, item in pairs)
    for result in results:
        with np.load(Path(result["run_dir"]) / "ranks.npz") as file:
            ranks, targets = file["rank_sampled100"], file["target"].tolist()
        test, head = result["test"], np.array([users[target] >= 9 for target in targets])
        assert "sampled99" not in test
        assert test["sampled100"]["hit@10"] == pytest.approx(float((ranks <= 10).mean()))
        for name, inside in (("head", head), ("tail", ~head)):
            gains = np.where(ranks[inside] <= 10, 1 / np.log2(ranks[inside] + 1), 0)
            found = test["sampled_slices"][name]
            assert found["n"] == inside.sum() > 0
            assert found["hit@10"] == pytest.approx(float((ranks[inside] <= 10).mean()))
            assert found["ndcg@10"] == pytest.approx(float(gains.mean()))
        assert {"short", "long", "same_time", "later"} < set(test["sampled_slices"])
        assert result["protocol"]["tail_below"] == 9
    board = make_leaderboard(load_runs([result["run_dir"] for result in results]))
    page = draw_page(gather_report([result["run_dir"] for result in results]))
    for text in (to_screen(board), to_markdown(board), summary_table(results[0]), page):
        for metric, words in (("hit@10", "HR@10"), ("ndcg@10", "NDCG@10")):
            assert words in text
            for name in ("head", "tail"):
                assert f"{results[0]['test']['sampled_slices'][name][metric]:.4f}" in text
    assert board.protocol_hash in to_screen(board)
    rule = "head: target's users in all of the data >= 9; tail: target's users in all of the data < 9."
    assert rule in to_screen(board)


def test_the_fifth_of_the_items_with_the_most_users_is_head() -> None:
    """Ten items: two are head, with those that tie with the second."""
    assert tail_threshold(np.array([0, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1])) == 8
    assert tail_threshold(np.array([0, 9, 8, 8, 6, 5, 4, 3, 2, 1, 1])) == 8
    assert tail_threshold(np.array([0, 3, 2])) == 3


@pytest.mark.parametrize("model", ["ItemID", "SASRec", "Pop"])
def test_split_and_order_are_the_same_for_every_kind_of_model(model: str, settings: dict[str, Any]) -> None:
    """Shuffled ties and the global-time split give the same cases whoever trains on them."""
    protocol = {"ties": "shuffled:3", "split": "global_time"}
    cases = []
    for name in ("UniSID", model):
        result = recbole_unisid.run(name, "ml-mini", read_by(name, settings | protocol), verbose=False)
        with np.load(Path(result["run_dir"]) / "ranks.npz") as ranks:
            cases.append(
                [ranks[key].tolist() for key in ("user", "target", "history_length", "target_popularity")]
            )
        assert result["protocol"]["split"] == "global_time"
        assert result["protocol"]["ties"] == "shuffled:3"
    assert cases[0] == cases[1]


@pytest.mark.parametrize(
    ("model", "change", "words"),
    [
        ("SASRec", {"split": "cold_items"}, "SASRec"),
        ("ItemID", {"split": "last_week"}, "last_week"),
        ("ItemID", {"ties": "shuffled"}, "shuffled:7"),
        ("ItemID", {"tail_below": 4}, "candidates=sampled100"),
        ("ItemID", {"valid_candidates": "sampled99", "candidates": "sampled100"}, "two protocols"),
        ("Pop", {"valid_candidates": "sampled99", "candidates": "sampled100"}, "two protocols"),
    ],
)
def test_protocols_that_cannot_be(
    model: str, change: dict[str, Any], words: str, settings: dict[str, Any]
) -> None:
    """One line, before anything is trained."""
    with pytest.raises(UserError, match=words):
        recbole_unisid.run(model, "ml-mini", read_by(model, settings | change), verbose=False)


def test_a_model_without_cold_items_is_refused_before_the_others_train(settings: dict[str, Any]) -> None:
    """The whole command, not its last run."""
    given = read_by("ItemID,Pop", settings | {"split": "cold_items"})
    with pytest.raises(UserError, match=r"cold_items.*Pop knows items by number"):
        recbole_unisid.run("ItemID,Pop", "ml-mini", given, verbose=False)
    assert not list(Path().rglob("*.safetensors"))


@pytest.mark.parametrize("loss", ["sampled_softmax", "softmax", "bce"])
def test_cold_items_never_occur_in_training(loss: str, settings: dict[str, Any]) -> None:
    """Not as input, target or negative; their ID is the mean of the trained ones, and no gradient meets it."""
    own = settings | {"split": "cold_items", "cold_share": 0.2, "loss": loss, "negatives": 64}
    config = UniSIDConfig("ItemID", "ml-mini", settings=own)
    dataset = load_dataset(config)
    dataset.semantics = None
    loaders = make_loaders(config, dataset)
    counts = dataset.split.training_counts(dataset.sequences)
    cold = np.flatnonzero(counts == 0)[1:]
    assert len(cold) >= 0.2 * dataset.sequences.n_items
    assert set(dataset.sequences.items[dataset.split.phase <= TRAIN]).isdisjoint(cold)
    model = config.model_class(config, loaders.train.dataset)
    for batch in loaders.train:
        used = set(batch["item_id_list"].flatten().tolist()) | set(batch[TARGET_LIST].flatten().tolist())
        assert used.isdisjoint(cold)
        model.calculate_loss(batch).backward()
    gradient = model.items.ids.weight.grad
    vectors = model.eval().items.all_items()
    warm = torch.from_numpy(np.flatnonzero(counts))
    assert torch.equal(vectors[cold[0]], vectors[cold[-1]])
    assert torch.allclose(vectors[cold[0]], model.items.ids.weight[warm].mean(0))
    touched = gradient.abs().sum(1).nonzero().flatten().numpy()
    assert set(touched).isdisjoint(cold)


def test_search_goes_on_as_if_undisturbed(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the second trial and called again: the same trials and the same best setting."""
    own = read_by("ItemID", settings | {"tune": 3, "train_batch_size": 256})
    whole = recbole_unisid.run("ItemID", "ml-mini", own | {"output_dir": "whole"}, verbose=False)[0]
    train_epoch, calls = RunTrainer._train_epoch, []

    def stopped(self: Any, *data: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train_epoch(self, *data, **more)

    monkeypatch.setattr(RunTrainer, "_train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        recbole_unisid.run("ItemID", "ml-mini", own | {"output_dir": "parts"}, verbose=False)
    parts = recbole_unisid.run("ItemID", "ml-mini", own | {"output_dir": "parts"}, verbose=False)[0]
    assert len(calls) == 4
    trials = [(Path(found["folder"]) / "trials.csv").read_text().splitlines() for found in (whole, parts)]
    assert [line.split(",", 1)[1] for line in trials[0]] == [line.split(",", 1)[1] for line in trials[1]]
    assert whole["score"] == parts["score"]
    best = Path(parts["folder"]) / "best.yaml"
    result = recbole_unisid.run("ItemID", "ml-mini", {"output_dir": "final"}, [best], verbose=False)
    # The best epoch, like the best trial, is chosen without score terms; the run has them.
    assert max(entry["valid"] for entry in result["history"]) == pytest.approx(parts["score"], abs=1e-4)
    assert all(result["score_terms"].values())
