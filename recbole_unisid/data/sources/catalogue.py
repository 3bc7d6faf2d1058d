"""The data sets that can be prepared by name: their files, where those are, and the published counts."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recbole_unisid.data.filters import Duplicates
from recbole_unisid.data.sources.families import (
    AMAZON_2014,
    AMAZON_2018,
    AMAZON_2023,
    ML_1M,
    ML_20M,
    STEAM,
    YELP,
    Family,
)
from recbole_unisid.data.sources.values import seconds_of_date


@dataclass(frozen=True)
class Original:
    """One file of a public data set."""

    file: str  # its name, as published
    urls: tuple[str, ...] = ()  # in the order to try; empty where it must be fetched by hand
    parts: tuple[str, ...] = ()  # files in a person's own folder that together are as good


@dataclass(frozen=True)
class KnownDataset:
    """A data set that can be prepared by its name."""

    name: str  # RecBole's
    family: Family
    interactions: Original
    items: Original  # may be the same file
    published: tuple[int, int, int] | None = None  # users, items, interactions that must come out
    lines: int | None = None  # that the file of interactions must have
    elsewhere: str = ""  # what papers have, to tell beside what comes out where that need not be the same
    core: int = 5
    duplicates: Duplicates = "first"
    since: float | None = None  # seconds since 1970
    until: float | None = None  # is itself left out
    by_hand: str = ""  # how a person gets the files, for sets whose terms forbid handing them on


def recbole_name(category: str, family: str = "") -> str:
    """RecBole's name for an Amazon category, `family` being ``-18``, ``-23`` or nothing for 2014.

    >>> recbole_name("Sports_and_Outdoors"), recbole_name("AMAZON_FASHION", "-18")
    ('amazon-sports-outdoors', 'amazon-fashion-18')
    """
    slug = category.lower().removeprefix("amazon_").replace("_and_", "-").replace("_", "-")
    return f"amazon-{slug}{family}"


_SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
_MCAULEY = "https://mcauleylab.ucsd.edu/public_datasets/data/"
_UCSD = "https://datarepo.eng.ucsd.edu/mcauley_group/data/"

#: By year: how names end, how files are read, where they are (in the order to try), interactions and items in there.
_AMAZON: dict[str, tuple[str, Family, list[str], str, str]] = {
    "2014": (
        "",
        AMAZON_2014,
        [_SNAP, f"{_MCAULEY}amazon/categoryFiles/"],
        "reviews_{}_5.json.gz",
        "meta_{}.json.gz",
    ),
    "2018": (
        "-18",
        AMAZON_2018,
        [f"{_MCAULEY}amazon_v2/", f"{_UCSD}amazon_v2/"],
        "categoryFilesSmall/{}_5.json.gz",
        "metaFiles2/meta_{}.json.gz",
    ),
    "2023": (
        "-23",
        AMAZON_2023,
        [f"{_MCAULEY}amazon_2023/", f"{_UCSD}amazon_2023/"],
        "benchmark/5core/rating_only/{}.csv.gz",
        "raw/meta_categories/meta_{}.jsonl.gz",
    ),
}


def _original(*urls: str, parts: bool = False) -> Original:
    file = urls[0].rpartition("/")[2]
    names = (file.replace(".csv", f".{part}.csv") for part in ("train", "valid", "test"))
    return Original(file, urls, tuple(names) if parts else ())


def _amazon() -> Iterator[KnownDataset]:
    """The categories of ``amazon.csv``.

    Counts are the publishers', for 2014 also those of the table of Chin et al., "The datasets dilemma", WSDM 2022. The
    5-core files of 2018 repeat interactions; once those are dropped the core is smaller than published. What is
    published of them is their number of reviews, given here where others counted as many lines.
    """
    with Path(__file__).with_name("amazon.csv").open(encoding="ascii", newline="") as lines:
        for year, category, *counts in list(csv.reader(lines))[1:]:
            ending, family, folders, interactions, items = _AMAZON[year]
            users, n_items, number = counts
            yield KnownDataset(
                recbole_name(category, ending),
                family,
                _original(
                    *(folder + interactions.format(category) for folder in folders), parts=year == "2023"
                ),
                _original(*(folder + items.format(category) for folder in folders)),
                published=(int(users), int(n_items), int(number)) if users else None,
                lines=int(number) if number and not users else None,
            )


def _movielens() -> Iterator[KnownDataset]:
    movielens = _original("https://files.grouplens.org/datasets/movielens/ml-1m.zip")
    yield KnownDataset("ml-1m", ML_1M, movielens, movielens, published=(6040, 3706, 1000209), core=1)
    movielens = _original("https://files.grouplens.org/datasets/movielens/ml-20m.zip")
    yield KnownDataset("ml-20m", ML_20M, movielens, movielens, published=(138493, 26744, 20000263), core=1)


def _steam() -> KnownDataset:
    # Papers that take Steam differ in what they count: SASRec's users and items have 5 reviews before any filter. The
    # number of reviews is its authors'.
    steam = "https://cseweb.ucsd.edu/~wckang/"
    reviews, games = (_original(f"{steam}steam_{kind}.json.gz") for kind in ("reviews", "games"))
    return KnownDataset(
        "steam",
        STEAM,
        reviews,
        games,
        lines=7_793_069,
        elsewhere="SASRec has 334,730 users, 13,047 games and 3.7 million reviews, counted before its filter",
        duplicates="all",
    )


def _yelp() -> Iterator[KnownDataset]:
    reviews, businesses = (Original(f"yelp_academic_dataset_{kind}.json") for kind in ("review", "business"))
    by_hand = (
        "Yelp's terms forbid handing its data on: download the JSON files from "
        "https://business.yelp.com/data/resources/open-dataset/ yourself and unpack them"
    )
    # NGCF's (Wang et al., SIGIR 2019) and LightGCN's 10-core of the download of 2018. No counts are asserted of Yelp:
    # the download changes from year to year.
    yield KnownDataset(
        "yelp2018",
        YELP,
        reviews,
        businesses,
        elsewhere="LightGCN has 31,668 users, 38,048 businesses and 1,561,406 reviews of the download of 2018",
        core=10,
        until=seconds_of_date("2019-01-01"),
        by_hand=by_hand,
    )
    yield KnownDataset(
        "yelp",
        YELP,
        reviews,
        businesses,
        # The year that S3-Rec (Zhou et al., CIKM 2020) and its followers take.
        elsewhere="S3-Rec has 30,431 users, 20,033 businesses and 316,354 reviews of an earlier download",
        since=seconds_of_date("2019-01-01"),
        until=seconds_of_date("2020-01-01"),
        by_hand=by_hand,
    )


#: Every data set that can be prepared by name, but for ml-100k, which comes with RecBole.
CATALOGUE: dict[str, KnownDataset] = {
    known.name: known for known in (*_amazon(), *_movielens(), _steam(), *_yelp())
}
