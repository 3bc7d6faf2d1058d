"""Models that are trained elsewhere: the files of a split, and their predictions against plain counting."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.candidates import sample_negatives
from recbole_unisid.report.gather import gather_report
from recbole_unisid.report.page import draw_page
from recbole_unisid.runs.split_files import load_split

PROTOCOLS: list[dict[str, Any]] = [
    {},
    {"ties": "shuffled:3", "split": "global_time"},
    {"split": "cold_items"},
]


@pytest.fixture
def settings(ml_mini: Path, in_empty_folder: Path) -> dict[str, Any]:
    return {"data_path": str(ml_mini)}


def read(folder: Path) -> dict[str, pd.DataFrame]:
    """The parts of a split; CSV and Parquet must be the same."""
    parts = {}
    for path in folder.glob("*.parquet"):
        parts[path.stem] = pd.read_parquet(path)
        ids = {"user": str, "item": str}
        again = pd.read_csv(path.with_suffix(".csv"), dtype=ids, keep_default_na=False)
        pd.testing.assert_frame_equal(parts[path.stem], again)
    return parts


def histories(parts: dict[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Every user's items in order, put together from the parts."""
    whole = pd.concat(parts[name] for name in ("train", "valid", "test", "unused") if name in parts)
    ordered = whole.sort_values(["user", "position"])
    assert (ordered.groupby("user").cumcount() == ordered["position"]).all()
    return {str(user): items.tolist() for user, items in ordered.groupby("user")["item"]}


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_a_split_is_that_of_a_run(protocol: dict[str, Any], settings: dict[str, Any]) -> None:
    """The test targets, in their order, the lengths of histories and the training counts are those of ranks.npz."""
    written = recbole_unisid.split("ml-mini", "parts", settings | protocol)
    result = recbole_unisid.run(
        "ItemID", "ml-mini", settings | protocol | {"epochs": 1, "show_progress": False}, verbose=False
    )
    parts = read(Path("parts"))
    counts = parts["train"]["item"].value_counts()
    with np.load(Path(result["run_dir"]) / "ranks.npz") as ranks:
        assert parts["test"]["user"].tolist() == ranks["user"].tolist()
        assert parts["test"]["item"].tolist() == ranks["target"].tolist()
        assert parts["test"]["position"].tolist() == ranks["history_length"].tolist()
        trained = parts["test"]["item"].map(counts).fillna(0).astype(int)
        assert trained.tolist() == ranks["target_popularity"].tolist()
    assert written["protocol"].items() <= result["protocol"].items()
    assert sum(map(len, histories(parts).values())) == result["data"]["interactions"]
    assert len(parts["items"]) == result["data"]["items"]


def test_a_split_leaves_nothing_of_an_earlier_one(settings: dict[str, Any]) -> None:
    """A validation part of another split would be taken for this one's; other files in the folder stay."""
    recbole_unisid.split("ml-mini", "parts", settings)
    mine = Path("parts/mine.csv")
    mine.write_text("user,item\n", encoding="utf-8")
    assert Path("parts/valid.csv").is_file()
    unvalidated = {"eval_args": {"split": {"LS": "test_only"}}}
    written = recbole_unisid.split("ml-mini", "parts", settings | unvalidated)
    assert {path.name for path in Path("parts").iterdir()} == {
        *written["files"], "protocol.json", mine.name
    }  # fmt: skip
    assert not Path("parts/valid.csv").exists()


def lists_of(parts: dict[str, pd.DataFrame], length: int, repeats: bool, positions: bool) -> pd.DataFrame:
    """Random lists with equal scores in them, one a target or one a user."""
    rng, had = np.random.default_rng(5), histories(parts)
    rows = []
    asked = parts["test"] if positions else parts["test"].drop_duplicates("user")
    for user, position in zip(asked["user"], asked["position"], strict=True):
        seen = set() if repeats else set(had[user][:position])
        items = [item for item in rng.permutation(parts["items"]["item"]) if item not in seen][:length]
        scores = rng.integers(0, length, len(items))
        rows += [(user, position, item, score) for item, score in zip(items, scores, strict=True)]
    table = pd.DataFrame(rows, columns=["user_id", "position", "item_id", "score"])
    return table if positions else table.drop(columns="position")


