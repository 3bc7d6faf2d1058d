"""How the files of each family of public data sets are read.

Sources
-------
Amazon 2014: McAuley et al., "Image-based recommendations on styles and substitutes", SIGIR 2015.
Amazon 2018: Ni et al., "Justifying recommendations using distantly-labeled reviews", EMNLP 2019.
Amazon 2023: Hou et al., "Bridging language and items for retrieval and recommendation", arXiv 2403.03952.
MovieLens-1M: Harper and Konstan, "The MovieLens datasets: history and context", ACM TiiS 2015.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import compute as pc

from recbole_unisid.data.atomic_text import ItemRows, clean_text
from recbole_unisid.data.interactions import Column
from recbole_unisid.data.sources.lines import (
    Block,
    Opened,
    bar_of_bytes,
    lines_of,
    read_blocks,
    read_rows,
    without_header,
)
from recbole_unisid.data.sources.records import as_list, read_columns
from recbole_unisid.data.sources.values import (
    numbers_in,
    price_field,
    seconds_of_date,
    text_field,
    web_text_field,
)
from recbole_unisid.errors import UserError

#: Yields columns of users, items, times and ratings of a file; counts what is skipped; shows a bar if told to.
InteractionReader = Callable[
    [Path, "Counter[str]", bool], Iterator[tuple[Column, Column, Column, "Column | None"]]
]
#: Yields every wanted item of a file; counts what is skipped; shows a bar.
ItemReader = Callable[[Path, Container[str], "Counter[str]", bool], ItemRows]

_TEXT, _NUMBER, _TEXTS = pa.string(), pa.float64(), pa.list_(pa.string())


class Family(NamedTuple):
    """How the files of one family are read."""

    fields: tuple[str, ...]  # columns of the .item file after the item's name, as ``name:type``
    read_interactions: InteractionReader
    read_items: ItemReader  # as many fields for each item as there are in `fields`


def _json_reviews(
    user: str, item: str, time: str, rating: str, seconds: Callable[[object], float | None] | None = None
) -> InteractionReader:
    """Make the reader of JSON lines with these fields; `seconds` is for times that are texts."""
    types = {user: _TEXT, item: _TEXT, time: _NUMBER if seconds is None else _TEXT, rating: _NUMBER}

    def read(path: Path, counts: Counter[str], progress: bool) -> Iterator[Any]:
        for _, part in read_columns(read_blocks(path, counts, progress=progress), types, counts):
            users, items, times, ratings = part.values()
            if seconds is not None:
                times = pa.array(map(seconds, as_list(times)), _NUMBER)
            yield users, items, times, ratings

    return read


def _json_items(
    types: Mapping[str, pa.DataType | None],
    fields_of: Callable[[dict[str, Any]], Iterable[str]],
    name_of: Callable[[bytes], re.Match[bytes] | None] = lambda line: None,
    literals: bool = False,
) -> ItemReader:
    """Make the reader of one record a line with fields of usual `types`, the item's name first.

    Most items are not wanted, and their lines unparsed where `name_of` tells the item.
    """

    def read(path: Path, wanted: Container[str], counts: Counter[str], progress: bool) -> ItemRows:
        def kept(block: Block) -> Block:
            lines = [line for _, line in lines_of(block, counts)]
            named = [(line, name_of(line)) for line in lines]
            lines = [line for line, name in named if not name or name[1].decode("utf-8", "replace") in wanted]
            counts["without interactions"] += len(named) - len(lines)
            return Block(block.first, len(lines), b"\n".join(lines))

        blocks = (kept(block) for block in read_blocks(path, counts, progress=progress))
        for _, part in read_columns(blocks, types, counts, literals=literals):
            for values in zip(*map(as_list, part.values()), strict=True):
                item = values[0]
                if isinstance(item, str) and item in wanted:
                    yield item, tuple(fields_of(dict(zip(types, values, strict=True))))
                else:
                    counts["without interactions" if isinstance(item, str) else "no item"] += 1

    return read


_RATINGS_HEADER = ("user_id", "parent_asin", "rating", "timestamp")


def _read_ratings_2023(path: Path, counts: Counter[str], progress: bool) -> Iterator[Any]:
    """Read the 2023 family's cores: comma-separated user, parent item, rating, time in milliseconds.

    The files of a split may have the history as a last column, which is what the earlier rows say.
    """
    header, blocks = without_header(read_blocks(path, counts, progress=progress))
    columns = tuple((header or b"").decode("utf-8", "replace").strip().split(","))
    if columns not in (_RATINGS_HEADER, (*_RATINGS_HEADER, "history")):
        raise UserError(
            f"{path} does not begin with {','.join(_RATINGS_HEADER)!r}: it is not a 2023 rating-only file."
        )
    for rows in read_rows(blocks, ("user", "item", "rating", "time", "history")[: len(columns)], ","):
        counts.update({reason: len(lines) for reason, lines in rows.faults.items()})
        milliseconds = numbers_in(rows.cells["time"])
        exact = pc.less(pc.abs(milliseconds), 2.0**53)
        # Correctly rounded: times 1000 and rounded, the milliseconds come back.
        times = pc.if_else(exact, pc.divide(milliseconds, 1000.0), None)
        yield rows.cells["user"], rows.cells["item"], times, numbers_in(rows.cells["rating"])


def _amazon_fields(
    record: dict[str, Any], store: str, categories: str, features: str | None
) -> Iterator[str]:
    """Title, brand, categories, price, description and features, under the keys that a family has for them."""
    title = web_text_field(record.get("title"))
    # Pages that the crawl of 2018 failed to strip; the publishers advise to leave such titles out.
    yield "" if categories == "category" and "getTime" in title else title
    yield web_text_field(record.get(store))
    yield web_text_field(record.get(categories), ", ")
    yield price_field(record.get("price"))
    yield web_text_field(record.get("description"))
    if features is not None:
        yield web_text_field(record.get(features))


_FIELDS_2014 = (
    "title:token_seq",
    "brand:token",
    "categories:token_seq",
    "price:float",
    "description:token_seq",
)
_FIELDS = (*_FIELDS_2014, "features:token_seq")
_read_reviews = _json_reviews("reviewerID", "asin", "unixReviewTime", "overall")

AMAZON_2014 = Family(
    _FIELDS_2014,
    _read_reviews,
    _json_items(
        dict.fromkeys(("asin", "title", "brand", "description"), _TEXT)
        | {"categories": pa.list_(_TEXTS), "price": _NUMBER},
        partial(_amazon_fields, store="brand", categories="categories", features=None),
        # The item first: a literal's texts may hold anything. In JSON a quote within a text is escaped.
        re.compile(rb"\{'asin': '([^'\\]*)'").match,
        literals=True,
    ),
)
AMAZON_2018 = Family(
    _FIELDS,
    _read_reviews,
    _json_items(
        dict.fromkeys(("asin", "title", "brand", "price"), _TEXT)
        | dict.fromkeys(("category", "description", "feature"), _TEXTS),
        partial(_amazon_fields, store="brand", categories="category", features="feature"),
        name_of=re.compile(rb'"asin": ?"([^"\\]*)"').search,
    ),
)
AMAZON_2023 = Family(
    _FIELDS,
    _read_ratings_2023,
    _json_items(
        dict.fromkeys(("parent_asin", "title", "store"), _TEXT)
        | dict.fromkeys(("categories", "description", "features"), _TEXTS)
        | {"price": _NUMBER},
        partial(_amazon_fields, store="store", categories="categories", features="features"),
        name_of=re.compile(rb'"parent_asin": ?"([^"\\]*)"').search,
    ),
)


#: The Yelp open dataset; its dates (``2018-07-07 22:09:11``) are taken as UTC.
YELP = Family(
    ("title:token_seq", "categories:token_seq", "city:token", "state:token"),
    _json_reviews("user_id", "business_id", "date", "stars", seconds_of_date),
    _json_items(
        dict.fromkeys(("business_id", "name", "categories", "city", "state"), _TEXT),
        lambda record: (text_field(record.get(key)) for key in ("name", "categories", "city", "state")),
    ),
)


def _member_of_zip(member: str) -> Callable[[Path, bool], Opened]:
    """Make what opens one file of MovieLens' zip, read in place."""

    @contextmanager
    def opened(path: Path, progress: bool) -> Iterator[tuple[Any, Callable[[], Any]]]:
        try:
            with (
                zipfile.ZipFile(path) as archive,
                archive.open(member) as stream,
                bar_of_bytes(archive.getinfo(member).file_size, member, progress) as bar,
            ):
                yield stream, lambda: bar.update(stream.tell() - bar.n)
        except KeyError as error:
            raise UserError(
                f"{path} holds no {member}: it is not GroupLens' {member.partition('/')[0]}.zip."
            ) from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise UserError(
                f"{path} is damaged or cut off ({error}): delete it and fetch it again."
            ) from error
        except OSError as error:
            raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error

    return opened


