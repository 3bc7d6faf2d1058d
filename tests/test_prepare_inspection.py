"""What inspect says of made-up and of real data sets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_unisid.data.inspection import Inspection, inspect_dataset
from recbole_unisid.data.prepare import ensure_dataset, prepare
from recbole_unisid.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def write(root: Path, name: str, inter: list[str], item: list[str] | None = None) -> Path:
    """Put a data set into `root` as a person would, with blanks for tabs."""
    (root / name).mkdir(parents=True)
    for ending, lines in (("inter", inter), ("item", item)):
        if lines is not None:
            text = "".join(line.replace(" ", "\t") + "\n" for line in lines)
            (root / name / f"{name}.{ending}").write_text(text, encoding="utf-8")
    return root


def real(name: str) -> Inspection:
    """Inspect a real data set of this machine, or skip."""
    for place in (os.environ.get("RECBOLE_UNISID_DATA"), ROOT / "dataset", ROOT.parent / "shared" / "data"):
        if place and (Path(place) / name / f"{name}.inter").is_file():
            return inspect_dataset(name, place)
    pytest.skip(f"{name} is not on this machine; set RECBOLE_UNISID_DATA to the folder that has it")


def test_counts_ties_repeats_and_controls(tmp_path: Path) -> None:
    write(
        tmp_path,
        "small",
        # u: b c d in order, the last two at once; v: c c; w: a b c d backwards in the file
        ["user_id:token item_id:token timestamp:float", "u b 5", "u c 7", "u d 7", "v c 1", "v c 1"]
        + [f"w {item} {time}" for item, time in zip("dcba", (90, 80, 70, 60), strict=True)],
        [
            "item_id:token title:token_seq price:float",
            "a Apple 1",
            "b  2",
            'c "Cherry 3',
            "z None 4",
            "z Z 5",
        ],
    )
    facts = inspect_dataset("small", tmp_path)
    assert (facts.users, facts.items, facts.interactions) == (3, 4, 9)
    assert facts.lengths == {"least": 2, "median": 3, "mean": 3, "90th percentile": 3.8, "most": 4}
    assert facts.length_histogram == [[2, 1], [3, 1], [4, 1]]
    assert facts.times.kind == "exact"
    assert facts.times.tied == pytest.approx(2 / 6)
    assert facts.duplicates == {
        "same user, item and time": 1, "same user and item": 1, "same item twice in a row": 1,
    }  # fmt: skip
    controls = facts.controls
    assert (controls.cases, controls.next_id, controls.previous_id) == (2, 1.0, 0.0)  # u and w end c -> d
    assert controls.next_higher == 1.0
    assert controls.popularity == 1.0  # all four items fit into ten
    assert facts.text is not None
    assert {field.name: field.coverage for field in facts.text.fields} == {"title": 0.5, "price": 0.75}
    assert (facts.text.missing, facts.text.surplus, facts.text.without_text) == (1, 1, 2)
    assert facts.text.troubles == {
        'field beginning with " (swallows lines)': 1,
        "text such as NA or None (read as missing)": 1,
        "item met twice": 1,
    }
    shown = facts.as_table()
    assert "1 users have fewer than 3 interactions" in shown
    assert "swallows lines" in shown
    assert "1 items of the .item file are in no interaction" in shown
    assert json.loads(json.dumps(facts.as_json(), allow_nan=False))["controls"]["cases"] == 2


def test_the_calendar_in_words_and_a_plot(tmp_path: Path) -> None:
    """Twenty interactions: the last two are tested, one of an unseen user, one of an unseen item."""
    day = 86_400
    rows = [f"u{at % 4} i{at % 3} {1_388_534_400 + at * day}" for at in range(16)]
    rows += [f"u9 i0 {1_388_534_400 + at * day}" for at in (16, 17, 18)]
    rows += [f"u0 i8 {1_388_534_400 + 19 * day + 30}"]
    write(tmp_path, "shop", ["user_id:token item_id:token timestamp:float", *rows])
    facts = inspect_dataset("shop", tmp_path)
    assert facts.calendar is not None
    assert (facts.calendar["test_cases"], facts.calendar["test_users"]) == (2, 2)
    assert (facts.calendar["unseen_users"], facts.calendar["unseen_items"]) == (0.5, 0.5)
    assert facts.calendar["rare_items"] == 0.0
    assert facts.tail_below == 5  # i0 has all five users
    shown = facts.as_table()
    assert (
        "validation from 2014-01-17 UTC (time 1389916800; 0.1 of interactions), test from 2014-01-19" in shown
    )
    assert "2 targets of 2 users" in shown
    assert f"of users unseen in training         50.0% {'█' * 20}\n" in shown
    assert "targets that fewer than 5 users have" in shown


def test_order_only_and_numbered_by_appearance(tmp_path: Path) -> None:
    rows = [f"u{user} i{(user + step) % 30} {step + 1}" for user in range(40) for step in range(12)]
    write(tmp_path, "order", ["user_id:token item_id:token timestamp:float", *rows])
    facts = inspect_dataset("order", tmp_path)
    assert facts.times.kind == "order only"
    assert facts.calendar is None
    assert "global time split" not in facts.as_table()
    assert not facts.controls.ids_from_source
    assert any("mean nothing here" in warning for warning in facts.warnings)
    assert any("no .item file" in warning for warning in facts.warnings)


def test_ml_100k_comes_from_recbole(tmp_path: Path) -> None:
    folder = ensure_dataset("ml-100k", tmp_path)
    assert (folder / "ml-100k.inter").is_file()
    assert not list(tmp_path.iterdir())
    summary = prepare("ml-100k", tmp_path)
    assert (summary.users, summary.items, summary.interactions) == (943, 1682, 100_000)
    assert ensure_dataset("ml-100k", tmp_path) == tmp_path / "ml-100k"
    facts = inspect_dataset("ml-100k", tmp_path)
    assert facts.times.tied == pytest.approx(0.51, abs=0.005)
    assert facts.times.tied_float32 == pytest.approx(0.70, abs=0.005)


def test_beauty_leaks_as_published() -> None:
    facts = real("amazon-beauty")
    assert (facts.users, facts.items, facts.interactions) == (22_363, 12_101, 198_502)
    controls = facts.controls
    figures = (controls.next_id, controls.previous_id, controls.popularity)
    assert figures == pytest.approx((0.0312, 0.0053, 0.0106), abs=0.00005)
    assert controls.next_higher == pytest.approx(0.71, abs=0.005)
    assert controls.ids_from_source
    assert any("leaks" in warning for warning in facts.warnings)


def test_a_set_numbered_by_its_preparation_is_not_accused() -> None:
    facts = real("amazon-scientific-18")
    assert not facts.controls.ids_from_source
    assert not any("leaks" in warning for warning in facts.warnings)


def test_unknown_names_get_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path, "my-shop", ["user_id:token item_id:token", "u i"])
    with pytest.raises(UserError, match=r"Did you mean my-shop\?"):
        inspect_dataset("my-shp", tmp_path)
    with pytest.raises(UserError, match="Did you mean amazon-beauty"):
        ensure_dataset("amazon-beuty", tmp_path)
    with pytest.raises(UserError, match="prepare it first"):
        inspect_dataset("amazon-beauty", tmp_path)
    with pytest.raises(UserError, match="Yelp's terms"):
        ensure_dataset("yelp", tmp_path)


@pytest.mark.parametrize(
    "lines",
    [["no header here"], ["user_id:token thing:token", "u i"], ["user_id:token item_id:token"], []],
)
def test_files_that_are_no_data_set(lines: list[str], tmp_path: Path) -> None:
    write(tmp_path, "odd", lines)
    with pytest.raises(UserError) as error:
        inspect_dataset("odd", tmp_path)
    assert "odd.inter" in str(error.value)


def test_inspect_and_prepare_start_without_torch(tmp_path: Path) -> None:
    write(tmp_path, "small", ["user_id:token item_id:token", "u a", "u b", "u c"])
    (tmp_path / "own.csv").write_text("user,item\nu,a\n")
    script = (
        "import sys\n"
        "from recbole_unisid.commands import inspect, prepare\n"
        f"assert inspect.main(['small', '--data_path={tmp_path}']) == 0\n"
        f"assert prepare.main(['--from-csv={tmp_path}/own.csv', '--data_path={tmp_path}']) == 0\n"
        "heavy = {'torch', 'recbole', 'scipy', 'sklearn', 'transformers'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "interactions" in run.stdout