def counted(parts: dict[str, pd.DataFrame], lists: pd.DataFrame, length: int) -> dict[str, list[int]]:
    """Ranks by plain counting: 1 + the others of the list that score as high or higher."""
    had, ranks = histories(parts), {"full": [], "full_unfiltered": []}
    keys = ["user_id"] + (["position"] if "position" in lists else [])
    groups = {
        key: dict(zip(group["item_id"], group["score"], strict=True)) for key, group in lists.groupby(keys)
    }
    for user, target, position in parts["test"][["user", "item", "position"]].itertuples(index=False):
        its = groups[(user, position) if len(keys) > 1 else (user,)]
        seen = set(had[user][:position])
        for name, rivals in (("full", set(its) - seen - {target}), ("full_unfiltered", set(its) - {target})):
            rank = 1 + sum(its[item] >= its[target] for item in rivals) if target in its else length + 1
            ranks[name].append(rank)
    return ranks


@pytest.mark.parametrize("protocol", PROTOCOLS[:2], ids=str)
@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("positions", [True, False])
def test_lists_are_ranked_as_counted_by_hand(
    protocol: dict[str, Any], repeats: bool, positions: bool, settings: dict[str, Any]
) -> None:
    """Seen in and seen out, one list a target and one a user, ties against the model, k + 1 beyond the list."""
    recbole_unisid.split("ml-mini", "parts", settings | protocol)
    parts, length = read(Path("parts")), 120
    lists = lists_of(parts, length, repeats, positions)
    lists.to_csv("parts/lists.csv", index=False)
    result = recbole_unisid.evaluate("parts/lists.csv", "elsewhere", config_dict=settings, verbose=False)
    expected = counted(parts, lists, length)
    with np.load(Path(result["run_dir"]) / "ranks.npz") as ranks:
        assert ranks["rank_full"].tolist() == expected["full"]
        assert ("rank_full_unfiltered" in ranks) == repeats
        if repeats:
            assert ranks["rank_full_unfiltered"].tolist() == expected["full_unfiltered"]
    gains = [1 / np.log2(rank + 1) if rank <= 10 else 0 for rank in expected["full"]]
    assert result["test"]["full"]["ndcg@10"] == pytest.approx(np.mean(gains), abs=1e-12)
    assert result["test"]["sampled99"] is None
    assert result["predictions"]["seen"] == ("in" if repeats else "out")


def test_scores_of_all_items_have_every_candidate_set(settings: dict[str, Any]) -> None:
    """A matrix in another order of users and items, with an item that it does not score."""
    recbole_unisid.split("ml-mini", "parts", settings)
    parts, loaded, rng = read(Path("parts")), load_split("ml-mini", settings), np.random.default_rng(1)
    users, items = (
        rng.permutation(parts[name][key]).astype(str) for name, key in (("test", "user"), ("items", "item"))
    )
    unscored, items = items[0], items[1:]
    scores = rng.integers(0, 500, (len(users), len(items))).astype(np.float32)
    np.savez("parts/scores.npz", scores=scores, user=users, item=items)
    result = recbole_unisid.evaluate("parts/scores.npz", "elsewhere", config_dict=settings, verbose=False)
    had, table = histories(parts), pd.DataFrame(scores, users, items)
    table[unscored] = -np.inf
    negatives = sample_negatives(loaded.sequences)
    for row, (user, target) in enumerate(parts["test"][["user", "item"]].itertuples(index=False)):
        its, seen = table.loc[user], set(had[user][:-1])
        drawn = loaded.sequences.item_ids[negatives[loaded.sequences.user_ids.tolist().index(user)]]
        sets = {
            "full": set(items) | {unscored},
            "full_unfiltered": set(items) | {unscored},
            "sampled99": set(drawn),
        }
        sets["full"] -= seen
        with np.load(Path(result["run_dir"]) / "ranks.npz") as ranks:
            for name, candidates in sets.items():
                rivals = sum(its[item] >= its[target] for item in candidates - {target})
                assert ranks[f"rank_{name}"][row] == 1 + rivals, (name, user)


def drop_user(lists: pd.DataFrame) -> pd.DataFrame:
    return lists[lists["user_id"] != lists["user_id"].iloc[0]]


