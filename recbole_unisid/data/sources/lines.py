"""Lines of a text file, plain or gzip, and what a line says: JSON or a Python literal, never evaluated."""

from __future__ import annotations

import ast
import gzip
import json
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from tqdm import tqdm

from recbole_unisid.errors import UserError

#: Longest line that is looked at, in bytes; a longer one is skipped and counted.
LONGEST_LINE = 8 * 1024 * 1024

# Everything that may stand in the repr of dicts, lists, strings and numbers. Operators are shut out: a long
# chain of them makes a tree deep enough to exhaust the C stack of older Pythons inside `ast`.
_LITERAL = re.compile(
    r"""(?:[\s\[\]{}(),:]|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|True|False|None"""
    r"""|-?\d[\d.]*(?:[eE][+-]?\d+)?(?=\s*[\]}),:]))*""",
    re.DOTALL,
)


def read_lines(path: Path, counts: Counter[str], *, progress: bool = False) -> Iterator[bytes]:
    """Yield the lines of a file one by one, unpacking gzip on the way.

    Parameters
    ----------
    path : Path
        A text file; gzip is known by its first two bytes, whatever the name.
    counts : Counter
        ``lines`` is counted up for every line, ``line too long`` and ``blank line`` for what is skipped.
    progress : bool
        Show a bar over the bytes of the file.

    Yields
    ------
    bytes
        A line with its line break.

    Raises
    ------
    UserError
        When the file cannot be read, or its gzip data is cut off or damaged.
    """
    try:
        with (
            path.open("rb") as raw,
            tqdm(
                total=path.stat().st_size, unit="B", unit_scale=True, desc=path.name, disable=not progress
            ) as bar,
        ):
            zipped = raw.peek(2)[:2] == b"\x1f\x8b"
            # GzipFile reads like any binary stream, but is not declared as one.
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
            for line in _bounded_lines(stream, counts):
                if counts["lines"] & 0xFFF == 0:
                    bar.update(raw.tell() - bar.n)
                if line.isspace():
                    counts["blank line"] += 1
                else:
                    yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} is damaged or cut off after {counts['lines']:,} lines ({error}): "
            "delete it and fetch it again."
        ) from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error


def _bounded_lines(stream: BinaryIO, counts: Counter[str]) -> Iterator[bytes]:
    """Yield lines of at most `LONGEST_LINE` bytes; memory stays bounded where line breaks are missing."""
    while line := stream.readline(LONGEST_LINE):
        counts["lines"] += 1
        if len(line) < LONGEST_LINE or line.endswith(b"\n"):
            yield line
            continue
        counts["line too long"] += 1
        while (rest := stream.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
            pass


def parse_json(line: bytes, counts: Counter[str]) -> dict[str, Any] | None:
    """Parse one JSON object.

    Parameters
    ----------
    line : bytes
        One line of a JSON-lines file.
    counts : Counter
        A line that is no JSON object is counted here under the reason.

    Returns
    -------
    dict or None
        The object, or None when the line is skipped.
    """
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        counts["not UTF-8"] += 1
        return None
    except (ValueError, RecursionError):
        counts["not JSON"] += 1
        return None
    return _checked(record, counts)


def parse_literal(line: bytes, counts: Counter[str]) -> dict[str, Any] | None:
    """Parse one Python dict display, as the 2014 Amazon metadata has them, without evaluating anything.

    Parameters
    ----------
    line : bytes
        One line such as ``{'asin': '0558925278', 'price': 12.5}``.
    counts : Counter
        A line that is no such dict is counted here under the reason.

    Returns
    -------
    dict or None
        The dict, or None when the line is skipped.

    Examples
    --------
    >>> parse_literal(b"{'asin': 'B0', 'categories': [['Beauty', \\"Men's\\"]]}", Counter())
    {'asin': 'B0', 'categories': [['Beauty', "Men's"]]}
    >>> parse_literal(b"{'asin': exit()}", Counter()) is None
    True
    """
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError:
        counts["not UTF-8"] += 1
        return None
    if not _LITERAL.fullmatch(text):
        counts["not a Python literal"] += 1
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # doubtful escapes in strings
            record = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        counts["not a Python literal"] += 1
        return None
    return _checked(record, counts)


def _checked(record: object, counts: Counter[str]) -> dict[str, Any] | None:
    """Keep dicts alone."""
    if isinstance(record, dict):
        return record
    counts["not a record"] += 1
    return None
