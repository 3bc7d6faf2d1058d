"""The leaderboard: what is bold, what shares a table, and its three forms."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.controls import control_metrics
from recbole_unisid.evaluation.slices import make_slices, slice_metrics
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.report.leaderboard import Run, make_leaderboard
from recbole_unisid.report.tables import to_csv, to_markdown, to_screen, write_leaderboard

CASES = 2000


def run(name, ranks, seed=2020, general=False, **more):
    """A finished run with the given ranks in every candidate set; general models have `full` alone."""
    history, popularity = np.arange(CASES) % 9 + 1, np.arange(CASES) % 50
    sets = {"full": ranks} if general else {"full": ranks, "full_unfiltered": ranks + 1, "sampled99": ranks}
    table = RankTable(
        np.array([f"u{case}" for case in range(CASES)]),
        np.array([f"i{case % 100}" for case in range(CASES)]),
        sets,
        history,
        popularity,
    )
    slices = slice_metrics(ranks, popularity, history, make_slices(np.arange(50), history), resamples=50)
    result = {
        "status": "complete",
        "model": name,
        "dataset": "toys",
        "seed": seed,
        "recipe": "default",
        "protocol": {"split": "leave_one_out", "order": "time", "ties": "raw", "valid_metric": "ndcg@10"},
        "data": {"users": CASES, "items": 100, "interactions": 9000, "train_targets": 5000},
        "test": {"slices": slices},
        "controls": control_metrics({"next_id": {"full": ranks, "full_unfiltered": ranks}}),
        "parameters": {"tokens": 145960},
        "seconds": {"training": 12.4},
        **more,
    }
    return Run(result, table)


def noise(seed, shift=0):
    return np.maximum(1, np.random.default_rng(seed).integers(1, 60, CASES) - shift)


@pytest.fixture
def board():
    runs = [run("UniSID", noise(seed, shift=4), seed=2020 + seed) for seed in (1, 0)]
    runs += [run("ItemID", noise(seed), seed=2020 + seed) for seed in (0, 1)]
    runs += [run("Pop", noise(9, shift=-5), general=True)]
    return make_leaderboard(runs, notes=["the order of this data leaks"])


def test_rows_are_ordered_and_compared_with_the_best_id_only_model(board):
    assert [row.model for row in board.rows] == ["UniSID", "ItemID", "Pop"]
    assert board.reference == "ItemID"
    assert board.rows[0].seeds == [2020, 2021]
    spread = board.rows[0].spreads["full", "recall@10"]
    means = [(noise(seed, shift=4) <= 10).mean() for seed in (0, 1)]
    assert spread.mean == pytest.approx(np.mean(means), abs=1e-12)
    assert spread.deviation == pytest.approx(np.std(means, ddof=1), abs=1e-12)
    assert board.rows[1].comparisons == {}
    assert {candidates for candidates, _ in board.rows[2].comparisons} == {"full"}


def test_a_class_of_the_users_own_that_reads_text_is_no_id_only_reference():
    """It is told by what it read, not by its name."""
    tokens = run("mine:Tokens", noise(1, shift=9), tokenizer={"name": "residual_kmeans"})
    text = run("mine:Text", noise(2, shift=9), controls=run("ItemID", noise(0)).result["controls"])
    text.result["controls"]["nearest_text"] = text.result["controls"]["next_id"]
    plain = run("mine:Plain", noise(3, shift=5))
    assert make_leaderboard([tokens, text, plain, run("ItemID", noise(0))]).reference == "mine:Plain"


def test_other_negatives_share_no_table_and_the_default_ones_need_no_name():
    """Results of before the seed was written down had the default."""
    protocol = run("ItemID", noise(0)).result["protocol"]
    older, newer, other = (
        run(name, noise(k), protocol=protocol | more)
        for k, (name, more) in enumerate(
            [("ItemID", {}), ("UniSID", {"protocol_seed": 12345}), ("Pop", {"protocol_seed": 1})]
        )
    )
    assert make_leaderboard([older, newer]).reference == "ItemID"
    with pytest.raises(UserError, match="never share a table"):
        make_leaderboard([older, other])


def test_the_best_is_bold_only_where_it_is_significantly_above_the_reference():
    base = noise(1)
    lucky = base.copy()
    lucky[np.flatnonzero(base == 11)[:2]] = 10  # two more hits in 2000: above, but not significantly
    clear = np.maximum(1, base - 4)
    luck = make_leaderboard([run("ItemID", base), run("UniSID", lucky)])
    assert luck.rows[0].model == "UniSID"
    assert luck.bold(("full", "recall@10")) is None
    assert "**" not in to_markdown(luck)
    assert "▲" not in to_markdown(luck).split("## ")[1].split("Differences of means")[0]
    sure = make_leaderboard([run("ItemID", base), run("UniSID", clear)])
    assert sure.bold(("full", "recall@10")) == "UniSID"
    assert f"**{(clear <= 10).mean():.4f}** ▲" in to_markdown(sure)
    reverse = make_leaderboard([run("ItemID", clear), run("UniSID", base)])
    assert reverse.bold(("full", "recall@10")) is None
    assert f"{(base <= 10).mean():.4f} ▼" in to_markdown(reverse)


def test_markdown_names_the_protocol_the_slices_and_the_controls(board):
    text = to_markdown(board)
    assert "2,000 users, 100 items, 9,000 interactions" in text
    assert "Split leave_one_out, order time, ties raw" in text
    assert "validation ndcg@10; seeds 2020, 2021" in text
    assert "| Pop | 1 | 145,960 |" in text
    assert "cold0 (40)" in text
    slices = next(line for line in text.splitlines() if line.startswith("| UniSID") and "(" in line)
    assert slices.count("(") == 1  # cold0 alone has too few cases to claim upon
    assert "| next_id |" in text
    assert "> the order of this data leaks" in text
    grid = [line for line in text.split("\n\n")[2].splitlines()]
    assert {line.count("|") for line in grid} == {11}


def test_slices_that_an_older_run_lacks_are_left_out():
    """Runs from before targets were told apart by time share a table with newer ones, within a model's seeds too."""

    def timed(name, seed):
        ranks = noise(seed)
        found = run(name, ranks, seed=2020 + seed)
        counts, halves = np.full(CASES, 3), np.arange(CASES) % 2
        more = slice_metrics(
            ranks, counts, counts, make_slices(counts, counts, True)[-2:], resamples=50, same_time=halves
        )
        found.result["test"]["slices"] |= more
        return found

    both = to_markdown(make_leaderboard([timed("UniSID", 0), timed("ItemID", 1)]))
    assert "same_time (1,000)" in both
    assert "later (1,000)" in both
    for older in (run("ItemID", noise(1), seed=2021), run("UniSID", noise(1), seed=2021)):
        text = to_markdown(make_leaderboard([timed("UniSID", 0), older]))
        assert "long (" in text
        assert "same_time" not in text