def with_row(**changed: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda lists: pd.concat([lists, lists.iloc[:1].assign(**changed)])


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (with_row(user_id="nobody"), {}, "1 users are not in the data set, the first is 'nobody'"),
        (with_row(item_id="01"), {}, "1 items are not in the data set, the first is '01'"),
        (with_row(), {}, "twice"),
        (with_row(score=np.nan), {}, "the score of row"),
        (lambda lists: lists.assign(position=1.5), {}, "positions are whole numbers"),
        (drop_user, {}, "1 of 40 test targets have no predictions"),
        (lambda lists: lists[lists.groupby("user_id").cumcount() < 19], {}, "list more"),
        (lambda lists: lists[lists.groupby("user_id").cumcount() < 22], {}, "before place 20"),
        (lambda lists: lists.drop(columns="score"), {}, "no column rank or score"),
        (lambda lists: lists.assign(rank=lists["score"] + 1), {}, "rank and score order"),
        (lambda lists: lists.assign(user_id=lists["user_id"].astype(float)), {}, "write ids as text"),
        (lambda lists: lists, {"seen": "out"}, "so seen items are not left out"),
        (lambda lists: lists, {"seen": "never"}, "--seen=never must be one of"),
        (lambda lists: lists, {"seconds": math.nan}, "--seconds=nan is no number of seconds"),
        (lambda lists: lists, {"seconds": -1.0}, "--seconds=-1.0 is no number of seconds"),
        (lambda lists: lists, {"parameters": -1}, "--parameters=-1 is no whole number from 0 on"),
        (lambda lists: lists, {"seed": 1.5}, "--seed=1.5 is no whole number from 0 on"),
        (lambda lists: lists, {"name": "SASRec"}, "SASRec is a model here"),
        (lambda lists: lists, {"name": "../up"}, "must begin with a letter"),
        (lambda lists: lists, {"dataset": "ml-100k"}, "is of ml-mini"),
        (lambda lists: lists, {"config_dict": {"split": "cold_items"}}, "of another split"),
        (lambda lists: lists, {"config_dict": {"epochs": 3}}, "does not depend on epochs"),
    ],
)  # fmt: skip
def test_what_does_not_belong_is_one_line(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    options: dict[str, Any],
    words: str,
    settings: dict[str, Any],
) -> None:
    """Each is said, and no run folder stands afterwards."""
    recbole_unisid.split("ml-mini", "parts", settings)
    change(lists_of(read(Path("parts")), 120, True, False)).to_parquet("parts/lists.parquet", index=False)
    given = settings | options.pop("config_dict", {})
    with pytest.raises(UserError) as caught:
        recbole_unisid.evaluate(
            **(
                {"predictions": "parts/lists.parquet", "name": "mine", "config_dict": given, "verbose": False}
                | options
            )
        )
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"position": np.full(40, 3.7)}, "positions are whole numbers from 0 on"),
        ({"position": np.full(40, np.nan)}, "the position of row 1 is no number"),
        ({"position": np.full(40, -1)}, "positions are whole numbers from 0 on"),
        ({"position": np.full(40, "last")}, "positions must be numbers, not string"),
        ({"position": np.arange(39)}, "39 positions for 40 users"),
        ({"user": np.array([], dtype=str), "scores": np.zeros((0, 120))}, "has no score"),
        ({"item": np.array([], dtype=str), "scores": np.zeros((40, 0))}, "has no score"),
    ],
)  # fmt: skip
def test_scores_that_cannot_be_used_are_one_line(
    changed: dict[str, Any], words: str, settings: dict[str, Any]
) -> None:
    """Positions are checked as those of lists, and a file without scores is none."""
    recbole_unisid.split("ml-mini", "parts", settings)
    parts = read(Path("parts"))
    users, items = (
        parts[name][column].to_numpy(str) for name, column in (("test", "user"), ("items", "item"))
    )
    arrays = {"user": users, "item": items, "scores": np.zeros((len(users), len(items)))} | changed
    np.savez("parts/scores.npz", **arrays)
    with pytest.raises(UserError, match=words):
        recbole_unisid.evaluate("parts/scores.npz", "mine", config_dict=settings, verbose=False)
    assert not Path("runs").exists()


