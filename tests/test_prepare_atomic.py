"""Atomic files as people hand them on: three hundred damaged ones, each a clear line or every row accounted for."""

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import compute as pc

from recbole_unisid.data.atomic_files import read_atomic
from recbole_unisid.data.atomic_text import MISSING_WORDS, usable_id
from recbole_unisid.data.inspection import inspect_dataset
from recbole_unisid.data.sources.values import numbers_in
from recbole_unisid.errors import UserError

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ITEM = "item_id:token\ttitle:token_seq\tprice:float"


def faulty_lines(
    path: Path, ids: Sequence[str], numbers: Sequence[str], separator: str = "\t"
) -> dict[str, list[int]]:
    """The lines of an atomic file that pandas and RecBole would lose, misread or stop at, by reason.

    Every row must have a name in the columns `ids` and a number in `numbers`. A line stands under the first reason
    that holds. For files that are no such files see :func:`read_atomic`.
    """
    faults: dict[str, list[int]] = defaultdict(list)
    missing = pa.array(sorted(MISSING_WORDS))
    for lines, table, unread in read_atomic(path, [*ids, *numbers], separator)[1]:
        checks = {f"no {name}": pc.is_in(table[name], missing) for name in ids}
        for name in numbers:
            found = numbers_in(table[name])
            checks[f"no {name}"] = pc.is_null(found)
            checks[f"{name} is no number"] = pc.invert(pc.is_finite(found))
        checks |= {f'{name} begins with "': pc.starts_with(table[name], '"') for name in table.column_names}
        said: set[int] = set()
        for reason, marks in checks.items():
            rows = set(pc.indices_nonzero(marks).to_pylist()) - said
            unread[reason] = lines[sorted(rows)].tolist()
            said |= rows
        for reason, found in unread.items():
            faults[reason] += found
    return {reason: found for reason, found in faults.items() if found}


def tiny() -> tuple[list[str], list[str]]:
    """Forty users with eight of twenty items each, and the items."""
    log = [
        f"u{u}\ti{(u * 7 + step * 3) % 20}\t4\t{1_600_000_000 + 60 * step}"
        for u in range(40)
        for step in range(8)
    ]
    return [INTER, *log], [ITEM, *(f"i{k}\tThing {k}\t{k}.5" for k in range(20))]


def write(folder: Path, inter: bytes, item: bytes) -> Path:
    (folder / "tiny").mkdir(exist_ok=True)
    (folder / "tiny" / "tiny.inter").write_bytes(inter)
    (folder / "tiny" / "tiny.item").write_bytes(item)
    return folder / "tiny" / "tiny.inter"


def joined(lines: list[str]) -> bytes:
    return "\n".join([*lines, ""]).encode()


def test_every_reason_with_its_lines(tmp_path: Path) -> None:
    log, items = tiny()
    log[20] = "\ti3\t4\t1600000001"
    log[21] = "u1\t\t4\t1600000002"
    log[22] = "u1\ti3\t4\tsoon"
    log[23] = "u1\ti3\t4"
    log[24] = 'u1\t"i3\t4\t1600000002'
    log[25] = "u1\tNA\t4\t1600000002"
    log[26] = "u1\ti3\t4\t"
    data = joined(log).replace(b"\nu9\t", b"\r\n\xff\t", 1)
    path = write(tmp_path, data, joined(items))
    assert faulty_lines(path, ["user_id", "item_id"], ["timestamp"]) == {
        "no user_id": [21],
        "no item_id": [22, 26],
        "timestamp is no number": [23],
        "no timestamp": [27],
        "wrong number of cells": [24],
        'item_id begins with "': [25],
        "not UTF-8": [data[: data.index(b"\xff")].count(b"\n") + 1],
    }
    with pytest.raises(UserError, match="no column session"):
        faulty_lines(path, ["session"], [])
    assert faulty_lines(tmp_path / "tiny" / "tiny.item", ["item_id"], ["price"]) == {}
    path.write_bytes(b"\xef\xbb\xbf" + joined(tiny()[0]).replace(b"\n", b"\r\n").replace(b"\t", b","))
    assert faulty_lines(path, ["user_id", "item_id"], ["timestamp"], separator=",") == {}
    path.write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        faulty_lines(path, [], [])


def damaged(draw: random.Random, lines: list[str]) -> bytes:
    """The lines with one to three wounds: cells, rows, bytes, line ends, marks."""
    cells = [line.split("\t") for line in lines]
    for _ in range(draw.randint(1, 3)):
        row = draw.choice(cells)
        place = draw.randrange(len(row))
        kind = draw.randrange(5)
        if kind == 0:
            row[place] = draw.choice(
                ["", " ", "NA", '"', '"x', "nan", "inf", "1e400", "x" * 300, "é", "[PAD]", "-", "0"]
            )
        elif kind == 1 and len(row) > 1:
            del row[place]
        elif kind == 2:
            row.insert(place, draw.choice(["", "extra"]))
        elif kind == 3:
            cells.insert(draw.randrange(len(cells)), list(draw.choice(cells)))
        else:
            cells.remove(row) if len(cells) > 1 else None
    data = joined(["\t".join(row) for row in cells])
    if draw.random() < 0.5:
        at = draw.randrange(len(data))
        patch = draw.choice(
            [b"\xff", b"\0", b"\n", b"\r", b"\r\n", b"\t", b'"', b"\xe2\x80\xa8", b"\n\n  \n"]
        )
        data = data[:at] + patch + data[at + draw.randint(0, 2) :]
    wraps = (data, data.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + data, data.removesuffix(b"\n"))
    return draw.choice(wraps)


def test_three_hundred_damaged_files(tmp_path: Path) -> None:
    log, items = tiny()
    outcomes = {"sound": 0, "lines left out": 0}
    refusals: list[str] = []
    for seed in range(300):
        draw = random.Random(seed)
        damage_log = draw.random() < 0.7
        inter = damaged(draw, log) if damage_log else joined(log)
        path = write(tmp_path, inter, joined(items) if damage_log else damaged(draw, items))
        try:
            facts = inspect_dataset("tiny", tmp_path)
            faults = faulty_lines(path, ["user_id", "item_id"], ["timestamp"])
        except UserError as error:
            refusals.append(str(error))
            continue
        # What a reader of one's own keeps: four cells, names and a time that can be used.
        rows = [line.removesuffix(b"\r") for line in inter.split(b"\n")[1:] if line.strip()]
        kept = [row for row in rows if usable(row)]
        assert facts.interactions == len(kept), seed
        said = [warning for warning in facts.warnings if warning.startswith(".inter: ")]
        assert sum(int(warning.split()[1]) for warning in said) == len(rows) - len(kept), (seed, said)
        left_out = {line for lines in faults.values() for line in lines}
        assert len(left_out) == sum(map(len, faults.values())), seed
        outcomes["sound"] += 1
        outcomes["lines left out"] += len(rows) - len(kept)
    assert outcomes["sound"] > 200, outcomes
    assert len(refusals) > 5
    assert all("tiny" in line and "\n" not in line for line in refusals)
    assert outcomes["lines left out"] > 100, outcomes


def usable(row: bytes) -> bool:
    try:
        cells = row.decode().split("\t")
        return (
            len(cells) == 4
            and usable_id(cells[0])
            and usable_id(cells[1])
            and abs(float(cells[3])) < float("inf")
        )
    except ValueError:
        return False
