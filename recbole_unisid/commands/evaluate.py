"""``recbole-unisid evaluate``: predictions of a model that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbole_unisid.commands.options import known_options, positional, take_config_files, whole_number
from recbole_unisid.config.given import given_settings
from recbole_unisid.config.settings import split_keys
from recbole_unisid.errors import UserError

HELP = """\
usage: recbole-unisid evaluate FILE --name=NAME [--dataset=D] [--key=value ...]

Evaluate predictions for the test targets of a split, and write a run folder like that of a run.

  FILE                    ranked lists, .parquet or .csv: user, item, rank or score (and position, where a user
                          has several targets); or .npz: scores [rows, items], user [rows], item [items]
  --name=NAME             the model's name in tables
  --protocol=F            protocol.json of the split; default: the one beside FILE
  --dataset=ml-100k       without a protocol.json: the data set, and settings of the protocol as split has them
  --seed=0                of the model's training: one file a seed
  --seen=auto             in: lists may hold what a user had; out: they do not; auto: look at them
  --missing=error         miss: a target without predictions counts as a miss
  --parameters=N          what the model has, --seconds=S what its training took, --command=C what ran it
  --config_files=F        YAML files of settings, with commas
  --output_dir=runs       the run folder goes to OUTPUT_DIR/DATASET/NAME/SEED-HASH
  --data_path=dataset     where data sets are
"""

_NUMBERS, _OWN = ("seed", "parameters"), ("name", "dataset", "protocol", "seen", "missing", "command")


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    file, rest = positional(arguments)
    options: dict[str, Any] = dict(known_options("evaluate", HELP, rest, split_keys()))
    if file is None or "name" not in options:
        raise UserError(
            "evaluate needs a file and a name, such as evaluate FILE --name=NAME (see evaluate --help)."
        )
    asked: dict[str, Any] = {key: whole_number(options, key, 0) for key in _NUMBERS if key in options}
    asked |= {key: options[key] for key in _OWN if key in options}
    if "seconds" in options:
        try:
            asked["seconds"] = float(options["seconds"])
        except ValueError:
            raise UserError(f"--seconds={options['seconds']} is no number of seconds.") from None
    settings = {key: value for key, value in options.items() if key not in asked}
    settings = given_settings(take_config_files(settings), settings)
    from recbole_unisid.report.tables import summary_table
    from recbole_unisid.runs.predictions import evaluate

    print(summary_table(evaluate(file, config_dict=settings, verbose=False, **asked)))
    return 0
