"""The data sets that can be prepared by name: their files, where those are, and the published counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recbole_unisid.data.filters import Duplicates
from recbole_unisid.data.sources.amazon import AMAZON_2014, AMAZON_2018, AMAZON_2023
from recbole_unisid.data.sources.layout import Layout
from recbole_unisid.data.sources.movielens import ML_1M
from recbole_unisid.data.sources.values import seconds_of_date
from recbole_unisid.data.sources.yelp import YELP


@dataclass(frozen=True)
class Original:
    """One file of a public data set.

    Attributes
    ----------
    file : str
        Its name, as published.
    urls : tuple of str
        Where it can be fetched, in the order to try; empty where it must be fetched by hand.
    """

    file: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownDataset:
    """A data set that can be prepared by its name.

    Attributes
    ----------
    name : str
        RecBole's name of it.
    layout : Layout
        How its files are read.
    interactions, items : Original
        Its files; they may be one and the same.
    published : tuple of int, or None
        Users, items and interactions that the prepared set must have.
    core : int
        Least number of interactions of a user and of an item (k-core).
    duplicates : Duplicates
        What becomes of repeated interactions of a user with an item.
    since, until : float or None
        Time span in seconds since 1970; `until` is left out.
    by_hand : str
        How a person gets the files, for sets whose terms forbid handing them on.
    """

    name: str
    layout: Layout
    interactions: Original
    items: Original
    published: tuple[int, int, int] | None = None
    core: int = 5
    duplicates: Duplicates = "first"
    since: float | None = None
    until: float | None = None
    by_hand: str = ""


_SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
_MCAULEY = "https://mcauleylab.ucsd.edu/public_datasets/data/"
_UCSD = "https://datarepo.eng.ucsd.edu/mcauley_group/data/"

# Users, items, interactions of the 5-cores of 2014: publishers' counts of reviews, and the table of
# Chin et al., "The datasets dilemma", WSDM 2022.
_CATEGORIES_2014: dict[str, tuple[int, int, int]] = {
    "Amazon_Instant_Video": (5130, 1685, 37126),
    "Apps_for_Android": (87271, 13209, 752937),
    "Automotive": (2928, 1835, 20473),
    "Baby": (19445, 7050, 160792),
    "Beauty": (22363, 12101, 198502),
    "Books": (603668, 367982, 8898041),
    "CDs_and_Vinyl": (75258, 64443, 1097592),
    "Cell_Phones_and_Accessories": (27879, 10429, 194439),
    "Clothing_Shoes_and_Jewelry": (39387, 23033, 278677),
    "Digital_Music": (5541, 3568, 64706),
    "Electronics": (192403, 63001, 1689188),
    "Grocery_and_Gourmet_Food": (14681, 8713, 151254),
    "Health_and_Personal_Care": (38609, 18534, 346355),
    "Home_and_Kitchen": (66519, 28237, 551682),
    "Kindle_Store": (68223, 61934, 982619),
    "Movies_and_TV": (123960, 50052, 1697533),
    "Musical_Instruments": (1429, 900, 10261),
    "Office_Products": (4905, 2420, 53258),
    "Patio_Lawn_and_Garden": (1686, 962, 13272),
    "Pet_Supplies": (19856, 8510, 157836),
    "Sports_and_Outdoors": (35598, 18357, 296337),
    "Tools_and_Home_Improvement": (16638, 10217, 134476),
    "Toys_and_Games": (19412, 11924, 167597),
    "Video_Games": (24303, 10672, 231780),
}

# The 5-core files of 2018 repeat interactions; once those are dropped the core is smaller than published.
_CATEGORIES_2018 = [
    "AMAZON_FASHION",
    "All_Beauty",
    "Appliances",
    "Arts_Crafts_and_Sewing",
    "Automotive",
    "Books",
    "CDs_and_Vinyl",
    "Cell_Phones_and_Accessories",
    "Clothing_Shoes_and_Jewelry",
    "Digital_Music",
    "Electronics",
    "Gift_Cards",
    "Grocery_and_Gourmet_Food",
    "Home_and_Kitchen",
    "Industrial_and_Scientific",
    "Kindle_Store",
    "Luxury_Beauty",
    "Magazine_Subscriptions",
    "Movies_and_TV",
    "Musical_Instruments",
    "Office_Products",
    "Patio_Lawn_and_Garden",
    "Pet_Supplies",
    "Prime_Pantry",
    "Software",
    "Sports_and_Outdoors",
    "Tools_and_Home_Improvement",
    "Toys_and_Games",
    "Video_Games",
]

_CATEGORIES_2023 = [
    "All_Beauty",
    "Amazon_Fashion",
    "Appliances",
    "Arts_Crafts_and_Sewing",
    "Automotive",
    "Baby_Products",
    "Beauty_and_Personal_Care",
    "Books",
    "CDs_and_Vinyl",
    "Cell_Phones_and_Accessories",
    "Clothing_Shoes_and_Jewelry",
    "Digital_Music",
    "Electronics",
    "Gift_Cards",
    "Grocery_and_Gourmet_Food",
    "Handmade_Products",
    "Health_and_Household",
    "Health_and_Personal_Care",
    "Home_and_Kitchen",
    "Industrial_and_Scientific",
    "Kindle_Store",
    "Magazine_Subscriptions",
    "Movies_and_TV",
    "Musical_Instruments",
    "Office_Products",
    "Patio_Lawn_and_Garden",
    "Pet_Supplies",
    "Software",
    "Sports_and_Outdoors",
    "Subscription_Boxes",
    "Tools_and_Home_Improvement",
    "Toys_and_Games",
    "Video_Games",
]

_PUBLISHED_2023: dict[str, tuple[int, int, int]] = {
    "Baby_Products": (152296, 35504, 943073),
    "Office_Products": (223213, 77551, 1243186),
    "Toys_and_Games": (432264, 162035, 3861886),
    "Video_Games": (94762, 25612, 814586),
}


def recbole_name(category: str, family: str = "") -> str:
    """RecBole's name for an Amazon category, `family` being ``-18``, ``-23`` or nothing for 2014.

    Examples
    --------
    >>> recbole_name("Sports_and_Outdoors"), recbole_name("AMAZON_FASHION", "-18")
    ('amazon-sports-outdoors', 'amazon-fashion-18')
    """
    slug = category.lower().removeprefix("amazon_").replace("_and_", "-").replace("_", "-")
    return f"amazon-{slug}{family}"


def _original(file: str, *folders: str) -> Original:
    return Original(file, tuple(folder + file for folder in folders))


def _amazon_2014() -> Iterable[KnownDataset]:
    folders = (_SNAP, _MCAULEY + "amazon/categoryFiles/")
    for category, published in _CATEGORIES_2014.items():
        yield KnownDataset(
            name=recbole_name(category),
            layout=AMAZON_2014,
            interactions=_original(f"reviews_{category}_5.json.gz", *folders),
            items=_original(f"meta_{category}.json.gz", *folders),
            published=published,
        )


def _amazon_2018() -> Iterable[KnownDataset]:
    hosts = (_MCAULEY + "amazon_v2/", _UCSD + "amazon_v2/")
    for category in _CATEGORIES_2018:
        yield KnownDataset(
            name=recbole_name(category, "-18"),
            layout=AMAZON_2018,
            interactions=_original(
                f"{category}_5.json.gz", *(host + "categoryFilesSmall/" for host in hosts)
            ),
            items=_original(f"meta_{category}.json.gz", *(host + "metaFiles2/" for host in hosts)),
        )


def _amazon_2023() -> Iterable[KnownDataset]:
    hosts = (_MCAULEY + "amazon_2023/", _UCSD + "amazon_2023/")
    ratings, texts = "benchmark/5core/rating_only/", "raw/meta_categories/"
    for category in _CATEGORIES_2023:
        yield KnownDataset(
            name=recbole_name(category, "-23"),
            layout=AMAZON_2023,
            interactions=_original(f"{category}.csv.gz", *(host + ratings for host in hosts)),
            items=_original(f"meta_{category}.jsonl.gz", *(host + texts for host in hosts)),
            published=_PUBLISHED_2023.get(category),
        )


def _others() -> Iterable[KnownDataset]:
    movielens = _original("ml-1m.zip", "https://files.grouplens.org/datasets/movielens/")
    yield KnownDataset("ml-1m", ML_1M, movielens, movielens, published=(6040, 3706, 1000209), core=1)
    yield KnownDataset(
        "yelp",
        YELP,
        Original("yelp_academic_dataset_review.json"),
        Original("yelp_academic_dataset_business.json"),
        # The year that S3-Rec (Zhou et al., CIKM 2020) and its followers take. No counts are asserted: the
        # download changes from year to year (S3-Rec had 30,431 / 20,033 / 316,354).
        since=seconds_of_date("2019-01-01"),
        until=seconds_of_date("2020-01-01"),
        by_hand="Yelp's terms forbid handing its data on: download the JSON files from "
        "https://business.yelp.com/data/resources/open-dataset/ yourself and unpack them",
    )


#: Every data set that can be prepared by name, but for ml-100k, which comes with RecBole.
CATALOGUE: dict[str, KnownDataset] = {
    known.name: known
    for group in (_amazon_2014(), _amazon_2018(), _amazon_2023(), _others())
    for known in group
}
