"""RecBole's atomic files, read without pandas' quoting and its words for missing values."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import compute as pc

from recbole_unisid.data.atomic_text import MISSING_WORDS, parse_header
from recbole_unisid.data.interactions import InteractionCollector, Interactions
from recbole_unisid.data.sources.lines import Rows, read_blocks, read_rows, without_header
from recbole_unisid.data.sources.values import numbers_in
from recbole_unisid.errors import UserError


def read_atomic(
    path: Path, columns: Sequence[str], separator: str = "\t"
) -> tuple[dict[str, str], Iterator[Rows]]:
    """Read an atomic file with at least these `columns`: the types of all of its columns, and its rows as text.

    Raises
    ------
    UserError
        When the file cannot be read, has no header of an atomic file or lacks a column.
    """
    header, blocks = without_header(read_blocks(path, Counter()))
    if header is None:
        raise UserError(f"{path} is empty; its first line must name the columns as name:type.")
    types = parse_header(header.decode("utf-8-sig", "replace").rstrip("\r"), separator, path)
    if absent := [name for name in columns if name not in types]:
        raise UserError(f"{path} has no column {absent[0]}; it has {', '.join(types)}.")
    return types, map(_without_blank_lines, read_rows(blocks, list(types), separator))


def _without_blank_lines(rows: Rows) -> Rows:
    """Rows whose faults are lines that RecBole does not skip in silence."""
    rows.faults.pop("blank line", None)
    return rows


def faulty_lines(
    path: Path, ids: Sequence[str], numbers: Sequence[str], separator: str = "\t"
) -> dict[str, list[int]]:
    """The lines of an atomic file that pandas and RecBole would lose, misread or stop at, by reason.

    Every row must have a name in the columns `ids` and a number in `numbers`. A line stands under the first reason
    that holds.

    Raises
    ------
    UserError
        When the file cannot be read, has no header of an atomic file or lacks a column.
    """
    faults: dict[str, list[int]] = defaultdict(list)
    missing = pa.array(sorted(MISSING_WORDS))
    for lines, table, unread in read_atomic(path, [*ids, *numbers], separator)[1]:
        checks = {f"no {name}": pc.is_in(table[name], missing) for name in ids}
        for name in numbers:
            found = numbers_in(table[name])
            checks[f"no {name}"] = pc.is_null(found)
            checks[f"{name} is no number"] = pc.invert(pc.is_finite(found))
        checks |= {f'{name} begins with "': pc.starts_with(table[name], '"') for name in table.column_names}
        said: set[int] = set()
        for reason, marks in checks.items():
            rows = set(pc.indices_nonzero(marks).to_pylist()) - said
            unread[reason] = lines[sorted(rows)].tolist()
            said |= rows
        for reason, found in unread.items():
            faults[reason] += found
    return {reason: found for reason, found in faults.items() if found}


def read_interactions(path: Path, counts: Counter[str]) -> Interactions:
    """Read a ``.inter`` file with ``user_id`` and ``item_id``, and ``timestamp`` and ``rating`` where it has them.

    The counter gets ``lines`` and, by reason, rows that cannot be used.

    Raises
    ------
    UserError
        When the file cannot be read or lacks a column.
    """
    types, read = read_atomic(path, ("user_id", "item_id"))
    collector = InteractionCollector(counts, timed="timestamp" in types)
    faults = Counter[str]()
    for lines, table, unread in read:
        users, items = (
            pc.if_else(pc.equal(table[name], ""), None, table[name]) for name in ("user_id", "item_id")
        )
        times, ratings = (
            numbers_in(table[name]) if name in types else None for name in ("timestamp", "rating")
        )
        collector.add(users, items, times, ratings)
        counts["lines"] += len(lines)
        faults.update({reason: len(found) for reason, found in unread.items()})
    counts.update(faults)
    return collector.collected()