def test_a_data_frame_that_cannot_be_read_is_one_line(settings: dict[str, Any]) -> None:
    """A column of texts and numbers, and two columns of one name, which Arrow does not take."""
    written = recbole_unisid.split("ml-mini", "parts", settings)
    assert written["rows"]["test"] == 40
    lists = lists_of(read(Path("parts")), 120, True, False)
    mixed = lists.assign(user_id=[1, *lists["user_id"].iloc[1:]])
    for wrong in (mixed, pd.concat([lists, lists[["user_id"]]], axis=1)):
        with pytest.raises(UserError, match="The data frame cannot be read"):
            recbole_unisid.evaluate(
                wrong, "mine", config_dict=settings, protocol="parts/protocol.json", verbose=False
            )


def test_a_split_without_targets_is_refused(in_empty_folder: Path) -> None:
    """Two users of two items: nothing is tested, so there is nothing to write or to evaluate."""
    folder = in_empty_folder / "data" / "two"
    folder.mkdir(parents=True)
    rows = "user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\nu\tb\t2\nv\ta\t1\nv\tb\t2\n"
    (folder / "two.inter").write_text(rows, encoding="utf-8")
    with pytest.raises(UserError, match="No interaction of 'two' is a test target"):
        recbole_unisid.split("two", "parts", {"data_path": "data"})
    assert not Path("parts").exists()


def test_beside_our_runs_in_one_report(settings: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The commands: a list as long as the catalogue, by popularity, is Pop to the last digit, and shares its page."""
    place = f"--data_path={settings['data_path']}"
    assert main(["split", "ml-mini", "--to=parts", place]) == 0
    parts = read(Path("parts"))
    popular, had = parts["items"].sort_values("training_count", ascending=False), histories(parts)
    lists = [
        popular[~popular["item"].isin(had[user][:position])].assign(user=user)
        for user, position in parts["test"][["user", "position"]].itertuples(index=False)
    ]
    table = pd.concat(lists)[["user", "item", "training_count"]].rename(columns={"training_count": "score"})
    table[table["user"] != "1"].to_parquet("parts/popular.parquet")
    evaluate = ["evaluate", "parts/popular.parquet", "--name=popular elsewhere", "--seconds=2.5", place]
    assert main(evaluate) == 2
    table.to_parquet("parts/popular.parquet")
    assert main(evaluate) == 0
    assert "trained elsewhere" in capsys.readouterr().out
    assert main(["recommend", "--run=runs/ml-mini/popular elsewhere", "--user=1"]) == 2
    assert "trained elsewhere, and no model" in capsys.readouterr().err
    assert (
        main(["run", "--model=Pop,ItemID", "--dataset=ml-mini", "--epochs=1", "--show_progress=false", place])
        == 0
    )
    folders = [path.parent for path in sorted(Path("runs").rglob("result.json"))]
    report = gather_report(folders)
    ours, theirs = (
        next(json.loads((path / "result.json").read_text()) for path in folders if path.parent.name == name)
        for name in ("Pop", "popular elsewhere")
    )
    for key in ("full", "slices"):
        shown = {k: v for k, v in theirs["test"][key].items() if k != "mrr"}
        assert shown.items() <= ours["test"][key].items()
    assert theirs["controls"] == ours["controls"]
    assert theirs["seconds"]["training"] == 2.5
    assert "popular elsewhere was trained and chosen elsewhere." in draw_page(report)
    assert report.board.reference in ("ItemID", "Pop")


def test_data_that_has_changed_is_another_split(settings: dict[str, Any]) -> None:
    """The hash of the protocol is of the interactions, too."""
    source = Path(settings["data_path"]) / "ml-mini" / "ml-mini.inter"
    copy = Path("data/ml-mini/ml-mini.inter")
    copy.parent.mkdir(parents=True)
    lines = source.read_text().splitlines()
    copy.write_text("\n".join(lines[:-1]) + "\n")
    recbole_unisid.split("ml-mini", "parts", settings)
    lists_of(read(Path("parts")), 120, True, False).to_parquet("parts/lists.parquet")
    with pytest.raises(UserError, match="of another split"):
        recbole_unisid.evaluate(
            "parts/lists.parquet", "mine", config_dict={"data_path": "data"}, verbose=False
        )
