"""What tables, pages and screens say of a protocol: moments that people can read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_material import Material

from recbole_unisid.files import write_json
from recbole_unisid.report.board import write_board
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
