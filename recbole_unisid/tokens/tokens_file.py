"""Code tuples as text: our ``tokens.tsv``, LETTER's ``.index.json``, and tagged ``.tsv``."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.files import write_text

HEADER = "item_id\tcodes"
_TAGGED = re.compile(r"<([A-Za-z]+)_(0|[1-9][0-9]{0,8})>")
_PLAIN = re.compile(r"()(0|[1-9][0-9]{0,8})")

#: Codes are below this: a codebook has a row for each up to the highest.
_CODES = 1 << 20


@dataclass(frozen=True)
class CodeTable:
    """Items and their codes as a file has them."""

    item_ids: list[str]  # in the file's order, each once
    codes: NDArray[np.int64]  # int64 [items, levels]
    tags: list[str]  # the letters of each level (a in <a_114>); a, b, c, ... where the file has plain numbers


def write_tokens_tsv(path: Path, item_ids: Sequence[str], codes: NDArray[np.int64]) -> None:
    """Write one line an item: its token, a tab, its codes with blanks between; atomically."""
    rows = (f"{item}\t{' '.join(map(str, row))}" for item, row in zip(item_ids, codes.tolist(), strict=True))
    write_text(path, "\n".join([HEADER, *rows]) + "\n")


def write_index_json(
    path: Path, item_ids: Sequence[str], codes: NDArray[np.int64], tags: Sequence[str] | None = None
) -> None:
    """Write LETTER's ``.index.json``, ``{"item": ["<a_114>", "<b_32>", ...], ...}``, with these letters; atomically."""
    tags = level_tags(codes.shape[1]) if tags is None else tags
    index = {
        item: [f"<{tag}_{code}>" for tag, code in zip(tags, row, strict=True)]
        for item, row in zip(item_ids, codes.tolist(), strict=True)
    }
    write_text(path, json.dumps(index))


def level_tags(levels: int) -> list[str]:
    """Name so many levels a, b, ..., z, aa, ab, ..."""
    letters = string.ascii_lowercase
    return [("" if at < 26 else letters[at // 26 - 1]) + letters[at % 26] for at in range(levels)]


def read_codes(path: Path) -> CodeTable:
    """Read codes from ``.index.json`` or from a ``.tsv`` with an item, a tab and its codes a line.

    Codes are ``<a_114>`` or plain integers. A first line ``item_id<TAB>codes`` is a header.

    Raises UserError: when the file is missing or malformed, or has an item twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"No file of codes at {path}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; codes are read from .index.json or .tsv.") from None
    if path.suffix == ".json":
        return _parse(path, _index_entries(path, text))
    lines = text.removesuffix("\n").split("\n")
    rows = enumerate((line.removesuffix("\r") for line in lines), start=1)
    return _parse(path, [_tsv_entry(path, n, row) for n, row in rows if row and (n > 1 or row != HEADER)])


def _index_entries(path: Path, text: str) -> list[tuple[str, list[str]]]:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no JSON ({error}).") from None
    whole = isinstance(pairs, list) and all(
        isinstance(pair, tuple) and isinstance(pair[1], list) and all(isinstance(c, str) for c in pair[1])
        for pair in pairs
    )
    if not whole:
        raise UserError(f'{path} is not of the form {{"item": ["<a_1>", "<b_2>"], ...}}.')
    return pairs  # type: ignore[no-any-return]


def _tsv_entry(path: Path, number: int, line: str) -> tuple[str, list[str]]:
    item, tab, codes = line.partition("\t")
    if not tab:
        raise UserError(f"{path}, line {number}: no tab between the item and its codes.")
    return item, codes.split()


def _parse(path: Path, entries: Iterable[tuple[str, list[str]]]) -> CodeTable:
    """Entries to numbers, with every irregularity named."""
    codes: dict[str, list[int]] = {}
    tags: list[str] | None = None
    for item, written in entries:
        matches = [_TAGGED.fullmatch(code) or _PLAIN.fullmatch(code) for code in written]
        found = [match[1] for match in matches if match]
        tags = found if tags is None else tags
        if not written or len(found) < len(written) or found != tags:
            raise UserError(
                f"{path}: item {item!r} has the codes {' '.join(written)!r}; every item needs as many, "
                "with the same letters a level, as <a_114> or plain integers."
            )
        if item in codes:
            raise UserError(f"{path}: item {item!r} stands twice; keep one.")
        codes[item] = [int(match[2]) for match in matches if match]
        if max(codes[item]) >= _CODES:
            raise UserError(
                f"{path}: item {item!r} has the code {max(codes[item])}; number the codes of a level from 0 on, below "
                f"{_CODES:,}."
            )
    if tags is None:
        raise UserError(f"{path} holds no codes.")
    tags = tags if all(tags) else level_tags(len(tags))
    return CodeTable(list(codes), np.array(list(codes.values()), dtype=np.int64), tags)
