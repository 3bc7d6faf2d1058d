"""Small originals in each family's real format."""

import gzip
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from recbole_unisid.data.prepare import prepare
from recbole_unisid.data.sources.catalogue import CATALOGUE
from recbole_unisid.data.summary import Summary
from recbole_unisid.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def made(name: str, tmp_path: Path, core: int = 1) -> tuple[Summary, list[str], list[str]]:
    """Prepare from ``raw``; the summary and the rows of both files."""
    summary = prepare(name, tmp_path, raw=tmp_path / "raw", core=core, progress=False)
    folder = tmp_path / name
    return (
        summary,
        (folder / f"{name}.inter").read_text(encoding="utf-8").splitlines(),
        (folder / f"{name}.item").read_text(encoding="utf-8").splitlines(),
    )


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def test_amazon_2018(raw: Path, tmp_path: Path) -> None:
    review = {"overall": 5.0, "verified": True, "reviewTime": "10 30, 2016", "reviewerID": "A1", "asin": "X1",
              "style": {"Format:": " Misc"}, "unixReviewTime": 1477785600}  # fmt: skip
    reviews = [review, {**review, "unixReviewTime": 1400000000, "overall": 1.0}, {**review, "asin": "X2"}]
    with gzip.open(raw / "Gift_Cards_5.json.gz", "wt") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in reviews)
    meta = {
        "category": ["Gift Cards", "Sets &amp; Kits"],
        "description": ["<p>One</p>", "two"],
        "title": "A card",
        "brand": "B",
        "feature": ["f1", "f2"],
        "price": "$1,025.00",
        "asin": "X1",
        "also_buy": ["X2"],
    }
    junk = {"asin": "X2", "title": "var aPageStart = (new Date()).getTime();", "price": "$1 - $2"}
    with gzip.open(raw / "meta_Gift_Cards.json.gz", "wt") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in (meta, meta, junk, {**meta, "asin": "X9"}))

    summary, inter, item = made("amazon-gift-cards-18", tmp_path)
    assert inter[1:] == ["A1\tX1\t1\t1400000000", "A1\tX2\t5\t1477785600"]  # of the repeats the first in time
    assert item == [
        "item_id:token\ttitle:token_seq\tbrand:token\tcategories:token_seq\tprice:float\t"
        "description:token_seq\tfeatures:token_seq",
        "X1\tA card\tB\tGift Cards, Sets & Kits\t1025\tOne two\tf1 f2",
        "X2\t\t\t\t\t\t",
    ]
    assert summary.dropped == {"repeats (first)": 1}
    assert summary.skipped == {"item met before (items)": 1}
    assert summary.read["items without interactions"] == 1


def test_amazon_2023_keeps_milliseconds(raw: Path, tmp_path: Path) -> None:
    rows = [
        "user_id,parent_asin,rating,timestamp",
        "AE1,B1,5.0,1631250589584",
        "AE1,B2,4.0,1631250589583",
        "bad",
    ]
    (raw / "Software.csv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    meta = {
        "main_category": "Software",
        "title": "T",
        "features": [],
        "description": ["d"],
        "price": 12.99,
        "store": "S",
        "categories": ["Software", "Games"],
        "details": {},
        "parent_asin": "B1",
    }
    (raw / "meta_Software.jsonl").write_text(json.dumps(meta) + "\n")

    summary, inter, item = made("amazon-software-23", tmp_path)
    assert inter[1:] == ["AE1\tB2\t4\t1631250589.583", "AE1\tB1\t5\t1631250589.584"]
    assert item[1:] == ["B1\tT\tS\tSoftware, Games\t12.99\td\t", "B2\t\t\t\t\t\t"]
    assert summary.skipped == {"wrong number of cells": 1}
    (raw / "Software.csv.gz").write_bytes(gzip.compress(b"a,b,c\n"))
    with pytest.raises(UserError, match="not a 2023 rating-only file"):
        made("amazon-software-23", tmp_path)


