"""Lines of a text file, plain or gzip, and what a line says: JSON or a Python literal, never evaluated."""

from __future__ import annotations

import ast
import gzip
import json
import re
import warnings
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
from isal import igzip
from isal.igzip_lib import IsalError
from pyarrow import json as arrow_json
from tqdm import tqdm

from recbole_unisid.errors import UserError

#: Longest line that is looked at, in bytes; a longer one is skipped and counted.
LONGEST_LINE = 8 * 1024 * 1024

_BLOCK = 4 * 1024 * 1024

#: What unpacking raises.
_DAMAGED: Any = (EOFError, zlib.error, IsalError, gzip.BadGzipFile)


class Block(NamedTuple):
    """Whole lines of a file: the number of the first, how many there are, and their bytes."""

    first: int
    lines: int
    text: bytes


Part = TypeVar("Part")
Result = TypeVar("Result")


def read_blocks(path: Path, counts: Counter[str], *, progress: bool = False) -> Iterator[Block]:
    """Yield a file in blocks of whole lines, gzip unpacked in a thread of its own.

    Parameters
    ----------
    path : Path
        A text file; gzip is known by its first two bytes, whatever the name.
    counts : Counter
        ``lines`` is counted up for every line, ``line too long`` for what is skipped.
    progress : bool
        Show a bar over the bytes of the file.

    Raises
    ------
    UserError
        When the file cannot be read, or its gzip data is cut off or damaged.
    """
    rest, too_long = b"", False  # the beginning of a line whose end is still to come
    size = min(_BLOCK, LONGEST_LINE)
    with unpacked(path, progress) as (stream, show), ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(stream.read, size)
        while block := ahead.result():
            ahead = thread.submit(stream.read, size)
            show()
            end = block.find(b"\n") + 1
            if end == 0:
                rest = b"" if too_long else rest + block
                too_long = too_long or len(rest) > LONGEST_LINE
                continue
            start = end if too_long or len(rest) + end > LONGEST_LINE else 0
            if start:
                counts["line too long"] += 1
                counts["lines"] += 1
                rest, too_long = b"", False
            cut = block.rfind(b"\n") + 1
            whole, rest = b"".join((rest, memoryview(block)[start:cut])), block[cut:]
            if whole:
                yield _counted(whole, whole.count(b"\n"), counts)
        if too_long or len(rest) >= LONGEST_LINE:
            counts["line too long"] += 1
            counts["lines"] += 1
        elif rest:
            yield _counted(rest, 1, counts)


def _counted(text: bytes, lines: int, counts: Counter[str]) -> Block:
    counts["lines"] += lines
    return Block(counts["lines"] - lines + 1, lines, text)


@contextmanager
def unpacked(path: Path, progress: bool) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """A file as a stream of bytes, gzip unpacked, and a function that moves the bar to where it is read.

    Raises
    ------
    UserError
        When the file cannot be read, or its gzip data is cut off or damaged.
    """
    unpack: Any = igzip.IGzipFile
    try:
        with (
            path.open("rb") as raw,
            tqdm(
                total=path.stat().st_size, unit="B", unit_scale=True, desc=path.name, disable=not progress
            ) as bar,
        ):
            zipped = raw.peek(2)[:2] == b"\x1f\x8b"
            yield unpack(fileobj=raw) if zipped else raw, lambda: bar.update(raw.tell() - bar.n)
            bar.update(raw.tell() - bar.n)
    except _DAMAGED as error:
        raise UserError(
            f"{path} is damaged or cut off after {_lines_before_damage(path):,} lines ({error}): "
            "delete it and fetch it again."
        ) from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error


def _lines_before_damage(path: Path) -> int:
    lines = 0
    with suppress(*_DAMAGED), gzip.open(path) as stream:
        for _ in stream:
            lines += 1
    return lines


def read_lines(path: Path, counts: Counter[str], *, progress: bool = False) -> Iterator[bytes]:
    """Yield the lines of :func:`read_blocks` without their ends; ``blank line`` counts what is skipped."""
    for block in read_blocks(path, counts, progress=progress):
        yield from (line for _, line in lines_of(block, counts))


def lines_of(block: Block, counts: Counter[str]) -> Iterator[tuple[int, bytes]]:
    """The lines of a block that are not blank, with their numbers; the others are counted."""
    for number, line in enumerate(block.text.removesuffix(b"\n").split(b"\n"), block.first):
        if not line or line.isspace():
            counts["blank line"] += 1
        else:
            yield number, line


