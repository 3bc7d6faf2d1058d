"""A person's own table: CSV, JSON lines or Parquet, a batch of rows at a time."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from recbole_unisid.data.atomic_text import clean_text
from recbole_unisid.data.sources.lines import LONGEST_LINE, is_utf8, read_blocks, read_lines, unpacked
from recbole_unisid.data.sources.plain_csv import Batch, Form, plain_batches
from recbole_unisid.data.sources.records import as_list, parse_json, read_columns
from recbole_unisid.errors import UserError

_DELIMITERS = ",;\t|"
_SHOWN_COLUMNS = 20
_RECORDS_FOR_COLUMNS = 1000
_ROWS_AT_ONCE = 16_384
#: Encodings that exports have, beside UTF-8. Those that cannot be told apart are read as the first.
_ENCODINGS = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp932", "gb18030", "big5", "cp949"]


@dataclass(frozen=True)
class Table:
    """A table that can be read again and again, a batch of rows at a time."""

    path: Path
    columns: Sequence[str]  # those of the first thousand records for JSON lines
    #: called with a Counter for lines and skipped rows, the columns to read, those of them that are numbers and
    #: no names, and whether to show a bar
    batches: Callable[[Counter[str], Sequence[str], Container[str], bool], Iterator[Batch]]
    decimal_comma: bool = False  # whether ``4,5`` is a number
    note: str = ""  # what a person should know of how it is read

    def rows(self, counts: Counter[str], columns: list[str], progress: bool) -> Iterator[dict[str, Any]]:
        """The rows one by one: what stands under each of these columns."""
        for batch in self.batches(counts, columns, (), progress):
            for cells in zip(*(as_list(batch.columns[column]) for column in columns), strict=True):
                yield dict(zip(columns, cells, strict=True))

    @property
    def shown_columns(self) -> str:
        """The columns' names for a message: on one line, and not too long a one."""
        names = [clean_text(column)[:40] for column in self.columns]
        return ", ".join(names[:_SHOWN_COLUMNS]) + (", ..." if len(names) > _SHOWN_COLUMNS else "")


