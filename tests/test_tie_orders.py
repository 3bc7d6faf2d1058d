"""Which item of a target's time comes last: the other orders, their ranks and what a run says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import read_by

import recbole_unisid
from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TEST, leave_one_out
from recbole_unisid.data.tie_orders import other_lasts, reordered
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.tie_orders import tie_order_metrics
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.report.gather import gather_report
from recbole_unisid.report.leaderboard import make_leaderboard
from recbole_unisid.report.page import draw_page
from recbole_unisid.report.run_files import load_runs
from recbole_unisid.report.tables import summary_table, to_markdown, to_screen
from recbole_unisid.runs.folder import RunFolder
from recbole_unisid.runs.single import train

QUICK: dict[str, Any] = {"epochs": 1, "show_progress": False, "MAX_ITEM_LIST_LENGTH": 8}


def sequences() -> UserSequences:
    """Users of four and of five; the last three of the first tie, of the second the last two, of the third none."""
    items = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 3, 5])
    times = np.array([1.0, 2, 2, 2, 1, 2, 3, 4, 4, 1, 2, 3])
    names = np.array(["u1", "u2", "u3"]), np.array(["[PAD]", *(f"i{item}" for item in range(1, 10))])
    return UserSequences(items, np.array([0, 4, 9, 12]), times, *names)


def test_every_item_of_the_tie_comes_last_once() -> None:
    """The others keep their order."""
    given = sequences()
    targets = leave_one_out(given).targets(TEST)
    case, lasts = other_lasts(given, targets)
    found = reordered(given, targets[case], lasts)
    assert case.tolist() == [0, 0, 1]
    assert [found.of(order).tolist() for order in range(3)] == [[1, 3, 4, 2], [1, 2, 4, 3], [5, 6, 7, 9, 8]]
    assert found.user_ids.tolist() == ["u1", "u1", "u2"]


def test_figures_of_the_orders() -> None:
    """Three targets: one that the file hides, one that it shows, one that does not tie."""
    ranks = {"full": np.array([30, 1, 3])}
    found = tie_order_metrics(ranks, {"full": np.array([1, 99, 40])}, np.array([0, 0, 1]))
    assert found["cases"] == 2
    assert found["orders"] == 3
    assert found["full"]["recall@10"] == pytest.approx(
        {"file": 2 / 3, "worst": 1 / 3, "mean": (1 / 3 + 1 / 2 + 1) / 3, "best": 1.0}
    )
    assert found["full"]["ndcg@10"]["worst"] == pytest.approx(0.5 / 3)


@pytest.mark.parametrize("model", ["ItemID", "SASRec"])
def test_a_run_scores_every_order(model: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """The interval of NDCG@10 equals one from the model's own scores of histories that are put together by hand."""
    given = read_by(model, QUICK | {"data_path": str(ml_mini), "tie_orders": True})
    result = recbole_unisid.run(model, "ml-mini", given, verbose=False)
    run = recbole_unisid.load(result["run_dir"])
    numbers = {name: number for number, name in enumerate(run.item_ids)}
    rows: dict[str, list[tuple[float, int]]] = {}
    for line in (ml_mini / "ml-mini" / "ml-mini.inter").read_text().splitlines()[1:]:
        user, item, _, time = line.split("\t")
        rows.setdefault(user, []).append((float(time), numbers[item]))
    worst, best, tied = [], [], 0
    for history in rows.values():
        history.sort(key=lambda row: row[0])
        last = [at for at, (time, _) in enumerate(history) if time == history[-1][0]]
        gains = []
        for at in last[-21:]:
            items = [item for place, (_, item) in enumerate(history) if place != at]
            scores = torch.from_numpy(run.scores([np.array(items)])[0].copy())
            scores[[0, *(item for item in items if item != history[at][1])]] = -np.inf
            rank = int((scores >= scores[history[at][1]]).sum())
            gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0.0)
        worst.append(min(gains))
        best.append(max(gains))
        tied += len(last) > 1
    found = result["test"]["tie_orders"]
    assert found["cases"] == tied > 5
    assert found["full"]["ndcg@10"]["file"] == pytest.approx(result["test"]["full"]["ndcg@10"])
    assert found["full"]["ndcg@10"]["worst"] == pytest.approx(np.mean(worst), abs=1e-6)
    assert found["full"]["ndcg@10"]["best"] == pytest.approx(np.mean(best), abs=1e-6)
    board = make_leaderboard(load_runs([result["run_dir"]]))
    for text in (to_screen(board), to_markdown(board), summary_table(result)):
        assert f"{np.mean(best):.4f}" in text
    assert "The order of ties" in draw_page(gather_report([result["run_dir"]]))


def test_what_cannot_be_is_said_before_training(ml_mini: Path, in_empty_folder: Path) -> None:
    given = read_by("ItemID", QUICK | {"data_path": str(ml_mini), "tie_orders": True})
    with pytest.raises(UserError, match="leave_one_out alone"):
        recbole_unisid.run("ItemID", "ml-mini", given | {"split": "global_time"}, verbose=False)
    order_only = in_empty_folder / "data" / "toys"
    order_only.mkdir(parents=True)
    lines = [f"u{user}\ti{(user * 3 + at) % 7}\t{at}" for user in range(9) for at in range(5)]
    (order_only / "toys.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *lines]) + "\n"
    )
    config = UniSIDConfig("ItemID", "toys", given | {"data_path": str(order_only.parent)})
    with pytest.raises(UserError, match="needs times"):
        train(config, RunFolder(config))
