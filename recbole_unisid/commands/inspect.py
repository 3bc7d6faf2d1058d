"""``recbole-unisid inspect``: what a data set is like, before anything is trained on it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from recbole_unisid.commands.options import known_options, positional
from recbole_unisid.data.inspection import inspect_dataset
from recbole_unisid.errors import UserError

HELP = """\
usage: recbole-unisid inspect NAME [--data_path=dataset] [--format=table]     (or --dataset=NAME)

Count users, items, lengths, ties and duplicates; measure the text of every field; test the leak controls;
say what the order of ties is worth, what a global time split tests, and what will break.

  --format=table          or json
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    name, rest = positional(arguments)
    options = known_options("inspect", HELP, rest)
    name = name or options.get("dataset")
    if name is None:
        raise UserError("inspect needs a data set's name (see inspect --help).")
    inspection = inspect_dataset(name, options.get("data_path", "dataset"))
    kind = options.get("format", "table")
    if kind not in {"table", "json"}:
        raise UserError(f"--format={kind} is neither table nor json.")
    print(inspection.as_table() if kind == "table" else json.dumps(inspection.as_json(), indent=1))
    return 0
