"""Amazon 2023 from synthesised originals to a finished run, beside an independent reading; MovieLens-20M and Steam."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recbole_unisid
from recbole_unisid.data.prepare import prepare
from recbole_unisid.data.sources.catalogue import CATALOGUE
from recbole_unisid.errors import UserError

CATEGORY, NAME = "Gift_Cards", "amazon-gift-cards-23"
HEADER = "user_id,parent_asin,rating,timestamp"


def synthesise(raw: Path, users: int, items: int, lines: int) -> None:
    """Write the benchmark's files: ratings in any order, the last-out split with histories, and the metadata."""
    raw.mkdir(parents=True)
    rng = np.random.default_rng(23)
    who, what = rng.integers(0, users, lines), (items * rng.random(lines) ** 2).astype(int)
    when = 1_500_000_000_000 + rng.integers(0, 10**11, lines)
    when[rng.random(lines) < 0.2] //= 86_400_000
    when[when < 10**9] *= 86_400_000  # a fifth at whole days, so that some tie
    rows = [
        f"AE{u:06d},B0{i:08d},{r}.0,{t}"
        for u, i, r, t in zip(who, what, rng.integers(1, 6, lines), when, strict=False)
    ]
    with gzip.open(raw / f"{CATEGORY}.csv.gz", "wt", compresslevel=1) as out:
        out.write("\n".join([HEADER, *rows]) + "\n")
    with (raw / f"meta_{CATEGORY}.jsonl").open("w") as out:
        for item in range(items + 5):
            title = {
                "title": f'Card "{item}", gift',
                "store": "S",
                "categories": ["Gifts"],
                "price": item % 9,
            }
            out.write(json.dumps({"parent_asin": f"B0{item:08d}", "details": {}, **title}) + "\n")


def read_independently(raw: Path, core: int = 5) -> dict[str, list[str]]:
    """Each user's items in time with the standard library alone: the first of repeated pairs, then the core."""
    with gzip.open(raw / f"{CATEGORY}.csv.gz", "rt", newline="") as stream:
        rows = [(int(row["timestamp"]), row["user_id"], row["parent_asin"]) for row in csv.DictReader(stream)]
    rows.sort(key=lambda row: row[0])
    pairs = dict.fromkeys((user, item) for _, user, item in rows)
    while True:
        of_user, of_item = (Counter(pair[side] for pair in pairs) for side in (0, 1))
        kept = [pair for pair in pairs if min(of_user[pair[0]], of_item[pair[1]]) >= core]
        if len(kept) == len(pairs):
            break
        pairs = dict.fromkeys(kept)
    sequences = defaultdict(list)
    for user, item in pairs:
        sequences[user].append(item)
    return dict(sequences)


def sequences_of(path: Path) -> dict[str, list[str]]:
    found = defaultdict(list)
    for line in path.read_text().splitlines()[1:]:
        user, item, *_ = line.split("\t")
        found[user].append(item)
    return dict(found)


def targets_of(result: dict[str, Any]) -> set[tuple[str, str]]:
    with np.load(Path(result["run_dir"]) / "ranks.npz") as ranks:
        return set(zip(ranks["user"].tolist(), ranks["target"].tolist(), strict=True))