def _movielens_rows(
    path: Path, member: str, names: tuple[str, ...], counts: Counter[str], progress: bool
) -> Iterator[pa.Table]:
    """Yield the rows of one ``::``-separated file of the zip."""
    blocks = read_blocks(path, counts, progress=progress, opened=_member_of_zip(member))
    as_utf8 = (block._replace(text=block.text.decode("latin-1").encode()) for block in blocks)
    for rows in read_rows(as_utf8, names, "::"):
        counts.update({reason: len(lines) for reason, lines in rows.faults.items()})
        yield rows.cells


def _read_movielens_ratings(path: Path, counts: Counter[str], progress: bool) -> Iterator[Any]:
    """Read ``UserID::MovieID::Rating::Timestamp``, times in seconds."""
    names = ("user", "item", "rating", "time")
    for rows in _movielens_rows(path, "ml-1m/ratings.dat", names, counts, progress):
        yield rows["user"], rows["item"], numbers_in(rows["time"]), numbers_in(rows["rating"])


def _read_movies(path: Path, wanted: Container[str], counts: Counter[str], progress: bool) -> ItemRows:
    """Read ``MovieID::Title (Year)::Genre|Genre``."""
    for rows in _movielens_rows(path, "ml-1m/movies.dat", ("item", "title", "genres"), counts, progress):
        for item, title, genres in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            if item not in wanted:
                counts["without interactions"] += 1
                continue
            yield item, _film(title, genres)


