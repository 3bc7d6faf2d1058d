"""MovieLens-1M as GroupLens publishes it: one zip with ``::``-separated files.

Source: Harper and Konstan, "The MovieLens datasets: history and context", ACM TiiS 2015.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path

from tqdm import tqdm

from recbole_unisid.data.atomic_text import clean_text
from recbole_unisid.data.interactions import InteractionCollector
from recbole_unisid.data.sources.layout import Layout
from recbole_unisid.data.sources.lines import LONGEST_LINE
from recbole_unisid.errors import UserError

_TITLE_AND_YEAR = re.compile(r"(.*) \((\d{4})\)")


def _rows(path: Path, member: str, counts: Counter[str], cells: int, progress: bool) -> Iterator[list[str]]:
    """Yield the rows of one member, read in place: nothing of the archive is unpacked onto the disk."""
    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open(member) as stream,
            tqdm(
                total=archive.getinfo(member).file_size,
                unit="B",
                unit_scale=True,
                desc=member,
                disable=not progress,
            ) as bar,
        ):
            while line := stream.readline(LONGEST_LINE):
                counts["lines"] += 1
                bar.update(len(line))
                row = line.decode("latin-1").rstrip("\r\n").split("::")
                if len(row) == cells:
                    yield row
                else:
                    counts["wrong number of cells"] += 1
    except KeyError as error:
        raise UserError(f"{path} holds no {member}: it is not GroupLens' ml-1m.zip.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path} is damaged or cut off ({error}): delete it and fetch it again.") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error


def read_ratings(path: Path, collector: InteractionCollector, counts: Counter[str], progress: bool) -> None:
    """Read ``UserID::MovieID::Rating::Timestamp``, times in seconds."""
    for user, item, rating, time in _rows(path, "ml-1m/ratings.dat", counts, 4, progress):
        try:
            collector.add(user, item, int(time), float(rating))
        except ValueError:
            counts["time is no number"] += 1


def read_movies(
    path: Path, wanted: Container[str], counts: Counter[str], progress: bool
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Read ``MovieID::Title (Year)::Genre|Genre``."""
    for item, title, genres in _rows(path, "ml-1m/movies.dat", counts, 3, progress):
        if item not in wanted:
            counts["without interactions"] += 1
            continue
        match = _TITLE_AND_YEAR.fullmatch(title.strip())
        name, year = (match[1], match[2]) if match else (title, "")
        yield item, (clean_text(name), year, clean_text(genres.replace("|", ", ")))


ML_1M = Layout(("title:token_seq", "release_year:token", "genres:token_seq"), read_ratings, read_movies)
