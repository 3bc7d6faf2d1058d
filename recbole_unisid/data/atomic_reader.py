"""Reading RecBole's atomic files without pandas' quoting, times as they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from recbole_unisid.data.interactions import InteractionCollector, Interactions
from recbole_unisid.data.sources.lines import read_lines
from recbole_unisid.data.sources.values import number_in
from recbole_unisid.errors import UserError

_COLUMNS = ("user_id", "item_id", "timestamp", "rating")


def read_table(path: Path, counts: Counter[str]) -> tuple[list[str], Iterator[list[str]]]:
    """Open an atomic file.

    Parameters
    ----------
    path : Path
        A ``.inter`` or ``.item`` file.
    counts : Counter
        Rows that cannot be used are counted here under the reason.

    Returns
    -------
    header : list of str
        ``name:type`` of every column.
    rows : iterator of list of str
        As many cells as the header has.

    Raises
    ------
    UserError
        When the file cannot be read or has no header of an atomic file.
    """
    lines = read_lines(path, counts)
    header = next(lines, b"").decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")
    if not all(":" in column for column in header):
        raise UserError(
            f"{path} does not begin with a header such as 'user_id:token<TAB>item_id:token': "
            "it is no atomic file of RecBole."
        )
    return header, _rows(lines, len(header), counts)


def _rows(lines: Iterator[bytes], width: int, counts: Counter[str]) -> Iterator[list[str]]:
    for line in lines:
        try:
            cells = line.decode("utf-8").rstrip("\r\n").split("\t")
        except UnicodeDecodeError:
            counts["not UTF-8"] += 1
            continue
        if len(cells) == width:
            yield cells
        else:
            counts["wrong number of cells"] += 1


def read_interactions(path: Path, counts: Counter[str]) -> Interactions:
    """Read a ``.inter`` file.

    Parameters
    ----------
    path : Path
        With the columns ``user_id`` and ``item_id``; ``timestamp`` and ``rating`` where it has them.
    counts : Counter
        ``lines`` and, by reason, rows that cannot be used.

    Returns
    -------
    Interactions
        In the order of the file.

    Raises
    ------
    UserError
        When the file cannot be read or lacks a column.
    """
    header, rows = read_table(path, counts)
    names = [column.partition(":")[0] for column in header]
    missing = [name for name in _COLUMNS[:2] if name not in names]
    if missing:
        raise UserError(f"{path} has no column {missing[0]}; it has {', '.join(names)}.")
    user, item, time, rating = (names.index(name) if name in names else None for name in _COLUMNS)
    collector = InteractionCollector(counts, timed=time is not None)
    for cells in rows:
        collector.add(
            cells[user or 0],
            cells[item or 0],
            None if time is None else number_in(cells[time]),
            None if rating is None else number_in(cells[rating]),
        )
    return collector.collected()
