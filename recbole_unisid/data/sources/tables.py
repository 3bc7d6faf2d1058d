"""A person's own table: CSV, JSON lines or Parquet, row by row."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from recbole_unisid.data.atomic_text import clean_text
from recbole_unisid.data.sources.lines import parse_json, read_lines
from recbole_unisid.errors import UserError

#: One row: what stands under each column.
Row = Mapping[str, Any]

_DELIMITERS = ",;\t|"
_SHOWN_COLUMNS = 20
_RECORDS_FOR_COLUMNS = 1000
_ROWS_AT_ONCE = 16_384


@dataclass(frozen=True)
class Table:
    """A table that can be read again and again, one row at a time.

    Attributes
    ----------
    path : Path
        The file.
    columns : sequence of str
        Names of its columns; those of the first thousand records for JSON lines.
    rows : callable
        Called with a Counter for lines and skipped rows, the columns to read and whether to show a bar;
        returns an iterator of rows.
    """

    path: Path
    columns: Sequence[str]
    rows: Callable[[Counter[str], Sequence[str], bool], Iterator[Row]]

    @property
    def shown_columns(self) -> str:
        """The columns' names for a message: on one line, and not too long a one."""
        names = [clean_text(column)[:40] for column in self.columns]
        return ", ".join(names[:_SHOWN_COLUMNS]) + (", ..." if len(names) > _SHOWN_COLUMNS else "")


def open_table(path: Path) -> Table:
    """Open a table by the ending of its name.

    Parameters
    ----------
    path : Path
        ``.csv``, ``.tsv``, ``.txt`` (first line: column names; the delimiter is found out), ``.jsonl``,
        ``.json``, ``.ndjson`` (one object a line), ``.parquet``; all but Parquet also with ``.gz``.

    Returns
    -------
    Table
        Its columns, and its rows on demand.

    Raises
    ------
    UserError
        For another ending, a file that cannot be read or is empty.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if ending in (".csv", ".tsv", ".txt"):
        return _open_csv(path)
    if ending in (".jsonl", ".json", ".ndjson"):
        return _open_json_lines(path)
    if ending == ".parquet":
        return _open_parquet(path)
    raise UserError(f"{path} is no table that can be read: use .csv, .tsv, .jsonl or .parquet.")


def _open_csv(path: Path) -> Table:
    first = _text(next(read_lines(path, Counter()), b"")).removeprefix("\ufeff")
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    except csv.Error as error:
        raise UserError(f"{path} does not begin with a line of column names ({error}).") from error
    if not any(header) or len(set(header)) < len(header):
        raise UserError(f"{path} must begin with a line of column names, each one different.")

    def rows(counts: Counter[str], columns: Sequence[str], progress: bool) -> Iterator[Row]:
        reader = csv.reader(
            (_text(line) + "\n" for line in read_lines(path, counts, progress=progress)), delimiter=delimiter
        )
        next(reader, None)
        counts["lines"] -= 1  # the names
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                counts["damaged row"] += 1
                continue
            if len(cells) == len(header):
                yield dict(zip(header, cells, strict=True))
            else:
                counts["wrong number of cells"] += 1

    return Table(path, header, rows)


def _text(line: bytes) -> str:
    # Bytes that are no UTF-8 become halves of surrogate pairs: no usable name has them, texts lose them.
    return line.decode("utf-8", "surrogateescape").replace("\0", "")


def _open_json_lines(path: Path) -> Table:
    def rows(counts: Counter[str], columns: Sequence[str], progress: bool) -> Iterator[Row]:
        for line in read_lines(path, counts, progress=progress):
            record = parse_json(line, counts)
            if record is not None:
                yield record

    columns: dict[str, None] = {}
    for record in islice(rows(Counter(), (), False), _RECORDS_FOR_COLUMNS):
        columns.update(dict.fromkeys(record))
    if not columns:
        raise UserError(f"{path} has no line that is a JSON object: write one record a line.")
    return Table(path, list(columns), rows)


def _open_parquet(path: Path) -> Table:
    try:
        columns = parquet.ParquetFile(path).schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is no Parquet file that can be read ({_first_line(error)}).") from error

    def rows(counts: Counter[str], columns: Sequence[str], progress: bool) -> Iterator[Row]:
        try:
            batches = parquet.ParquetFile(path).iter_batches(_ROWS_AT_ONCE, columns=list(columns))
            for batch in batches:
                counts["lines"] += batch.num_rows
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(
                f"{path} is damaged after {counts['lines']:,} rows ({_first_line(error)})."
            ) from error

    return Table(path, columns, rows)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
