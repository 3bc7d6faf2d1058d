"""Recommendations for many users into one file, a part of them at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.parquet import ParquetWriter
from tqdm import tqdm

from recbole_unisid.data.disk import writing_to
from recbole_unisid.errors import UserError
from recbole_unisid.files import write_atomically
from recbole_unisid.serving.loaded import LoadedRun
from recbole_unisid.serving.recommend import recommend
from recbole_unisid.serving.requests import Request

#: Scores (histories x items) and histories that are held at once, and rows that go to the file at once.
SCORES, HISTORIES, _ROWS = 1 << 24, 256, 100_000
COLUMNS = ("user", "rank", "item_id", "score")
FORMATS = (".parquet", ".csv", ".jsonl")
_SCHEMA = pa.schema(list(zip(COLUMNS, (pa.string(), pa.int32(), pa.string(), pa.float32()), strict=True)))

Row = tuple[str, int, str, float]


def in_parts(run: LoadedRun, requests: Iterable[Request]) -> Iterator[list[Request]]:
    """Requests whose scores are held at once."""
    left, size = iter(requests), max(1, min(HISTORIES, SCORES // (run.n_items + 1)))
    while part := list(islice(left, size)):
        yield part


def write_recommendations(
    run: LoadedRun, requests: Iterable[Request], to: str | Path, k: int = 10, seen: str = "filter"
) -> tuple[int, int]:
    """Write `k` items for each user, a row each (:data:`COLUMNS`), best first; the numbers of users and of rows.

    The ending of `to` is one of :data:`FORMATS`. The file is there whole or not at all; memory is that of a part of the
    users, however many there are.
    """
    path = Path(to)
    if path.suffix not in FORMATS:
        raise UserError(f"--to={to} ends in none of {', '.join(FORMATS)}.")
    users = rows = 0
    with writing_to(path.parent, "name another file with --to=FILE"), write_atomically(path) as part:
        bar = tqdm(desc="Recommending", unit=" users", disable=None)
        with bar, _WRITERS[path.suffix](part) as write:
            held: list[Row] = []
            for asked in in_parts(run, requests):
                lists = recommend(run, [one.history for one in asked], k, seen, reasons=0)
                for request, found in zip(asked, lists, strict=True):
                    if request.user is None:
                        raise UserError("--to writes rows of users; a list of items in --file has none.")
                    for rank, one in enumerate(found, start=1):
                        held.append((request.user, rank, run.item_ids[one.item], one.score))
                users += len(asked)
                bar.update(len(asked))
                if len(held) >= _ROWS:
                    write(held)
                    rows, held = rows + len(held), []
            if held:
                write(held)
    return users, rows + len(held)


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[list[Row]], Any]]:
    with ParquetWriter(path, _SCHEMA) as writer:
        yield lambda rows: writer.write_table(
            pa.table([list(column) for column in zip(*rows, strict=True)], _SCHEMA)
        )


@contextmanager
def _csv(path: Path) -> Iterator[Callable[[list[Row]], Any]]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        yield writer.writerows


@contextmanager
def _jsonl(path: Path) -> Iterator[Callable[[list[Row]], Any]]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda rows: file.writelines(
            json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n" for row in rows
        )


_WRITERS = dict(zip(FORMATS, (_parquet, _csv, _jsonl), strict=True))
