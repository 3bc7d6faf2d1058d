"""``recbole-unisid recommend``: next items for users or histories, from a finished run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TextIO

from recbole_unisid.commands.options import known_options, whole_number
from recbole_unisid.errors import UserError

if TYPE_CHECKING:
    from recbole_unisid.serving.loaded import LoadedRun
    from recbole_unisid.serving.requests import Request

HELP = """\
usage: recbole-unisid recommend --run=R --user=U          [-k 10] [--key=value ...]
       recbole-unisid recommend --run=R --history="A, B"
       recbole-unisid recommend --run=R --file=users.txt --format=jsonl
       recbole-unisid recommend --run=R --to=all.parquet [--file=users.txt] [-k 10]

Recommend the next items, with titles, scores and the items of the history that are nearest to them.

  --run=R                 a finished run, runs/DATASET/MODEL/SEED-HASH, or a folder above (the newest there)
  --user=U                a user of the run's data set, with the whole history there
  --history="A, B"        titles (or a part that only one has) or ids, oldest first, commas between; a title
                          with commas is found where it is written out; "A; B" and ["A", "B"] work too
  --file=users.txt        a user a line, or a JSON list of items; - reads standard input
  --to=all.parquet        for everyone, or the users of --file, into a file: .parquet, .csv or .jsonl, a row an item
                          (user, rank, item_id, score); whole or not at all, in the memory of a few users
  -k 10                   items a list
  --seen=filter           leave out what the history has, or keep it
  --format=table          or jsonl: one JSON object a line
  --explain               what adds up to each score: the model's own part by part, and each score term's
  --catalogue=N           version of the catalogue (see add-items); default: the newest
  --leave_out=0           take so many of a user's last items off; 1 is what a run's test saw
  --data_path=DIR         where the data set is, if it has moved
  --device=cpu            or cuda
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    options = known_options("recommend", HELP, arguments)
    asked = [key for key in ("user", "history", "file") if key in options]
    if "run" not in options or (len(asked) != 1 if "to" not in options else asked not in ([], ["file"])):
        raise UserError(
            "recommend needs --run=R and one of --user, --history and --file, or --to with or without --file (see "
            "--help)."
        )
    if "to" in options and {"format", "explain"} & options.keys():
        raise UserError("--to writes by the file's ending, without parts: leave --format and --explain out.")
    kind = options.get("format", "table")
    if kind not in {"table", "jsonl"}:
        raise UserError(f"--format={kind} is neither table nor jsonl.")
    from recbole_unisid.report.run_files import newest_run
    from recbole_unisid.serving.loaded import load

    catalogue = whole_number(options, "catalogue", 1)
    run = load(newest_run(options["run"]), catalogue, options.get("device", "cpu"), options.get("data_path"))
    try:
        _answer(run, options, kind)
    except BrokenPipeError:  # whoever reads has had enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _answer(run: LoadedRun, options: Mapping[str, str], kind: str) -> None:
    """Print the recommendations of each request as soon as its batch is scored."""
    from recbole_unisid.serving.batch import in_parts, write_recommendations
    from recbole_unisid.serving.recommend import as_json_line, as_table, recommend

    k, seen = whole_number(options, "k", 1) or 10, options.get("seen", "filter")
    if "to" in options:
        users, rows = write_recommendations(run, _requests(run, options), options["to"], k, seen)
        print(f"{users:,} users, {rows:,} rows -> {options['to']}")
        return
    write = as_table if kind == "table" else as_json_line
    for batch in in_parts(run, _requests(run, options)):
        lists = recommend(run, [request.history for request in batch], k, seen, explain="explain" in options)
        for request, found in zip(batch, lists, strict=True):
            print(write(run, request, found))
        sys.stdout.flush()


def _requests(run: LoadedRun, options: Mapping[str, str]) -> Iterator[Request]:
    from recbole_unisid.serving.requests import Requests

    requests = Requests(run, whole_number(options, "leave_out", 0) or 0)
    if "user" in options:
        yield requests.of_user(options["user"])
    elif "history" in options:
        yield requests.of_history(options["history"])
    elif "file" not in options:
        yield from requests.of_everyone()
    else:
        name = "standard input" if options["file"] == "-" else options["file"]
        try:
            with _opened(options["file"]) as lines:
                yield from requests.of_lines(lines, name)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{name} cannot be read as text ({error}).") from None


def _opened(file: str) -> AbstractContextManager[TextIO]:
    """A file as text; - is standard input, which stays open."""
    if file == "-":
        return nullcontext(sys.stdin)
    return open(file, encoding="utf-8")
