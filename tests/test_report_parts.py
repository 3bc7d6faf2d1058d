"""The report's parts: markup, axes, examples, explorer data, LaTeX."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_material import Material

from recbole_unisid.report.charts import heat_map, linear_axis, log_axis
from recbole_unisid.report.examples import (
    choose_examples,
    neighbour_examples,
    people_examples,
    read_examples,
    write_examples,
)
from recbole_unisid.report.gather import ItemNames, gather_report
from recbole_unisid.report.markup import clean_text, foreign, tag
from recbole_unisid.report.sections.tokens import payload
from recbole_unisid.report.tables import to_latex
from recbole_unisid.report.token_groups import TokenView


@given(st.text(), st.text())
def test_text_and_attributes_cannot_become_markup(text, attribute):
    written = tag("p", text, title=attribute)
    inner = written.removeprefix("<p").removesuffix("</p>")
    assert inner.count("<") == 0
    assert inner.count(">") == 1
    assert inner.count('"') == 2


@given(st.text(), st.integers(1, 50))
def test_foreign_text_is_one_short_line(text, longest):
    clean = clean_text(text, longest)
    assert len(clean) <= longest + 1
    assert not any(char < " " or char in "\x7f\x85\u2028\u2029" for char in clean)


def test_long_titles_are_cut_and_kept_apart():
    shown = foreign("x" * 10_000)
    assert shown.startswith("<bdi")
    assert len(shown) < 800
    assert "…" in shown


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.booleans())
def test_linear_axes_hold_their_values(values, zero):
    axis = linear_axis(values, zero)
    assert axis.low <= min(values) + 1e-6 * (axis.high - axis.low)
    assert axis.high >= max(values) - 1e-6 * (axis.high - axis.low)
    assert 2 <= len(axis.ticks) <= 12
    assert all(0 <= axis.percent(value) <= 100 for value in values)


@given(st.lists(st.floats(1, 1e10), min_size=1))
def test_logarithmic_axes_hold_their_values(values):
    axis = log_axis(values)
    assert axis.low <= min(values) * 1.001
    assert axis.high >= max(values) * 0.999
    assert axis.low < axis.high
    assert axis.percent(axis.low) == 0
    assert axis.percent(axis.high) == 100


def test_heat_maps_draw_every_code_once():
    usage = np.array([0, 1, 5, 40, 0, 2, 2])
    drawn = heat_map(usage, "seven codes")
    assert drawn.count("M") == 7
    assert 'class="h0"' in drawn
    assert 'class="h6"' in drawn
    assert "seven codes" in drawn


def test_people_get_unseen_items_best_first_and_the_measured_rank():
    names = ["[PAD]", "a", "b", "c", "d", "e"]
    scores = np.array([[9, 5, 4, 3, 3, 1], [9, 1, 1, 1, 1, 1]], dtype=np.float32)
    histories = [np.array([1, 2]), np.array([2, 5])]
    one, other = people_examples(["u", "v"], histories, [4, 1], [2, 3], names, scores, k=2, shown=1)
    assert one.recommended == ["c", "d"]
    assert one.rank == 2
    assert one.history == ["b"]
    assert one.history_length == 2
    assert other.recommended == ["a", "c"]
    assert other.rank == 3


def test_a_target_seen_before_is_still_a_candidate():
    names = ["[PAD]", "a", "b", "c"]
    scores = np.array([[0, 3, 2, 1]], dtype=np.float32)
    (one,) = people_examples(["u"], [np.array([1, 2])], [2], [1], names, scores)
    assert one.recommended == ["b", "c"]


def test_a_list_ends_where_the_model_s_does():
    names = ["[PAD]", "a", "b", "c"]
    scores = np.array([[0, 3, -np.inf, 1]], dtype=np.float32)  # b is outside the beam
    (one,) = people_examples(["u"], [np.array([1])], [2], [51], names, scores)
    assert (one.recommended, one.rank) == (["c"], 51)


@pytest.mark.parametrize("scores", [np.zeros((1, 3)), np.full((1, 4), np.nan), np.full((1, 4), np.inf)])
def test_scores_are_checked(scores):
    with pytest.raises(ValueError, match="must be numbers"):
        people_examples(["u"], [np.array([1])], [2], [1], ["[PAD]", "a", "b", "c"], scores)


def test_neighbours_are_by_cosine_and_never_the_item_itself():
    table = np.array([[9, 9], [1, 0], [5, 0.1], [0, 1], [-1, 0]], dtype=np.float32)
    (one,) = neighbour_examples([1], {"id": table}, ["[PAD]", "a", "b", "c", "d"], k=3)
    assert one.by == {"id": ["b", "c", "d"]}


def test_examples_come_back_from_their_file(tmp_path):
    names = ["[PAD]", "a", "b", "c"]
    people = people_examples(["u"], [np.array([1])], [2], [1], names, np.eye(1, 4, 2, dtype=np.float32))
    near = neighbour_examples([3], {"id": np.eye(4, dtype=np.float32)}, names)
    write_examples(tmp_path / "examples.json", people, near, {"a": "A" * 900, "unnamed": "x"})
    found = read_examples(tmp_path / "examples.json")
    assert (found.people, found.neighbours) == (people, near)
    assert found.titles == {"a": "A" * 300}
    assert read_examples(tmp_path / "none.json") is None


def test_examples_are_the_same_cases_for_every_run():
    assert choose_examples(1000).tolist() == choose_examples(1000).tolist()
    assert choose_examples(3).tolist() == [0, 1, 2]


def test_the_explorer_holds_every_item_and_its_codes():
    codes = np.array([[1, 2], [3, 4], [1, 2]])
    view = TokenView(["UniSID"], 1, ["a", "b", "c"], codes, {})
    names = ItemNames({"a": "</script><b>"}, {"a": "Hair", "c": "Hair"})
    value = json.loads(payload(view, names))
    assert value["titles"] == ["</script><b>", "", ""]
    assert value["codes"] == [1, 2, 3, 4, 1, 2]
    assert [value["categories"][kind] for kind in value["category"]] == ["Hair", "", "Hair"]
    assert view.largest_collisions() == [["a", "c"]]
    assert view.collision_sizes() == {1: 1, 2: 1}


def test_latex_has_every_model_and_no_bare_special_characters(tmp_path):
    material = Material(tmp_path)
    runs = [material.write_run("UniSID", seed, 0.1, True, loss="a_b & 5%") for seed in (1, 2)]
    runs += [
        material.write_run("UniSID", 1, 0.1, True, loss="c"),
        material.write_run("ItemID", 1, 0.1, False),
    ]
    board = gather_report(runs).board
    table = to_latex(board)
    rows = [line for line in table.splitlines() if line.endswith("\\\\")]
    assert len(rows) == 2 + len(board.rows)
    assert r"UniSID (loss=a\_b \& 5\%)" in table
    assert len({line.replace(r"\&", "").count("&") for line in rows[1:]}) == 1
    assert table.count("{") == table.count("}")
    for row in board.rows:
        assert f"{row.spreads['full', 'ndcg@10'].mean:.4f}" in table
