"""Records of one line each: JSON, or a Python literal, which is never evaluated."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import json as arrow_json

from recbole_unisid.data.interactions import Column
from recbole_unisid.data.sources.lines import Block, in_threads, is_utf8, lines_of, read_blocks


def read_columns(
    path: Path, types: Mapping[str, pa.DataType | None], counts: Counter[str], *, progress: bool = False
) -> Iterator[tuple[Sequence[int], Mapping[str, Column]]]:
    """Read some fields of JSON lines: the numbers of lines, and a column for each field.

    A block of lines gives Arrow columns of the usual `types` where every line is an object with such values. Any other
    block, and every one where a type is None, gives lists of what stands there: no value is bent to fit. The counter
    gets ``lines`` and, by reason, what is skipped.
    """
    for block, table in in_threads(
        lambda block: (block, _regular(block, types)), read_blocks(path, counts, progress=progress)
    ):
        if table is not None:
            yield range(block.first, block.first + block.lines), {name: table[name] for name in types}
            continue
        parsed = [(number, parse_json(line, counts)) for number, line in lines_of(block, counts)]
        records = {number: record for number, record in parsed if record is not None}
        yield list(records), {name: [record.get(name) for record in records.values()] for name in types}


def as_list(column: Column) -> list[Any]:
    """A column's values."""
    return column if isinstance(column, list) else list(column.to_pylist())


def _regular(block: Block, types: Mapping[str, pa.DataType | None]) -> pa.Table | None:
    """The columns of a block in which every line is an object with values of the types expected."""
    if None in types.values() or not is_utf8(block.text):
        return None
    options = arrow_json.ParseOptions(explicit_schema=pa.schema(types), unexpected_field_behavior="ignore")
    reading = arrow_json.ReadOptions(use_threads=False, block_size=len(block.text))
    try:
        table = arrow_json.read_json(pa.py_buffer(block.text), reading, options)
    except pa.ArrowInvalid:
        return None
    return table if len(table) == block.lines else None


def parse_json(line: bytes, counts: Counter[str]) -> dict[str, Any] | None:
    """Parse one JSON object; None, and the reason counted, for a line that is none."""
    return _parsed(line, counts, json.loads, "not JSON")


def parse_literal(line: bytes, counts: Counter[str]) -> dict[str, Any] | None:
    r"""Parse one Python dict display, as the 2014 Amazon metadata has them, without evaluating anything.

    >>> parse_literal(b"{'asin': 'B0', 'categories': [['Beauty', \"Men's\"]]}", Counter())
    {'asin': 'B0', 'categories': [['Beauty', "Men's"]]}
    >>> parse_literal(b"{'asin': exit()}", Counter()) is None
    True
    """
    return _parsed(
        line,
        counts,
        lambda text: json.loads(_LITERAL.sub(_as_json, text), strict=False),
        "not a Python literal",
    )


def _parsed(
    line: bytes, counts: Counter[str], load: Callable[[str], Any], fault: str
) -> dict[str, Any] | None:
    try:
        record = load(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        fault = "not UTF-8"
    except (ValueError, SyntaxError, RecursionError):
        pass
    else:
        if isinstance(record, dict):
            return record
        fault = "not a record"
    counts[fault] += 1
    return None


# A literal's strings that JSON writes otherwise, and its words, apart from all that JSON writes alike but for
# the quotes. What is neither stays as it is, and JSON refuses it.
_LITERAL = re.compile(
    r"""((?:'[^'"\\]*'|[\s\[\]{},:\d.eE+-]+)+)|u?'([^'\\]*(?:\\.[^'\\]*)*)'|u?"([^"\\]*(?:\\.[^"\\]*)*)"|(True|False|None)""",
    re.DOTALL,
)
_WORDS = {"True": "true", "False": "false", "None": "null"}


def _as_json(match: re.Match[str]) -> str:
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
