"""Records of one line each: JSON, or a Python literal, which is never evaluated."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import json as arrow_json

from recbole_unisid.data.interactions import Column
from recbole_unisid.data.sources.lines import Block, in_threads, is_utf8, lines_of


def read_columns(
    blocks: Iterable[Block],
    types: Mapping[str, pa.DataType | None],
    counts: Counter[str],
    *,
    literals: bool = False,
) -> Iterator[tuple[Sequence[int], Mapping[str, Column]]]:
    """Read some fields of JSON lines, or of Python literals: the numbers of lines, and a column for each field.

    A block of lines gives Arrow columns of the usual `types` where every line is an object with such values. Any other
    block, and every one where a type is None, gives lists of what stands there: no value is bent to fit. The counter
    gets, by reason, what is skipped.
    """
    parse = parse_literal if literals else parse_json
    for block, table in in_threads(lambda block: (block, _regular(block, types, literals)), blocks):
        if table is not None:
            yield range(block.first, block.first + block.lines), {name: table[name] for name in types}
            continue
        parsed = [(number, parse(line, counts)) for number, line in lines_of(block, counts)]
        records = {number: record for number, record in parsed if record is not None}
        yield list(records), {name: [record.get(name) for record in records.values()] for name in types}


def as_list(column: Column) -> list[Any]:
    """A column's values."""
    return column if isinstance(column, list) else list(column.to_pylist())


def _regular(block: Block, types: Mapping[str, pa.DataType | None], literals: bool) -> pa.Table | None:
    """The columns of a block in which every line is an object with values of the types expected."""
    if None in types.values() or not _looks_regular(block):
        return None
    options = arrow_json.ParseOptions(explicit_schema=pa.schema(types), unexpected_field_behavior="ignore")
    text = block.text
    try:
        if literals:
            text = _literals_as_json(text.decode()).encode()
            if text.count(b"\n") != block.text.count(b"\n"):  # a string went on in the next line
                return None
        reading = arrow_json.ReadOptions(use_threads=False, block_size=len(text))
        table = arrow_json.read_json(pa.py_buffer(text), reading, options)
    except (ValueError, SyntaxError):  # Arrow's errors are ValueErrors
        return None
    return table if len(table) == block.lines else None


def _looks_regular(block: Block) -> bool:
    """Whether this is UTF-8 in lines from ``{`` to ``}``: then as many JSON objects as lines are one a line."""
    characters, ends = np.frombuffer(block.text, np.uint8), block.ends
    if (characters[block.starts] != ord("{")).any():
        return False
    last = characters[ends - 1]
    last = np.where(last == ord("\r"), characters[ends - 2], last)
    return bool((last == ord("}")).all()) and is_utf8(block.text)


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
        lambda text: _LOOSE_JSON.decode(_LITERAL.sub(_as_json, text)),
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
_LOOSE_JSON = json.JSONDecoder(strict=False)
_WARNINGS = Lock()  # what warns is the process's, not a thread's
_WORDS = {"True": "true", "False": "false", "None": "null"}


def _as_json(match: re.Match[str]) -> str:
    alike, single, double, word = match.groups()
    if alike is not None:
        return alike.replace("'", '"')
    if word is not None:
        return _WORDS[word]
    text = single.replace("\\'", "'") if single is not None else double
    if "\\" in text:  # other escapes are Python's to read
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # doubtful ones
            text = ast.literal_eval(match[0])
    return encode_basestring_ascii(text)


def _literals_as_json(text: str) -> str:
    """Many literals as JSON, if their words are all in quotes, without prefixes; else what JSON refuses."""
    made, start = [], 0
    double, backslash = text.find('"'), text.find("\\")
    while marks := [mark for mark in (double, backslash) if mark >= 0]:
        string = min(marks)
        if text.count("'", start, string) % 2:  # the mark stands in a string
            string = text.rindex("'", start, string)
        match = _LITERAL.match(text, string)
        if match is None or match[1] or match[4]:
            raise ValueError("no literal")
        made += [text[start:string].replace("'", '"'), _as_json(match)]
        start = match.end()
        double, backslash = (
            text.find(mark, start) if 0 <= place < start else place
            for mark, place in (('"', double), ("\\", backslash))
        )
    return "".join((*made, text[start:].replace("'", '"')))