@pytest.mark.parametrize(
    ("model", "sizes"), [("ItemID", (150, 60, 2500)), ("Pop", (12_000, 2_500, 1_000_000))]
)
def test_from_originals_to_a_finished_run(
    model: str, sizes: tuple[int, int, int], tmp_path: Path, in_empty_folder: Path
) -> None:
    """Counts, order and split are those of the independent reading."""
    synthesise(tmp_path / "raw", *sizes)
    expected = read_independently(tmp_path / "raw")
    summary = prepare(NAME, tmp_path / "data", raw=tmp_path / "raw", progress=False)
    assert summary.read["lines of interactions"] == sizes[2] + 1
    assert sequences_of(tmp_path / "data" / NAME / f"{NAME}.inter") == expected
    counts = summary.users, summary.items, summary.interactions
    assert counts == (len(expected), len(set().union(*expected.values())), sum(map(len, expected.values())))
    assert summary.coverage["title"] == 1.0
    settings = {"data_path": str(tmp_path / "data"), "epochs": 1, "show_progress": False}
    settings |= {"eval_batch_size": 1_000_000}  # one user a batch at RecBole's default
    result = recbole_unisid.run(model, NAME, settings, verbose=False)
    assert result["status"] == "complete"
    assert tuple(result["data"][part] for part in ("users", "items", "interactions")) == counts
    # Of each user the first is context, the last is tested and the one before it validates.
    assert result["data"]["train_targets"] == counts[2] - 3 * counts[0]
    assert targets_of(result) == {(user, items[-1]) for user, items in expected.items()}