def read_columns(
    path: Path, schema: pa.Schema | None, counts: Counter[str], *, progress: bool = False
) -> Iterator[tuple[Sequence[int], pa.Table | list[dict[str, Any]]]]:
    """Read JSON lines: their numbers, and some fields as typed columns where a block of lines is regular.

    A block in which a line is no object, or a field is not of the type expected, comes as records
    (:func:`parse_json`), so that no value is bent to fit and every line that cannot be used is counted.

    Parameters
    ----------
    path : Path
        JSON lines, plain or gzip.
    schema : pyarrow.Schema or None
        The fields to read, with the types that are usual; None gives records alone.
    counts : Counter
        ``lines`` and, by reason, what is skipped.
    progress : bool
        Show a bar.
    """

    def parse(block: Block) -> tuple[Block, pa.Table | None]:
        return block, None if schema is None else _regular(block, schema)

    for block, table in in_threads(parse, read_blocks(path, counts, progress=progress)):
        if table is not None:
            yield range(block.first, block.first + block.lines), table
            continue
        parsed = [(number, parse_json(line, counts)) for number, line in lines_of(block, counts)]
        records = [(number, record) for number, record in parsed if record is not None]
        yield [number for number, _ in records], [record for _, record in records]


def _regular(block: Block, schema: pa.Schema) -> pa.Table | None:
    """The columns of a block in which every line is an object with values of the types expected."""
    options = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    try:
        if not block.text.isascii():
            block.text.decode("utf-8")
        reading = arrow_json.ReadOptions(use_threads=False, block_size=len(block.text))
        table = arrow_json.read_json(pa.py_buffer(block.text), reading, options)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    return table if len(table) == block.lines else None


def in_threads(function: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
    """What a function makes of each part, in order, two parts at once."""
    with ThreadPoolExecutor(2) as threads:
        waiting = deque[Any]()
        for part in parts:
            waiting.append(threads.submit(function, part))
            if len(waiting) > 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def parse_json(line: bytes, counts: Counter[str]) -> dict[str, Any] | None:
    """Parse one JSON object; None, and the reason counted, for a line that is none."""
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        counts["not UTF-8"] += 1
        return None
    except (ValueError, RecursionError):
        counts["not JSON"] += 1
        return None
    return _checked(record, counts)


# A literal's strings that JSON writes otherwise, and its words, apart from all that JSON writes alike but for
# the quotes. What is neither stays as it is, and JSON refuses it.
_LITERAL = re.compile(
    r"""((?:'[^'"\\]*'|[\s\[\]{},:\d.eE+-]+)+)|'([^'\\]*(?:\\.[^'\\]*)*)'|"([^"\\]*(?:\\.[^"\\]*)*)"|(True|False|None)""",
    re.DOTALL,
)
_WORDS = {"True": "true", "False": "false", "None": "null"}


def parse_literal(line: bytes, counts: Counter[str]) -> dict[str, Any] | None:
    r"""Parse one Python dict display, as the 2014 Amazon metadata has them, without evaluating anything.

    Examples
    --------
    >>> parse_literal(b"{'asin': 'B0', 'categories': [['Beauty', \"Men's\"]]}", Counter())
    {'asin': 'B0', 'categories': [['Beauty', "Men's"]]}
    >>> parse_literal(b"{'asin': exit()}", Counter()) is None
    True
    """
    try:
        record = json.loads(_LITERAL.sub(_as_json, line.decode("utf-8")), strict=False)
    except UnicodeDecodeError:
        counts["not UTF-8"] += 1
        return None
    except (ValueError, SyntaxError, RecursionError):
        counts["not a Python literal"] += 1
        return None
    return _checked(record, counts)


def _as_json(match: re.Match[str]) -> str:
    """JSON for one piece of a literal."""
    alike, single, double, word = match.groups()
    if alike is not None:
        return alike.replace("'", '"')
    if word is not None:
        return _WORDS[word]
    text = single.replace("\\'", "'") if single is not None else double
    if "\\" in text:  # other escapes are Python's to read
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # doubtful ones
            text = ast.literal_eval(match[0])
    return json.dumps(text)


def _checked(record: object, counts: Counter[str]) -> dict[str, Any] | None:
    """Keep dicts alone."""
    if isinstance(record, dict):
        return record
    counts["not a record"] += 1
    return None
