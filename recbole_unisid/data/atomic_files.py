"""RecBole's atomic files: written whole, with a note that tells a changed one; read without pandas' quoting."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc

from recbole_unisid.data.atomic_text import ItemRows, format_number, parse_header
from recbole_unisid.data.disk import writing_to
from recbole_unisid.data.interactions import InteractionCollector, Interactions
from recbole_unisid.data.sources.lines import Rows, read_blocks, read_rows, without_header
from recbole_unisid.data.sources.values import numbers_in
from recbole_unisid.errors import UserError
from recbole_unisid.files import sha256_of, write_atomically, write_json

#: The note beside the atomic files: sizes, checksums, counts and origins.
NOTE = "prepared.json"
#: In the note, where whoever prepared the data named them: the columns of the ``.item`` file that are an item's text.
TEXT_FIELDS = "text_fields"

_ROWS_AT_ONCE = 65_536


class ItemTexts(NamedTuple):
    """The ``.item`` file to be."""

    fields: tuple[str, ...]  # its columns after ``item_id:token``, as ``name:type``
    rows: ItemRows  # read once


def write_dataset(
    folder: Path, log: Interactions, texts: ItemTexts | None, counts: Counter[str], note: Mapping[str, Any]
) -> dict[str, float]:
    """Write ``.item`` (where there are texts), the note and ``.inter``, in this order, each of them whole.

    ``.inter`` is what a run looks for. It is put in place last, and an old one is taken away before anything new
    appears, so that no crash leaves a mixture that a later run would believe. Items met a second time are counted.
    The result is the share of the items with a non-empty value, by field. A disk that refuses is a ``UserError``.
    """
    inter, item = folder / f"{folder.name}.inter", folder / f"{folder.name}.item"
    coverage: dict[str, float] = {}
    with writing_to(folder), ExitStack() as last_one_first, ThreadPoolExecutor(1) as beside:
        parts = {inter.name: last_one_first.enter_context(write_atomically(inter))}
        written = beside.submit(_write_interactions, parts[inter.name], log)
        if texts is not None:
            parts[item.name] = last_one_first.enter_context(write_atomically(item))
            with parts[item.name].open("w", encoding="utf-8", newline="\n") as lines:
                coverage = _write_items(lines, log, texts, counts)
        written.result()
        inter.unlink(missing_ok=True)
        if texts is None:
            item.unlink(missing_ok=True)
        files = {name: {"bytes": _size(part), "sha256": sha256_of(part)} for name, part in parts.items()}
        write_json(folder / NOTE, {"schema": 1, **note, "files": files})
    return coverage


def _write_interactions(path: Path, interactions: Interactions) -> None:
    """Write users, items, ratings where there are any, and times (positions where there are none)."""
    rated = bool((~np.isnan(interactions.ratings)).any())
    # A line's end stands before the next: joined texts lie behind one another in memory, and are written as they lie.
    user_ids = pc.binary_join_element_wise("\n", pa.array(interactions.user_ids, pa.string()), "")
    item_ids = pa.array(interactions.item_ids, pa.string())
    times = interactions.times if interactions.timed else interactions.positions
    with path.open("wb") as stream:
        stream.write(b"user_id:token\titem_id:token" + b"\trating:float" * rated + b"\ttimestamp:float")
        for start in range(0, len(interactions), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            columns = [user_ids.take(interactions.users[rows]), item_ids.take(interactions.items[rows])]
            columns += [_number_texts(interactions.ratings[rows])] if rated else []
            lines = pc.binary_join_element_wise(*columns, _number_texts(times[rows]), "\t")
            stream.write(lines.buffers()[2])
        stream.write(b"\n")


def _number_texts(numbers: NDArray[np.float64]) -> pa.Array:
    """:func:`format_number` of each."""
    if (np.isfinite(numbers) & (np.trunc(numbers) == numbers) & (np.abs(numbers) < 2**63)).all():
        return pa.array(numbers.astype(np.int64)).cast(pa.string())
    return pa.array(map(format_number, numbers.tolist()), pa.string())


def _write_items(
    stream: TextIO, interactions: Interactions, texts: ItemTexts, counts: Counter[str]
) -> dict[str, float]:
    """Write the items that have text as they come, then those without; return each field's coverage."""
    stream.write("\t".join(("item_id:token", *texts.fields)) + "\n")
    present = interactions.items_present.tolist()
    without_text = dict.fromkeys(interactions.item_ids[item] for item in present)
    empty = [0] * len(texts.fields)
    for item, fields in texts.rows:
        if item not in without_text:
            counts["item met before"] += 1
            continue
        del without_text[item]
        stream.write("\t".join((item, *fields)) + "\n")
        if "" in fields:
            empty = [number + (not field) for number, field in zip(empty, fields, strict=True)]
    with_text = len(present) - len(without_text)
    for item in without_text:
        stream.write(item + "\t" * len(texts.fields) + "\n")
    if without_text:
        counts["not in the table"] += len(without_text)
    return {
        field.partition(":")[0]: (with_text - number) / max(len(present), 1)
        for field, number in zip(texts.fields, empty, strict=True)
    }