def test_windows_of_a_global_time_split(tmp_path: Path, in_empty_folder: Path) -> None:
    """Periods, targets and what is unseen are those of the independent reading."""
    raw = tmp_path / "raw"
    synthesise(raw, users=600, items=600, lines=1500)
    expected, times = read_independently(raw, core=1), first_times(raw)
    prepare(NAME, tmp_path / "data", raw=raw, core=1, progress=False)
    settings = {"data_path": str(tmp_path / "data"), "split": "global_time", "show_progress": False}
    result = recbole_unisid.run("Pop", NAME, settings, verbose=False)
    kept = sorted(times[user, item] for user, items in expected.items() for item in items)
    valid_from, test_from = kept[8 * len(kept) // 10], kept[9 * len(kept) // 10]
    periods = result["data"]["periods"]
    assert periods["validation"][0] == pytest.approx(valid_from / 1000, rel=0, abs=1e-4)
    assert periods["test"] == pytest.approx([test_from / 1000, kept[-1] / 1000], rel=0, abs=1e-4)
    targets = {
        (user, item)
        for user, items in expected.items()
        for item in items[1:]
        if times[user, item] >= test_from
    }
    assert targets_of(result) == targets
    trained = {
        pair for pair, time in times.items() if time < valid_from and pair[1] in expected.get(pair[0], ())
    }
    users, items = ({pair[side] for pair in trained} for side in (0, 1))
    unseen = [
        np.mean([pair[side] not in known for pair in targets]) for side, known in ((0, users), (1, items))
    ]
    assert 0 < min(unseen) < max(unseen) < 1
    assert [result["data"][part] for part in ("unseen_users", "unseen_items")] == pytest.approx(unseen)


def first_times(raw: Path) -> dict[tuple[str, str], int]:
    """When each user met each item first, in milliseconds."""
    times: dict[tuple[str, str], int] = {}
    with gzip.open(raw / f"{CATEGORY}.csv.gz", "rt", newline="") as stream:
        for row in csv.DictReader(stream):
            pair = row["user_id"], row["parent_asin"]
            times[pair] = min(times.get(pair, 1 << 62), int(row["timestamp"]))
    return times


def test_the_files_of_a_split_are_as_good(tmp_path: Path) -> None:
    """Train, validation and test with histories give the same sequences: each history is what comes before."""
    raw = tmp_path / "raw"
    synthesise(raw, users=150, items=60, lines=2500)
    expected = read_independently(raw)
    times = first_times(raw)
    (raw / f"{CATEGORY}.csv.gz").unlink()
    with pytest.raises(UserError, match=r"Gift_Cards.csv.gz is not in"):
        prepare(NAME, tmp_path / "data", raw=raw, progress=False)
    parts: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for user, items in expected.items():
        for at, item in enumerate(items):
            part = {1: "test", 2: "valid"}.get(len(items) - at, "train")
            line = f"{user},{item},5.0,{times[user, item]},{' '.join(items[:at])}"
            parts[part].append(line)
    for part, lines in parts.items():
        (raw / f"{CATEGORY}.{part}.csv").write_text("\n".join([f"{HEADER},history", *lines]) + "\n")
    prepare(NAME, tmp_path / "data", raw=raw, progress=False)
    assert sequences_of(tmp_path / "data" / NAME / f"{NAME}.inter") == expected
    note = json.loads(next((tmp_path / "data" / NAME).glob("*.json")).read_text())
    assert [one["path"] for one in note["originals"]][:3] == [f"{CATEGORY}.{part}.csv" for part in parts]
    (raw / f"{CATEGORY}.valid.csv").unlink()
    with pytest.raises(UserError, match=r"Gift_Cards.valid.csv.gz is not in .*beside Gift_Cards.train.csv"):
        prepare(NAME, tmp_path / "data", raw=raw, progress=False)


def test_movielens_20m(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    with zipfile.ZipFile(raw / "ml-20m.zip", "w") as archive:
        archive.writestr(
            "ml-20m/ratings.csv", "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,29,4,1112484676\n"
        )
        films = '2,Jumanji (1995),Adventure|Fantasy\n29,"City, The (Cité) (1995)",(no genres listed)\n7,X,Y\n'
        archive.writestr("ml-20m/movies.csv", "movieId,title,genres\n" + films)
    summary = prepare("ml-20m", tmp_path, raw=raw, core=1, progress=False)
    inter, item = (
        (tmp_path / "ml-20m" / f"ml-20m.{kind}").read_text().splitlines() for kind in ("inter", "item")
    )
    assert inter[1:] == ["1\t29\t4\t1112484676", "1\t2\t3.5\t1112486027"]
    assert item[1:] == [
        "2\tJumanji\t1995\tAdventure, Fantasy",
        "29\tCity, The (Cité)\t1995\t(no genres listed)",
    ]
    assert summary.read["items without interactions"] == 1


def test_steam(tmp_path: Path) -> None:
    """Python literals with the mark of old texts; repeats stay."""
    raw = tmp_path / "raw"
    raw.mkdir()
    reviews = [
        "{u'username': u'Ann', u'product_id': u'10', u'date': u'2017-12-17', u'text': u\"it's u'good'\"}",
        "{u'username': u'Ann', u'product_id': u'10', u'date': u'2018-01-02', u'text': u'', u'early_access': False}",
        "{u'username': u'Bo\\xe9', u'product_id': u'20', u'date': u'2017-12-18', u'user_id': None}",
        "{u'username': u'Bo', u'product_id': exit()}",
    ]
    (raw / "steam_reviews.json").write_text("\n".join(reviews) + "\n")
    game = "{u'app_name': u'Game \"One\"', u'id': u'10', u'genres': [u'Action', u'Indie'], u'price': 4.99}"
    (raw / "steam_games.json").write_text(game + "\n")
    summary = prepare("steam", tmp_path, raw=raw, core=1, progress=False)
    inter, item = (
        (tmp_path / "steam" / f"steam.{kind}").read_text().splitlines() for kind in ("inter", "item")
    )
    days = [1513468800, 1514851200, 1513555200]
    assert [line.split("\t")[:2] + line.split("\t")[-1:] for line in inter[1:]] == [
        ["Ann", "10", str(days[0])], ["Ann", "10", str(days[1])], ["Boé", "20", str(days[2])]
    ]  # fmt: skip
    assert item[1] == "10\tGame ''One''\t\tAction, Indie\t\t4.99"
    assert summary.skipped["not a Python literal"] == 1


def test_counts_are_those_that_others_read() -> None:
    """Of sets whose counts two independent readings give; the others assert none."""
    assert CATALOGUE["amazon-musical-instruments-23"].published == (57_439, 24_587, 511_836)
    assert CATALOGUE["amazon-industrial-scientific-23"].published == (50_985, 25_848, 412_947)
    assert CATALOGUE["amazon-baby-products-23"].published == (150_777, 36_013, 1_241_083)
    assert CATALOGUE["ml-20m"].published == (138_493, 26_744, 20_000_263)
    assert CATALOGUE["steam"].published is CATALOGUE["yelp2018"].published is None
