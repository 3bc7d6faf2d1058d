"""Delimited text without quotation marks, a block at a time: what Python's csv module says of it, and sooner."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recbole_unisid.data.interactions import Column
from recbole_unisid.data.sources.lines import Block, Rows, cut, in_threads, is_utf8, read_blocks


class Form(NamedTuple):
    """What the lines of a file are cut into; there are two columns or more."""

    names: Sequence[str]
    delimiter: str
    quotes: bool  # whether a ``"`` may quote


class Batch(NamedTuple):
    """Some rows of a table."""

    columns: dict[str, Column]  # the values under each column that was asked for
    lines: Sequence[int]  # where each row stands in the file, from 1


def plain_batches(
    path: Path, form: Form, wanted: Sequence[str], counts: Counter[str], progress: bool
) -> Generator[Batch, None, bool]:
    """Yield the rows of UTF-8, that of names left out, until a block is not plain; return whether all are.

    A block with a quotation mark is not plain, nor one with a NUL, a carriage return within a line, bytes that are no
    UTF-8 or a line longer than cells may be. Only ``lines`` before it are counted, and by reason those that are no row.
    """
    read = Counter[str]()
    blocks = read_blocks(path, read, progress=progress)
    for block, rows in in_threads(lambda block: (block, _rows_of(block, form, wanted)), blocks):
        if rows is None or block.first != counts["lines"] + 1:
            return False
        faults = sorted((min(found), reason) for reason, found in rows.faults.items() if found)
        counts.update({reason: len(rows.faults[reason]) for _, reason in faults})
        names = int(block.first == 1)
        counts["lines"] += block.lines
        yield Batch({name: rows.cells[name][names:] for name in wanted}, rows.lines[names:].tolist())
    return not read["line too long"]


def _rows_of(block: Block, form: Form, wanted: Sequence[str]) -> Rows | None:
    text = block.text.removeprefix(codecs.BOM_UTF8) if block.first == 1 else block.text
    text = text.replace(b"\r\n", b"\n") if b"\r" in text else text
    odd = (b"\r", b"\0", b'"') if form.quotes else (b"\r", b"\0")
    block = Block(block.first, text)
    lengths = block.ends - block.starts
    if any(sign in text for sign in odd) or lengths.max() > csv.field_size_limit() or not is_utf8(text):
        return None
    places = np.flatnonzero(lengths)  # of the lines that are not empty, which Arrow takes for a cell
    faults = {"blank line": np.flatnonzero(lengths == 0).tolist(), "wrong number of cells": list[int]()}
    if not len(places):
        return Rows(places, pa.table(dict.fromkeys(form.names, pa.array([], pa.string()))), faults)
    if faults["blank line"]:
        text = b"\n".join(filter(None, text.split(b"\n")))

    wrong: list[int] = []

    def skip(row: Any) -> str:
        wrong.append(row.number - 1)
        cells = row.text.replace(form.delimiter, "")
        faults["wrong number of cells" if cells else "blank line"].append(int(places[wrong[-1]]))
        return "skip"

    table = cut(text, form.names, form.delimiter, skip, wanted)
    return Rows(block.first + np.delete(places, wrong), table, faults)
