"""``recbole-unisid split``: what a run trains on and asks for, as files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbole_unisid.commands.options import known_options, positional, take_config_files
from recbole_unisid.config.given import given_settings
from recbole_unisid.config.settings import split_keys
from recbole_unisid.errors import UserError

HELP = """\
usage: recbole-unisid split DATASET --to=DIR [--key=value ...]

Write train, valid and test of a data set as Parquet and CSV for models that are trained elsewhere.

  DATASET                 a folder under --data_path, such as ml-100k
  --to=DIR                where the files go: a row has user, item, position in the user's history, time;
                          items.* is the catalogue, unused.* stands in histories alone
  --split=leave_one_out   or global_time, cold_items; with --ties, --eval_args and filters as run has them
  --data_path=dataset     where data sets are
  --config_files=F        YAML files of settings, with commas

DIR/protocol.json names the split by a hash: recbole-unisid evaluate checks it.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    dataset, rest = positional(arguments)
    options: dict[str, Any] = dict(known_options("split", HELP, rest, split_keys()))
    folder = options.pop("to", None)
    if dataset is None or folder is None:
        raise UserError(
            "split needs a data set and a folder, such as split ml-100k --to=DIR (see split --help)."
        )
    settings = given_settings(take_config_files(options), options)
    from recbole_unisid.report.wording import split_told
    from recbole_unisid.runs.split_files import split

    protocol = split(dataset, folder, settings)
    rows = ", ".join(f"{count:,} {name}" for name, count in protocol["rows"].items())
    print(f"{split_told(protocol['protocol'])}\n{rows}\nprotocol {protocol['hash']} -> {folder}")
    return 0
