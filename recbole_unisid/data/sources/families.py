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
from dataclasses import replace
from functools import partial
from itertools import compress
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
    read_blocks,
    read_rows,
    without_header,
)
from recbole_unisid.data.sources.records import as_list, read_columns
from recbole_unisid.data.sources.values import (
    made_once,
    numbers_in,
    price_field,
    seconds_of_date,
    text_field,
    texts_in,
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
    fields_of: Callable[[Mapping[str, Column]], Iterable[list[str]]],
    name_of: Callable[[bytes, int, int], re.Match[bytes] | None] | None = None,
    literals: bool = False,
) -> ItemReader:
    """Make the reader of one record a line with fields of usual `types`, the item's name first.

    Most items are not wanted, and their lines unparsed where `name_of` tells the item of a line.
    """

    def read(path: Path, wanted: Container[str], counts: Counter[str], progress: bool) -> ItemRows:
        blocks: Iterable[Block] = read_blocks(path, counts, progress=progress)
        if name_of is not None:
            wanted_lines = (_wanted_lines(block, name_of, wanted, counts) for block in blocks)
            blocks = (block for block in wanted_lines if block.text)
        for _, part in read_columns(blocks, types, counts, literals=literals):
            items = as_list(next(iter(part.values())))
            named = [isinstance(item, str) for item in items]
            met = [name and item in wanted for name, item in zip(named, items, strict=True)]
            _tally(
                counts,
                {"no item": len(items) - sum(named), "without interactions": sum(named) - sum(met)},
            )
            if not all(met):
                items = list(compress(items, met))
                part = {name: _compressed(column, met) for name, column in part.items()}
            yield from zip(items, zip(*fields_of(part), strict=True), strict=True)

    return read


def _tally(counts: Counter[str], found: Mapping[str, int]) -> None:
    counts.update({reason: number for reason, number in found.items() if number})


def _compressed(column: Column, rows: list[bool]) -> Column:
    return list(compress(column, rows)) if isinstance(column, list) else column.filter(pa.array(rows))


def _wanted_lines(
    block: Block,
    name_of: Callable[[bytes, int, int], re.Match[bytes] | None],
    wanted: Container[str],
    counts: Counter[str],
) -> Block:
    """The lines of wanted items and those whose item is not plain; the others are counted."""
    text, lines, blank = block.text, list[bytes](), 0
    for start, end in zip(block.starts.tolist(), block.ends.tolist(), strict=True):
        name = name_of(text, start, end)
        if name is not None and name[1].decode("utf-8", "replace") not in wanted:
            continue
        line = text[start : end + 1]
        if name is None and (not line or line.isspace()):
            blank += 1
        else:
            lines.append(line)
    _tally(counts, {"blank line": blank, "without interactions": block.lines - len(lines) - blank})
    return Block(block.first, b"".join(lines))


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
    columns: Mapping[str, Column], store: str, categories: str, features: str | None
) -> Iterator[list[str]]:
    """Title, brand, categories, price, description and features, under the keys that a family has for them."""
    titles = texts_in(columns["title"], web_text_field)
    # Pages that the crawl of 2018 failed to strip; the publishers advise to leave such titles out.
    yield ["" if "getTime" in title else title for title in titles] if categories == "category" else titles
    yield texts_in(columns[store], web_text_field)
    yield texts_in(columns[categories], partial(web_text_field, separator=", "))
    yield made_once(columns["price"], price_field)
    yield texts_in(columns["description"], web_text_field)
    if features is not None:
        yield texts_in(columns[features], web_text_field)


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
        lambda columns: (
            texts_in(columns[key], text_field) for key in ("name", "categories", "city", "state")
        ),
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
    as_utf8 = (replace(block, text=block.text.decode("latin-1").encode()) for block in blocks)
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


def _game_fields(columns: Mapping[str, Column]) -> Iterator[list[str]]:
    names = zip(as_list(columns["app_name"]), as_list(columns["title"]), strict=True)
    yield [text_field(name or title) for name, title in names]
    yield texts_in(columns["developer"], text_field)
    yield texts_in(columns["genres"], partial(text_field, separator=", "))
    yield texts_in(columns["tags"], partial(text_field, separator=", "))
    yield made_once(columns["price"], price_field)


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