def test_csv_holds_every_metric_with_its_comparison(board):
    lines = list(csv.DictReader(io.StringIO(to_csv(board))))
    assert len(lines) == 2 * (7 + 7 + 6) + 7
    one = next(
        line
        for line in lines
        if (line["model"], line["candidates"], line["metric"]) == ("UniSID", "full", "ndcg@10")
    )
    found = board.rows[0].comparisons["full", "ndcg@10"]
    assert float(one["mean"]) == board.rows[0].spreads["full", "ndcg@10"].mean
    assert (one["reference"], one["seeds"], one["ties"]) == ("ItemID", "2", "raw")
    assert float(one["difference"]) == found.difference.estimate
    assert float(one["p_holm"]) == found.p_holm
    assert one["significant"] == "True"
    assert lines[0]["metric"] == "recall@5"
    assert lines[0]["reference"] == ""


def test_the_screen_table_is_aligned(board):
    lines = to_screen(board).splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("Model"))
    assert [line.split()[0] for line in lines[head + 1 : head + 4]] == ["UniSID", "ItemID", "Pop"]
    digits = [
        [place for place, mark in enumerate(line) if mark == "."] for line in lines[head + 1 : head + 4]
    ]
    assert len(digits[0]) == 6
    assert digits[0] == digits[1]
    assert digits[2] == digits[0][:2]
    assert max(map(len, lines[head : head + 4])) <= 120
    assert lines[-1] == "the order of this data leaks"


def test_files_are_written_whole(board, tmp_path):
    write_leaderboard(board, tmp_path / "benchmark-1")
    assert sorted(path.name for path in (tmp_path / "benchmark-1").iterdir()) == [
        "leaderboard.csv",
        "leaderboard.md",
    ]
    assert (tmp_path / "benchmark-1" / "leaderboard.md").read_text(encoding="utf-8") == to_markdown(board)


def test_one_run_alone_is_a_table_without_comparisons():
    board = make_leaderboard([run("UniSID", noise(1), recipe="paper")])
    assert (board.reference, board.rows[0].model) == (None, "UniSID (paper)")
    assert "No model here is ID-only" in to_markdown(board)
    assert "±" not in to_markdown(board).split("\n\n")[2]


def test_a_reference_can_be_chosen():
    runs = [run("UniSID", noise(1, 4)), run("ItemID", noise(1)), run("DenseText", noise(1, 2))]
    board = make_leaderboard(runs, reference="DenseText")
    assert {found.reference for row in board.rows for found in row.comparisons.values()} == {"DenseText"}
    with pytest.raises(UserError, match="reference TIGER is none of the models"):
        make_leaderboard(runs, reference="TIGER")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "running"}, "not complete"),
        ({"dataset": "games"}, "dataset games, other runs have toys"),
        ({"protocol": {"split": "global_time"}}, "protocol .*never share a table"),
        ({"data": {"users": 1, "items": 100, "interactions": 9000}}, "users 1, other runs have 2000"),
        ({"model": "UniSID"}, "UniSID with seed 2020 is there twice"),
    ],
)
def test_what_was_not_measured_alike_shares_no_table(change, message):
    with pytest.raises(UserError, match=message):
        make_leaderboard([run("UniSID", noise(1)), run("ItemID", noise(2), **change)])


def test_no_run_is_one_clear_line():
    with pytest.raises(UserError, match="no finished run"):
        make_leaderboard([])