def test_movielens_1m(raw: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(raw / "ml-1m.zip", "w") as archive:
        archive.writestr(
            "ml-1m/ratings.dat", "1::1193::5::978300760\n1::661::3::978302109\n2::661::4::978298413\n"
        )
        movies = (
            "661::James and the Giant Peach (1996)::Animation|Children's\n1193::Misérables (1995)::Drama\n"
        )
        archive.writestr("ml-1m/movies.dat", movies.encode("latin-1"))
    _, inter, item = made("ml-1m", tmp_path)
    assert inter[1:] == ["1\t1193\t5\t978300760", "1\t661\t3\t978302109", "2\t661\t4\t978298413"]
    assert item[1:] == [
        "661\tJames and the Giant Peach\t1996\tAnimation, Children's",
        "1193\tMisérables\t1995\tDrama",
    ]
    (raw / "ml-1m.zip").write_bytes((raw / "ml-1m.zip").read_bytes()[:200])
    with pytest.raises(UserError, match="damaged or cut off"):
        made("ml-1m", tmp_path)


def test_yelp_takes_the_year_2019(raw: Path, tmp_path: Path) -> None:
    dates = ["2018-12-31 23:59:59", "2019-01-01 00:00:00", "2019-12-31 23:59:59", "2020-01-01 00:00:00"]
    reviews = [
        {"user_id": "-u_", "business_id": f"b{k}", "stars": 4.0, "date": date} for k, date in enumerate(dates)
    ]
    (raw / "yelp_academic_dataset_review.json").write_text("\n".join(map(json.dumps, reviews)))
    business = {
        "business_id": "b1",
        "name": 'Café "Zoë"',
        "categories": "Food, Bars",
        "city": "Reno",
        "state": "NV",
    }
    (raw / "yelp_academic_dataset_business.json").write_text(json.dumps(business))
    summary, inter, item = made("yelp", tmp_path)
    assert inter[1:] == ["-u_\tb1\t4\t1546300800", "-u_\tb2\t4\t1577836799"]
    assert item[1] == "b1\tCafé ''Zoë''\tFood, Bars\tReno\tNV"
    assert summary.dropped == {"outside the time span": 2}


def test_yelp2018_is_a_10_core_until_2018(raw: Path, tmp_path: Path) -> None:
    """Ten users by ten businesses remain; a review of 2019 and a user of nine do not. What others have is told."""
    pairs = [(user, business) for user in range(11) for business in range(10) if (user, business) != (10, 9)]
    reviews = [
        {"user_id": f"u{user}", "business_id": f"b{at}", "stars": 3.0, "date": f"2018-12-31 23:59:{at:02d}"}
        for user, at in pairs
    ]
    reviews.append(reviews[-1] | {"business_id": "b9", "date": "2019-01-01 00:00:00"})
    (raw / "yelp_academic_dataset_review.json").write_text("\n".join(map(json.dumps, reviews)))
    (raw / "yelp_academic_dataset_business.json").write_text(json.dumps({"business_id": "b1", "name": "A"}))
    summary = prepare("yelp2018", tmp_path, raw=raw, progress=False)
    assert (summary.users, summary.items, summary.interactions) == (10, 10, 100)
    assert summary.dropped["outside the time span"] == 1
    assert any("31,668 users, 38,048 businesses and 1,561,406 reviews" in note for note in summary.notes)


def test_the_lines_of_2018_are_those_published(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was cut off is refused before anything is written, unless counts are not to be checked."""
    name, lines = "amazon-video-games-18", CATALOGUE["amazon-video-games-18"].lines
    assert lines == 497_577
    review = {"overall": 5.0, "unixReviewTime": 1477785600}
    pairs = [{"reviewerID": f"A{user}", "asin": f"X{item}"} for user in range(5) for item in range(5)]
    (raw / "Video_Games_5.json").write_text("\n".join(json.dumps(review | pair) for pair in pairs) + "\n")
    (raw / "meta_Video_Games.json").write_text(json.dumps({"asin": "X1", "title": "T"}) + "\n")
    with pytest.raises(UserError, match=r"Video_Games_5.json.gz has 25 lines, published are 497,577"):
        prepare(name, tmp_path, raw=raw, progress=False)
    assert not (tmp_path / name / f"{name}.inter").exists()
    assert prepare(name, tmp_path, raw=raw, check_counts=False, progress=False).interactions == 25
    monkeypatch.setitem(CATALOGUE, name, replace(CATALOGUE[name], lines=25))
    assert prepare(name, tmp_path, raw=raw, progress=False).interactions == 25


def test_every_set_that_papers_report_has_its_counts_and_its_settings() -> None:
    """Users, items and interactions, the lines of the file, or what papers have where the originals change."""
    named = [*("sports-outdoors", "toys-games", "clothing-shoes-jewelry", "health-personal-care", "beauty")]
    named += ["video-games", "video-games-18", "video-games-23", "musical-instruments-23"]
    named = [f"amazon-{name}" for name in [*named, "industrial-scientific-23"]]
    for name in [*named, "yelp", "yelp2018", "steam", "ml-1m", "ml-20m"]:
        known = CATALOGUE[name]
        assert known.published or known.lines or known.elsewhere, name
        head = (ROOT / "properties" / "dataset" / f"{name}.yaml").read_text().splitlines()[0]
        if known.published:
            assert "{:,} users, {:,} items, {:,} interactions".format(*known.published) in head
    assert CATALOGUE["steam"].lines == 7_793_069
    assert CATALOGUE["amazon-clothing-shoes-jewelry"].published == (39_387, 23_033, 278_677)
    assert CATALOGUE["amazon-health-personal-care"].published == (38_609, 18_534, 346_355)


def test_the_catalogue_asserts_the_published_counts() -> None:
    assert CATALOGUE["amazon-beauty"].published == (22_363, 12_101, 198_502)
    assert CATALOGUE["amazon-sports-outdoors"].published == (35_598, 18_357, 296_337)
    assert CATALOGUE["amazon-toys-games"].published == (19_412, 11_924, 167_597)
    for name, known in CATALOGUE.items():
        assert bool(known.interactions.urls) != bool(known.by_hand), name
