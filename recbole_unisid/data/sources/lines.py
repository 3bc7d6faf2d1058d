"""Lines of a text file, plain or gzip, and the cells of delimited ones."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from isal import igzip
from isal.igzip_lib import IsalError
from numpy.typing import NDArray
from pyarrow import compute as pc
from pyarrow import csv
from tqdm import tqdm

from recbole_unisid.errors import UserError

#: Longest line that is looked at, in bytes; a longer one is skipped and counted.
LONGEST_LINE = 8 * 1024 * 1024

_BLOCK = 2 * 1024 * 1024  # within a processor's cache, and few calls

#: What unpacking raises.
_DAMAGED: Any = (EOFError, zlib.error, IsalError, gzip.BadGzipFile)

Part = TypeVar("Part")
Result = TypeVar("Result")
#: A stream of bytes, and a function that moves a bar to where it is read.
Opened = AbstractContextManager["tuple[Any, Callable[[], Any]]"]


@dataclass(frozen=True)
class Block:
    """Whole lines of a file: the number of the first, and their bytes; the last may lack its end."""

    first: int
    text: bytes

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Where the lines end in the text."""
        ends = np.flatnonzero(np.frombuffer(self.text, np.uint8) == ord("\n"))
        return ends if self.text[-1:] in (b"", b"\n") else np.append(ends, len(self.text))

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where the lines begin in the text."""
        return np.append(0, self.ends[:-1] + 1)

    @property
    def lines(self) -> int:
        """How many there are."""
        return len(self.ends)


def bar_of_bytes(total: int | None, name: str, progress: bool, initial: int = 0) -> Any:
    """A bar over the bytes of a file, where one is wanted."""
    return tqdm(
        total=total, initial=initial, unit="B", unit_scale=True, desc=name, disable=None if progress else True
    )


@contextmanager
def unpacked(path: Path, progress: bool) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """A file as bytes, gzip unpacked, and what moves the bar; a ``UserError`` where it is damaged or unreadable."""
    unpack: Any = igzip.IGzipFile
    try:
        with path.open("rb") as raw, bar_of_bytes(path.stat().st_size, path.name, progress) as bar:
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


def read_blocks(
    path: Path,
    counts: Counter[str],
    *,
    progress: bool = False,
    opened: Callable[[Path, bool], Opened] = unpacked,
) -> Iterator[Block]:
    """Yield a text file in blocks of whole lines, unpacked in a thread; ``lines`` and ``line too long`` are counted."""
    rest, too_long = b"", False  # the beginning of a line whose end is still to come
    size = min(_BLOCK, LONGEST_LINE)
    with opened(path, progress) as (stream, show), ThreadPoolExecutor(1) as thread:
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
                counts.update(("line too long", "lines"))
                rest, too_long = b"", False
            cut = block.rfind(b"\n") + 1
            whole, rest = b"".join((rest, memoryview(block)[start:cut])), block[cut:]
            if whole:
                yield _counted(whole, counts)
        if too_long or len(rest) >= LONGEST_LINE:
            counts.update(("line too long", "lines"))
        elif rest:
            yield _counted(rest, counts)


def _counted(text: bytes, counts: Counter[str]) -> Block:
    block = Block(counts["lines"] + 1, text)
    counts["lines"] += block.lines
    return block


def without_header(blocks: Iterator[Block]) -> tuple[bytes | None, Iterator[Block]]:
    """The first line of a file, None where it has none, and the lines after it."""
    first = next(blocks, None)
    if first is None:
        return None, blocks
    header, _, rest = first.text.partition(b"\n")
    return header, chain([Block(2, rest)] if rest else [], blocks)


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


class Rows(NamedTuple):
    """Rows of delimited text: the numbers of their lines, their cells as text, the lines that are no row by reason."""

    lines: NDArray[np.int64]
    cells: pa.Table
    faults: dict[str, list[int]]


def read_rows(
    blocks: Iterable[Block], names: Sequence[str], separator: str, skip_blank_lines: bool = False
) -> Iterator[Rows]:
    """Cut lines at a separator, whatever quotes they hold; blank ones are faults, or skipped as RecBole does."""
    for rows in in_threads(lambda block: _rows_of(block, names, separator), blocks):
        if skip_blank_lines:
            rows.faults.pop("blank line", None)
        yield rows


def _rows_of(block: Block, names: Sequence[str], separator: str) -> Rows:
    faults: dict[str, list[int]] = defaultdict(list)  # places in the block
    text = block.text
    if b"\r" in text:  # at the end of a line it is none of its cells'; elsewhere it ends no line
        text = re.sub(rb"\r+(\n|\Z)", rb"\1", text).replace(b"\r", b"\v")
    if len(separator.encode()) > 1:
        text, separator = text.replace(separator.encode(), b"\x1f"), "\x1f"
    undecodable: set[int] = set()
    if not is_utf8(text):
        lines = text.split(b"\n")
        undecodable = {row for row, line in enumerate(lines) if not is_utf8(line)}
        text = b"\n".join(b"" if row in undecodable else line for row, line in enumerate(lines))

    def skip(row: csv.InvalidRow) -> str:
        reason = "wrong number of cells" if row.text.strip() else "blank line"
        faults[reason].append(row.number - 1)
        return "skip"

    table = cut(text or b"\n", names, separator, skip)
    places = np.delete(np.arange(block.lines), [*chain(*faults.values())])
    empty = reduce(pc.and_, (pc.equal(column, "") for column in table.columns)).to_numpy()
    for row in places[empty].tolist():
        faults["not UTF-8" if row in undecodable else "blank line"].append(row)
    return Rows(
        block.first + places[~empty],
        table.filter(pa.array(~empty)) if empty.any() else table,
        {reason: [block.first + row for row in rows] for reason, rows in faults.items()},
    )


def cut(
    text: bytes,
    names: Sequence[str],
    separator: str,
    skip: Callable[[csv.InvalidRow], str],
    wanted: Sequence[str] | None = None,
) -> pa.Table:
    """Lines cut at a separator, as columns of text, all or those wanted; `skip` is told of rows of another width."""
    return csv.read_csv(
        pa.py_buffer(text),
        csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=list(names)),
        csv.ParseOptions(
            delimiter=separator, quote_char=False, ignore_empty_lines=False, invalid_row_handler=skip
        ),
        csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), include_columns=wanted),
    )


def is_utf8(text: bytes) -> bool:
    """Whether these bytes are UTF-8."""
    ends = pa.py_buffer(np.array([0, len(text)]))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(text)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


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
