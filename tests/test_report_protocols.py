"""What tables, pages and screens say of a protocol: moments that people can read, and several orders of ties."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_material import Material

import recbole_unisid
from recbole_unisid.errors import UserError
from recbole_unisid.files import write_json
from recbole_unisid.report.board import gather_groups, write_board
from recbole_unisid.report.gather import gather_report
from recbole_unisid.report.leaderboard import make_leaderboard
from recbole_unisid.report.page import draw_page
from recbole_unisid.report.run_files import load_runs
from recbole_unisid.report.tables import summary_table, to_latex, to_markdown, to_screen

MOMENTS = "global time: validation from {} (0.1 of interactions), test from {} (0.05)"
DATED = "validation from 2013-12-05 UTC (time 1386201600; 0.1 of interactions)"
TIMED = "test from 2014-04-01 09:47:58 UTC (time 1396345678; 0.05)"
TESTED = {
    **{"test_cases": 70, "test_users": 60, "repeated": 0.0, "unseen_users": 0.25, "unseen_items": 0.125},
    **{"rare_items": 0.5, "same_time": 0.25},
}


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a run and changes what its ``result.json`` says."""
    material = Material(tmp_path, users=70, items=40, examples=False, slice_samples=5, epochs=2)

    def write(model: str, seed: int = 2020, data: dict[str, Any] | None = None, **protocol: Any) -> Path:
        ties = str(protocol.get("ties"))
        folder = material.write_run(model, seed, 0.1, False, ties=ties)
        result = json.loads((folder / "result.json").read_text())
        result["protocol"] |= protocol
        result["data"] |= data or {}
        write_json(folder / "result.json", result)
        return folder

    return write


def test_moments_are_dates_with_the_exact_number(made: Callable[..., Path], tmp_path: Path) -> None:
    """In the report, the leaderboard in all its forms, the board and the screen of a run; UTC is named."""
    periods = {"training": [1386115200.0, 1386115200.0], "test": [1396345678.0, 1396345680.5]}
    split = {"split": "global_time", "description": MOMENTS.format("1386201600", "1396345678")}
    folders = [made(model, data=TESTED | {"periods": periods}, **split) for model in ("ItemID", "Pop")]
    report = gather_report(folders)
    write_board([tmp_path / "runs"], tmp_path / "board", small=True)
    run = load_runs(folders)[0]
    texts = {
        "report": draw_page(report),
        "board": (tmp_path / "board" / "index.html").read_text(),
        "leaderboard": to_markdown(report.board),
        "screen": to_screen(report.board),
        "run": summary_table(dict(run.result) | {"run_dir": "runs"}),
    }
    for name, text in texts.items():
        assert DATED in text, name
        assert TIMED in text, name
        assert "12.5 % items unseen in training" in text, name
        assert "test 2014-04-01 09:47:58 to 2014-04-01 09:48:00.500 (UTC)" in text, name
        assert "from 1386201600" not in text, name
    assert TIMED in to_latex(report.board)


def test_times_that_are_no_seconds_stay_numbers(made: Callable[..., Path]) -> None:
    """Milliseconds keep every digit; nothing is called UTC."""
    split = {"split": "global_time", "description": MOMENTS.format("1386201600123", "17.5")}
    periods = {"training": [1.0, 1386201600123.0]}
    board = make_leaderboard(load_runs([made("ItemID", data=TESTED | {"periods": periods}, **split)]))
    text = to_markdown(board)
    assert MOMENTS.format("1386201600123", "17.5") in text
    assert "training 1 to 1386201600123." in text
    assert "UTC" not in text


def test_slices_and_shares_over_several_orders_of_ties(made: Callable[..., Path]) -> None:
    """A slice that one order leaves empty has the figures of the others; shares are means, periods hold all."""
    folders = []
    for order, (cases, value, share, end) in enumerate(((0, None, 0.25, 9.0), (30, 0.4, 0.75, 8.0)), 1):
        facts = TESTED | {"unseen_items": share, "periods": {"validation": [float(order), end]}}
        folder = made("ItemID", data=facts, ties=f"shuffled:{order}")
        result = json.loads((folder / "result.json").read_text())
        cold = result["test"]["slices"]["cold0"]
        cold |= {"n": cases, "ndcg@10": value, "recall@10": value}
        result["test"]["slices"]["head"]["rule"] = f"training interactions >= {order}"
        write_json(folder / "result.json", result)
        folders.append(folder)
    board = make_leaderboard(load_runs(folders))
    assert board.rows[0].slices["cold0"]["n"] == 15
    assert board.rows[0].slices["cold0"]["ndcg@10"] == pytest.approx(0.4)
    assert board.rows[0].slices["head"]["rule"] == "training interactions >= 1, of the first order of ties"
    assert board.rows[0].slices["tail"]["rule"].endswith("interactions)")
    assert board.data["unseen_items"] == pytest.approx(0.5)
    assert board.data["periods"] == {"validation": [1.0, 9.0]}
    assert "cold0 (15)" in to_markdown(board)
    draw_page(gather_report(folders))


def test_a_board_keeps_orders_of_ties_apart(made: Callable[..., Path], tmp_path: Path) -> None:
    """Even where two orders leave the same targets last: none replaces the other, and models need not have both."""
    made("ItemID", ties="shuffled:1")
    made("ItemID", ties="shuffled:2")
    made("Pop", ties="shuffled:1")
    groups = gather_groups([tmp_path / "runs"])
    assert [group.superseded for group in groups] == [0, 0]
    assert sorted(len(group.report.board.rows) for group in groups) == [1, 2]
    assert len({group.slug for group in groups}) == 2


def test_a_table_of_runs_tells_their_protocols_apart(made: Callable[..., Path], tmp_path: Path) -> None:
    """Two windows of one split have one name, so each run has its protocol's hash."""
    for seed, share in ((2020, 0.1), (2021, 0.2)):
        for model in ("ItemID", "Pop"):
            made(model, seed, split="global_time", description=f"test share {share}")
    hashes = recbole_unisid.results(tmp_path / "runs").groupby("seed")["protocol"].unique()
    assert [len(of) for of in hashes] == [1, 1]
    assert hashes[2020][0] != hashes[2021][0]


def test_other_cases_never_share_a_table(made: Callable[..., Path]) -> None:
    """Nor do they where no model is the reference, so that nothing is compared."""
    folders = [made("UniSID"), made("TIGER")]
    one, other = load_runs(folders)
    make_leaderboard([one, other])
    target = other.ranks.target[::-1]
    with pytest.raises(UserError, match="not tested on the same users and targets"):
        make_leaderboard([one, replace(other, ranks=replace(other.ranks, target=target))])


def test_a_refusal_says_what_differs_alone(made: Callable[..., Path]) -> None:
    runs = load_runs([made("ItemID"), made("Pop", ties="shuffled:1", candidates="sampled100", tail_below=4)])
    with pytest.raises(UserError) as error:
        make_leaderboard(runs)
    told = str(error.value)
    assert "candidates sampled100, ties shuffled, tail_below 4" in told
    assert "other runs have candidates sampled99, ties raw, tail_below None" in told
    assert "valid_metric" not in told