def measure_coverage(interactions: Interactions, texts: ItemTexts, counts: Counter[str]) -> dict[str, float]:
    """The result of :func:`write_dataset`, which counts the same, of a set that is not written."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        return _write_items(nowhere, interactions, texts, counts)


def is_prepared(folder: Path) -> bool:
    """Whether a data set is there; a ``UserError`` where its files are not of the size that its note says."""
    if not (folder / f"{folder.name}.inter").is_file():
        return False
    path = folder / NOTE
    if not path.exists():
        return True
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        changed = [name for name, entry in files.items() if _size(folder / name) != entry["bytes"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}): prepare {folder.name} again.") from error
    if changed:
        raise UserError(
            f"{folder / changed[0]} is not as it was prepared: prepare {folder.name} again, or delete {path} "
            "to use it as it is."
        )
    return True


def noted_text_fields(folder: Path) -> list[str] | None:
    """The text columns that were named when a data set was prepared; None where none were, or nothing is noted."""
    if not is_prepared(folder) or not (folder / NOTE).exists():
        return None
    fields = json.loads((folder / NOTE).read_text(encoding="utf-8")).get(TEXT_FIELDS)
    return fields if isinstance(fields, list) and all(isinstance(name, str) for name in fields) else None


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def read_atomic(
    path: Path, columns: Sequence[str], separator: str = "\t"
) -> tuple[dict[str, str], Iterator[Rows]]:
    """Read an atomic file with at least these `columns`: the types of all of its columns, and its rows as text.

    A file that cannot be read, has no header of an atomic file or lacks a column is a ``UserError``.
    """
    header, blocks = without_header(read_blocks(path, Counter()))
    if header is None:
        raise UserError(f"{path} is empty; its first line must name the columns as name:type.")
    types = parse_header(header.decode("utf-8-sig", "replace").rstrip("\r"), separator, path)
    if absent := [name for name in columns if name not in types]:
        raise UserError(f"{path} has no column {absent[0]}; it has {', '.join(types)}.")
    return types, read_rows(blocks, list(types), separator, skip_blank_lines=True)


def read_interactions(path: Path, counts: Counter[str]) -> Interactions:
    """As :func:`read_atomic`, of a ``.inter`` file; ``lines`` are counted, and by reason those that cannot be used."""
    types, read = read_atomic(path, ("user_id", "item_id"))
    collector = InteractionCollector(counts, timed="timestamp" in types)
    faults = Counter[str]()
    for lines, table, unread in read:
        names = [pc.if_else(pc.equal(table[name], ""), None, table[name]) for name in ("user_id", "item_id")]
        numbers = [numbers_in(table[name]) if name in types else None for name in ("timestamp", "rating")]
        collector.add(*names, *numbers)
        counts["lines"] += len(lines)
        faults.update({reason: len(found) for reason, found in unread.items()})
    counts.update(faults)
    return collector.collected()
