"""RecBole's atomic files, read without pandas' quoting and its words for missing values."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import csv

from recbole_unisid.data.atomic_text import MISSING_WORDS, parse_header
from recbole_unisid.data.interactions import InteractionCollector, Interactions
from recbole_unisid.data.sources.lines import Block, in_threads, lines_of, read_blocks
from recbole_unisid.data.sources.values import number_in
from recbole_unisid.errors import UserError

_COLUMNS = ("user_id", "item_id", "timestamp", "rating")


class Rows(NamedTuple):
    """Some rows of an atomic file: the columns' types, the lines' numbers, the cells as text."""

    types: dict[str, str]
    lines: Sequence[int]
    cells: pa.Table


def read_atomic(path: Path, faults: dict[str, list[int]], separator: str = "\t") -> Iterator[Rows]:
    """Read an atomic file.

    Parameters
    ----------
    path : Path
        A ``.inter`` or ``.item`` file. The first table has its columns even where it has no row.
    faults : dict
        The numbers of lines that are no row (not UTF-8, too few or too many cells) are added by reason.
    separator : str
        Between the cells.

    Raises
    ------
    UserError
        When the file cannot be read or has no header of an atomic file.
    """
    types: dict[str, str] = {}

    def parse(block: Block) -> tuple[Block, pa.Table | None]:
        return block, _regular(block, list(types), separator) if block.first > 1 else None

    for block, table in in_threads(parse, read_blocks(path, Counter())):
        lines: Sequence[int] = range(block.first, block.first + block.lines)
        if block.first == 1:
            header, _, rest = block.text.partition(b"\n")
            first_line = header.decode("utf-8-sig", "replace").rstrip("\r")
            types.update(parse_header(first_line, separator, path))
            block, lines = Block(2, block.lines - 1, rest), lines[1:]
            table = _regular(block, list(types), separator)
        if table is None:
            lines, table = _by_line(block, list(types), separator, faults)
        yield Rows(types, lines, table)
    if not types:
        raise UserError(f"{path} is empty; its first line must name the columns as name:type.")


def _regular(block: Block, names: Sequence[str], separator: str) -> pa.Table | None:
    """The cells of a block in which every line has as many as there are columns."""
    if len(separator) != 1 or not names or b"\r" in block.text:
        return None
    try:
        block.text.decode("utf-8")
        table = csv.read_csv(
            pa.py_buffer(block.text),
            csv.ReadOptions(use_threads=False, block_size=len(block.text) + 1, column_names=list(names)),
            csv.ParseOptions(delimiter=separator, quote_char=False),
            csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    return table if len(table) == block.lines else None


def _by_line(
    block: Block, names: Sequence[str], separator: str, faults: dict[str, list[int]]
) -> tuple[list[int], pa.Table]:
    """As :func:`_regular`, line by line; what is no row is noted."""
    rows: dict[int, list[str]] = {}
    for number, line in lines_of(block, Counter()) if block.text else ():
        try:
            cells = line.decode("utf-8").rstrip("\r").split(separator)
        except UnicodeDecodeError:
            faults["not UTF-8"].append(number)
            continue
        if len(cells) == len(names):
            rows[number] = cells
        else:
            faults["wrong number of cells"].append(number)
    columns = zip(*rows.values(), strict=True) if rows else ([] for _ in names)
    return list(rows), pa.table([pa.array(column, pa.string()) for column in columns], list(names))


def faulty_lines(
    path: Path, ids: Sequence[str], numbers: Sequence[str], separator: str = "\t"
) -> dict[str, list[int]]:
    """The lines of an atomic file that pandas and RecBole would lose, misread or stop at, by reason.

    Parameters
    ----------
    path : Path
        A ``.inter`` or ``.item`` file.
    ids, numbers : sequence of str
        Columns that must have a name, and those that must have a number, in every row.
    separator : str
        Between the cells.

    Returns
    -------
    dict of str to list of int
        Empty for a sound file. A line stands under the first reason that holds.

    Raises
    ------
    UserError
        When the file cannot be read, has no header of an atomic file or lacks a column.
    """
    faults: dict[str, list[int]] = defaultdict(list)
    missing = pa.array(sorted(MISSING_WORDS))
    for _, lines, table in read_atomic(path, faults, separator):
        if absent := [name for name in (*ids, *numbers) if name not in table.column_names]:
            raise UserError(f"{path} has no column {absent[0]}; it has {', '.join(table.column_names)}.")
        checks = {f"no {name}": pc.is_in(table[name], missing) for name in ids}
        for name in numbers:
            found = _numbers(table[name])
            checks[f"no {name}"] = pc.is_null(found)
            checks[f"{name} is no number"] = pc.invert(pc.is_finite(found))
        checks |= {f'{name} begins with "': pc.starts_with(table[name], '"') for name in table.column_names}
        said: set[int] = set()
        for reason, marks in checks.items():
            rows = [row for row in pc.indices_nonzero(marks).to_pylist() if row not in said]
            if rows:
                faults[reason] += [lines[row] for row in rows]
                said.update(rows)
    return dict(faults)


def _numbers(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as numbers; NaN for those that are none, null for empty ones."""
    try:
        return cells.cast(pa.float64())
    except pa.ArrowInvalid:
        texts = cells.to_pylist()
        found = [number_in(text) if text else None for text in texts]
        values = [
            math.nan if text and number is None else number for text, number in zip(texts, found, strict=True)
        ]
        return pa.chunked_array([pa.array(values, pa.float64())])


def read_interactions(path: Path, counts: Counter[str]) -> Interactions:
    """Read a ``.inter`` file with ``user_id`` and ``item_id``, and ``timestamp`` and ``rating`` where it has them.

    Parameters
    ----------
    path : Path
        The file.
    counts : Counter
        ``lines`` and, by reason, rows that cannot be used.

    Raises
    ------
    UserError
        When the file cannot be read or lacks a column.
    """
    faults: dict[str, list[int]] = defaultdict(list)
    collector: InteractionCollector | None = None
    for _, lines, table in read_atomic(path, faults):
        names = table.column_names
        if absent := [name for name in _COLUMNS[:2] if name not in names]:
            raise UserError(f"{path} has no column {absent[0]}; it has {', '.join(names)}.")
        collector = collector or InteractionCollector(counts, timed="timestamp" in names)
        measures = [_numbers(table[name]) if name in names else None for name in _COLUMNS[2:]]
        pair = (pc.if_else(pc.equal(table[name], ""), None, table[name]) for name in _COLUMNS[:2])
        collector.add_columns(*pair, *measures)
        counts["lines"] += len(lines)
    counts.update({reason: len(lines) for reason, lines in faults.items()})
    assert collector is not None  # an empty file is refused above
    return collector.collected()
