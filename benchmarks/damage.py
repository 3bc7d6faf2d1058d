"""Damage to files of every kind that the commands read: to bytes, cells, JSON values and arrays.

What is drawn follows from the `random.Random` alone: the same seed damages the same file in the same way.
"""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from test_config_mutations import mutated as mutated_settings

CELLS = [
    "", " ", "NA", '"', '"x', "nan", "inf", "-1", "1e400", "9" * 5000, str(2**70), "x" * 100_000, "é", "[PAD]",
    "a\tb", "\0", "\u2028", "=1+1", "2020-01-01", "31/12/2020", "1,5", "[1]", "{}", "true",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 0, 1.5, 1e308, 2**70, "", "x", "9" * 5000, [], [[[]]], {}, {"a": 1}, [None, "1"], "../../x", "\0",
]  # fmt: skip
PATCHES = [
    b"\xff", b"\0", b"\n", b"\r", b"\t", b'"', b",", b"{", b"[" * 100_000, b"\xe2\x80\xa8", b"\n\n \n", b"\\", b":",
]  # fmt: skip


def damaged_bytes(draw: random.Random, data: bytes) -> bytes:
    """A bit flipped, bytes put in or taken out, the end cut off."""
    place = draw.randrange(len(data)) if data else 0
    match draw.randrange(4):
        case 0:
            return (
                data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
                if data
                else data
            )
        case 1:
            return data[:place] + draw.choice(PATCHES) + data[place + draw.randrange(3) :]
        case 2:
            return data[:place] + data[place + draw.randrange(1, 40) :]
        case _:
            return data[:place]


def damaged_table(draw: random.Random, data: bytes, separator: str) -> bytes:
    """Lines and cells dropped, doubled, changed, shifted; other separators and line ends."""
    lines = [line.split(separator) for line in data.decode("utf-8", "surrogateescape").split("\n")]
    row = draw.choice(lines)
    place, other = draw.randrange(len(row)), draw.randrange(len(lines))
    joint, end = separator, "\n"
    match draw.randrange(9):
        case 0:
            lines.remove(row)
        case 1:
            lines.insert(other, list(row))
        case 2:
            del row[place]
        case 3:
            row.insert(place, row[place])
        case 4 | 5:
            row[place] = draw.choice(CELLS)
        case 6:
            row[:] = [draw.choice(",;\t|").join(row)]
        case 7:
            joint, end = draw.choice([",", ";", "\t", "|", " ", "::"]), draw.choice(["\n", "\r\n", "\r"])
        case _:
            lines[other], row[:] = list(row), list(lines[other])
    return end.join(joint.join(row) for row in lines).encode("utf-8", "surrogateescape")


def damaged_tree(draw: random.Random, tree: Any) -> Any:
    """A value somewhere in JSON of another type, gone, or doubled under another name."""
    inner = tree
    while isinstance(inner, (dict, list)) and inner:
        key = draw.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        if not isinstance(inner[key], (dict, list)) or not inner[key] or draw.random() < 0.2:
            if draw.random() < 0.7:
                inner[key] = draw.choice(VALUES)
            elif isinstance(inner, dict) and draw.random() < 0.3:
                inner[f"{key}s"] = inner[key]
            else:
                del inner[key]
            break
        inner = inner[key]
    return tree


def damaged_json(draw: random.Random, data: bytes) -> bytes:
    """One line of it, or all where it is one value."""
    try:
        return json.dumps(damaged_tree(draw, json.loads(data)), ensure_ascii=False, indent=1).encode()
    except ValueError:
        pass
    lines = data.split(b"\n")
    place = draw.randrange(len(lines))
    try:
        lines[place] = json.dumps(damaged_tree(draw, json.loads(lines[place])), ensure_ascii=False).encode()
    except ValueError:
        lines.insert(draw.randrange(len(lines)), lines[place])
    return b"\n".join(lines)


def damaged_arrays(draw: random.Random, data: bytes) -> bytes:
    """A column of an archive that is gone, short, of another type, of another shape, or has impossible values."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            columns = dict(archive)
    except Exception:  # it is damaged already
        return damaged_bytes(draw, data)
    name = draw.choice(sorted(columns))
    column = columns[name]
    changes: list[Callable[[], Any]] = [
        lambda: column[:-1], lambda: column[:, None], lambda: column.astype(str), lambda: column.astype(object),
        lambda: np.full(len(column), np.nan), lambda: np.full(len(column), 2**63 - 1), lambda: np.float64(3),
        lambda: np.full(len(column), -1), lambda: column[::-1], lambda: column[:0],
        lambda: np.array(["\0x"] * len(column)),
    ]  # fmt: skip
    if draw.random() < 0.15:
        del columns[name]
    else:
        columns[name] = draw.choice(changes)()
    written = io.BytesIO()
    np.savez_compressed(written, **columns)
    return written.getvalue()


def mutant(draw: random.Random, kind: str, data: bytes) -> bytes:
    """The file damaged in one to three places."""
    if kind == "YAML":
        return mutated_settings(draw)[0]
    own: dict[str, Callable[[bytes], bytes]] = {
        "CSV": lambda data: damaged_table(draw, data, ","),
        "JSON lines": lambda data: damaged_json(draw, data),
        "ranks.npz": lambda data: damaged_arrays(draw, data),
        "result.json": lambda data: damaged_json(draw, data),
        "serving.json": lambda data: damaged_json(draw, data),
    }
    of_kind = own.get(kind, lambda data: damaged_table(draw, data, "\t"))
    for _ in range(draw.randint(1, 3)):
        data = of_kind(data) if draw.random() < 0.65 else damaged_bytes(draw, data)
    return data