def open_table(path: Path, encoding: str | None = None, quotes: str | None = None) -> Table:
    """Open a table by the ending of its name.

    It is ``.csv``, ``.tsv``, ``.txt`` (first line: column names; the delimiter is found out), ``.jsonl``, ``.json``,
    ``.ndjson`` (one object a line) or ``.parquet``; all but Parquet also with ``.gz``. Another ending, and a file that
    cannot be read or is empty, is a ``UserError``.

    The `encoding` of CSV is found out where it is None. `quotes` are ``none`` where a ``"`` in CSV is an ordinary
    character, ``csv`` where it quotes; None takes it for a quotation mark, but refuses a quoted cell over lines that
    look like rows.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    if quotes not in (None, "csv", "none"):
        raise UserError(f"--quotes={quotes} is neither csv nor none.")
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if ending in (".csv", ".tsv", ".txt"):
        return _open_csv(path, encoding, quotes)
    if ending in (".jsonl", ".json", ".ndjson"):
        return _open_json_lines(path)
    if ending == ".parquet":
        return _open_parquet(path)
    raise UserError(f"{path} is no table that can be read: use .csv, .tsv, .jsonl or .parquet.")


def _open_csv(path: Path, encoding: str | None, quotes: str | None) -> Table:
    note, errors = "", "strict"
    try:
        said = codecs.lookup(encoding or _encoding_of(path)).name
    except LookupError as error:
        raise UserError(f"--encoding={encoding} is no encoding; say utf-8, cp1252, utf-16, ...") from error
    if said == "utf-8-sig":
        errors = "surrogateescape"  # single damaged bytes: no usable name has them, texts lose them
    elif encoding is None:
        note = f"{path.name} is read as {said}, as its bytes look: say --encoding=... if it is another"
    text = partial(_text_lines, path, "utf-8-sig" if said == "utf-8" else said, errors)
    first = next(text(Counter(), False), "")
    delimiter = max(_DELIMITERS, key=first.count)
    quoting: Any = {"quoting": csv.QUOTE_NONE} if quotes == "none" else {"strict": True}
    header = _header(path, csv.reader([first], delimiter=delimiter, **quoting))

    def batches(
        counts: Counter[str], columns: Sequence[str], numbers: Container[str], progress: bool
    ) -> Iterator[Batch]:
        plain, form = Counter[str](), Form(header, delimiter, quotes != "none")
        if said in ("utf-8", "utf-8-sig") and len(header) > 1:
            all_are = yield from plain_batches(path, form, columns, plain, progress)
            counts.update(plain)
            if all_are:
                counts["lines"] -= 1  # the names
                return
        counts["lines"] -= plain["lines"]  # they are counted again
        rest = islice(text(counts, progress), plain["lines"], None)
        rows = _csv_rows(path, rest, counts, form, quoting, quotes != "csv", plain["lines"] + 1)
        if not plain["lines"]:
            next(rows, None)  # the names
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            cells = dict(zip(header, zip(*(row for _, row in chunk), strict=True), strict=True))
            yield Batch({name: list(cells[name]) for name in columns}, [line for line, _ in chunk])
        counts["lines"] -= 1  # the names

    return Table(path, header, batches, decimal_comma=delimiter != ",", note=note)


def _header(path: Path, lines: Iterator[list[str]]) -> list[str]:
    """The names of the columns, out of the first line."""
    try:
        header = [name.strip() for name in next(lines, [])]
    except csv.Error as error:
        raise UserError(f"{path} does not begin with a line of column names ({error}).") from error
    if not any(header) or len(set(header)) < len(header):
        raise UserError(f"{path} must begin with a line of column names, each one different.")
    return header


def _text_lines(
    path: Path, encoding: str, errors: str, counts: Counter[str], progress: bool
) -> Iterator[str]:
    with unpacked(path, progress) as (stream, show):
        text = io.TextIOWrapper(stream, encoding, errors, newline="")
        try:
            while line := text.readline(LONGEST_LINE):
                counts["lines"] += 1
                if counts["lines"] & 0xFFF == 0:
                    show()
                yield line.replace("\0", "")
        except UnicodeError as error:
            # The error holds the bytes read last, from the next line on.
            unread = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
            place = counts["lines"] + 1 + unread.count(b"\n")
            raise UserError(
                f"{path}, line {place:,} is not {encoding} ({error}): say another --encoding."
            ) from error


def _csv_rows(
    path: Path,
    lines: Iterator[str],
    counts: Counter[str],
    form: Form,
    quoting: Mapping[str, Any],
    strict: bool,
    number: int,
) -> Iterator[tuple[int, list[str]]]:
    """Rows of the right width, and where they begin; `strict` refuses one that reaches over lines like rows.

    The first line has the `number`.
    """
    width, delimiter = len(form.names), form.delimiter
    over: list[str] = []  # the lines of a row

    def noted() -> Iterator[str]:
        for line in lines:
            over.append(line)
            yield line

    reader = csv.reader(noted(), delimiter=delimiter, **quoting)
    while True:
        over.clear()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{path}, line {number}: a quotation mark that opens or closes in the wrong place ({error}) "
                'swallows rows; double it within quotes, or say --quotes=none where " is an ordinary character.'
            ) from error
        if cells is None:
            return
        if len(cells) != width:
            counts["wrong number of cells" if any(cells) else "blank line"] += 1
        elif strict and len(over) > 1 and all(line.count(delimiter) == width - 1 for line in over):
            raise UserError(
                f"{path}, line {number}: a quoted cell reaches to line {number + len(over) - 1} and "
                'swallows lines that look like rows; mend the quotes, or say --quotes=none where " is an '
                "ordinary character, --quotes=csv where the cell is meant so."
            )
        else:
            yield number, cells
        number += len(over)


def _encoding_of(path: Path) -> str:
    """UTF-8 where a text is that, but for single damaged lines; else what it looks like."""
    odd: list[bytes] = []  # lines that are no UTF-8
    good = 0
    for block in read_blocks(path, Counter()):
        if block.first == 1 and (wide := _wide_encoding(block.text[:4096])):
            return wide
        for line in [] if block.text.isascii() else block.text.split(b"\n"):
            if is_utf8(line):
                good += not line.isascii()
            else:
                odd.append(line)
    if len(odd) <= good:
        return "utf-8-sig"
    from charset_normalizer import from_bytes  # only here: it takes a while to import

    best = from_bytes(b"\n".join(odd[:1000]), cp_isolation=_ENCODINGS).best()
    if best is None:
        raise UserError(f"{path} is not UTF-8, and what else is not plain: say --encoding=... (cp1252, ...).")
    return next(name for name in _ENCODINGS if name in best.could_be_from_charset)


def _wide_encoding(start: bytes) -> str:
    """UTF-16 by its mark, or by the zero bytes of every second place; empty for other encodings."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    zeros = start[0::2].count(0), start[1::2].count(0)
    return "" if max(zeros) * 4 < len(start) else "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"


def _open_json_lines(path: Path) -> Table:
    parsed = (parse_json(line, Counter()) for line in read_lines(path, Counter()))
    first = list(islice((record for record in parsed if record is not None), _RECORDS_FOR_COLUMNS))
    columns = list(dict.fromkeys(key for record in first for key in record))
    if not columns:
        raise UserError(f"{path} has no line that is a JSON object: write one record a line.")

    def batches(
        counts: Counter[str], columns: Sequence[str], numbers: Container[str], progress: bool
    ) -> Iterator[Batch]:
        types = {name: _json_type([one.get(name) for one in first], name in numbers) for name in columns}
        for lines, part in read_columns(read_blocks(path, counts, progress=progress), types, counts):
            yield Batch({name: as_list(column) for name, column in part.items()}, lines)

    return Table(path, columns, batches)


def _json_type(values: list[Any], number: bool) -> pa.DataType | None:
    """The type that all of these values have, if it keeps every one of them as it is."""
    types = {type(value) for value in values if value is not None}
    if types == {str}:
        return pa.string()
    if types == {int} and not number:
        return pa.int64()
    return pa.float64() if number and types and types <= {int, float} else None


def _open_parquet(path: Path) -> Table:
    try:
        columns = parquet.ParquetFile(path).schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{path} is no Parquet file that can be read ({str(error).splitlines()[0]})."
        ) from error

    def batches(
        counts: Counter[str], columns: Sequence[str], numbers: Container[str], progress: bool
    ) -> Iterator[Batch]:
        try:
            for batch in parquet.ParquetFile(path).iter_batches(_ROWS_AT_ONCE, columns=list(columns)):
                lines = range(counts["lines"] + 1, counts["lines"] + 1 + batch.num_rows)
                counts["lines"] += batch.num_rows
                yield Batch({name: batch[name].to_pylist() for name in columns}, lines)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(
                f"{path} is damaged after {counts['lines']:,} rows ({str(error).splitlines()[0]})."
            ) from error

    return Table(path, columns, batches)
