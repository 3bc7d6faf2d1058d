"""Commands in processes forked from one that has imported everything, on small files made for them.

A command takes seconds to import what it needs and a second to work; campaigns of hundreds fork instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from recbole_unisid.commands.main import main as command

USERS, ITEMS, LENGTH = 30, 20, 8
SECONDS, MEMORY = 60, 8 << 30
TEXT = ["--text_encoder=lsa", "--codebook_sizes=[4,4]", "--collisions=none"]


class Outcome(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str
    seconds: float


class Command:
    """A command at work in a process of its own, with bounds of time and memory."""

    def __init__(self, arguments: Sequence[str], words: Path) -> None:
        self.paths, self.start = [words.with_suffix(".out"), words.with_suffix(".err")], time.monotonic()
        self.process = os.fork()
        if self.process:
            return
        status = 70
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            signal.alarm(SECONDS)
            for path, number in zip(self.paths, (1, 2), strict=True):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            status = command(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def kill(self) -> None:
        """Send SIGKILL, also where it has just ended."""
        os.kill(self.process, signal.SIGKILL)

    def ended(self) -> Outcome:
        """Wait for its end; the status is -9 where it was killed."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in self.paths)
        return Outcome(status, out, err, time.monotonic() - self.start)


def in_this_process(arguments: Sequence[str]) -> None:
    """Give a command here: what it imports is there for every fork."""
    with contextlib.redirect_stdout(sys.stderr):
        status = command(arguments)
    assert status == 0, arguments


def write_tables(folder: Path) -> None:
    """A log and items as CSV, TSV and JSON lines, and new items."""
    folder.mkdir(parents=True, exist_ok=True)
    head = ["user_id", "item_id", "rating", "timestamp"]
    log = [
        [
            f"u{user}",
            f"i{(user * 7 + step * 3) % ITEMS}",
            str(1 + step % 5),
            str(1_600_000_000 + 60 * step + user),
        ]
        for user in range(USERS)
        for step in range(LENGTH)
    ]
    items = [[f"i{k}", f"Thing {k} für {k % 3}", f"kind {k % 4}"] for k in range(ITEMS)]
    tables = {"log": [head, *log], "items": [["item_id", "title", "kind"], *items]}
    tables["new"] = [
        ["item_id", "title", "kind"],
        ["n1", "Thing 3 für 2", "kind 1"],
        ["n2", "Thing 7", "kind 0"],
    ]
    for name, table in tables.items():
        for ending, separator in (("csv", ","), ("tsv", "\t")):
            (folder / f"{name}.{ending}").write_text("".join(separator.join(row) + "\n" for row in table))
    records = [
        dict(zip(head, [user, item, int(rating), int(at)], strict=True)) for user, item, rating, at in log
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def prepare_of(folder: Path) -> list[str]:
    """Make the data set of the tables in a folder."""
    return [
        "prepare",
        "toy",
        f"--from-csv={folder}/log.csv",
        f"--items={folder}/items.csv",
        f"--data_path={folder}/data",
    ]


def run_of(folder: Path, model: str, epochs: int = 1) -> list[str]:
    """A short run on the data set."""
    return ["run", f"--model={model}", "--dataset=toy", f"--data_path={folder}/data", f"--output_dir={folder}/runs",
            f"--cache_dir={folder}/cache", f"--epochs={epochs}", "--show_progress=false",
            "--use_gpu=false"]  # fmt: skip