def _film(title: str, genres: str) -> tuple[str, str, str]:
    """Title, year and genres of ``Title (Year)`` and ``Genre|Genre``."""
    match = re.fullmatch(r"(.*) \((\d{4})\)", title.strip())
    name, year = (match[1], match[2]) if match else (title, "")
    return clean_text(name), year, clean_text(genres.replace("|", ", "))


def _read_movielens_csv(path: Path, counts: Counter[str], progress: bool) -> Iterator[Any]:
    """Read ``userId,movieId,rating,timestamp``, times in seconds."""
    opened = _member_of_zip("ml-20m/ratings.csv")
    _, blocks = without_header(read_blocks(path, counts, progress=progress, opened=opened))
    for rows in read_rows(blocks, ("user", "item", "rating", "time"), ","):
        counts.update({reason: len(lines) for reason, lines in rows.faults.items()})
        cells = rows.cells
        yield cells["user"], cells["item"], numbers_in(cells["time"]), numbers_in(cells["rating"])


def _read_movies_csv(path: Path, wanted: Container[str], counts: Counter[str], progress: bool) -> ItemRows:
    """Read ``movieId,title,genres``, quoted where a title has a comma."""
    with _member_of_zip("ml-20m/movies.csv")(path, progress) as (stream, _):
        for row in csv.DictReader(io.TextIOWrapper(stream, "utf-8")):
            counts["lines"] += 1
            if row["movieId"] in wanted:
                yield row["movieId"], _film(row["title"], row["genres"])
            else:
                counts["without interactions"] += 1


ML_1M = Family(
    ("title:token_seq", "release_year:token", "genres:token_seq"), _read_movielens_ratings, _read_movies
)
ML_20M = Family(ML_1M.fields, _read_movielens_csv, _read_movies_csv)


def _read_steam_reviews(path: Path, counts: Counter[str], progress: bool) -> Iterator[Any]:
    """Read reviews as Python literals: who wrote of which game on which day."""
    types = dict.fromkeys(("username", "product_id", "date"), _TEXT)
    for _, part in read_columns(read_blocks(path, counts, progress=progress), types, counts, literals=True):
        users, items, dates = part.values()
        yield users, items, list(map(seconds_of_date, as_list(dates))), None


def _game_fields(record: dict[str, Any]) -> Iterator[str]:
    yield text_field(record.get("app_name") or record.get("title"))
    yield text_field(record.get("developer"))
    yield text_field(record.get("genres"), ", ")
    yield text_field(record.get("tags"), ", ")
    yield price_field(record.get("price"))


#: Steam's reviews and games, second version; Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018.
STEAM = Family(
    ("title:token_seq", "developer:token", "categories:token_seq", "tags:token_seq", "price:float"),
    _read_steam_reviews,
    _json_items(
        dict.fromkeys(("id", "app_name", "title", "developer"), _TEXT)
        | {"genres": _TEXTS, "tags": _TEXTS, "price": _NUMBER},
        _game_fields,
        literals=True,
    ),
)
