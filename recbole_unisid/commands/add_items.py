"""``recbole-unisid add-items``: new items into a trained model, without retraining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_unisid.commands.options import known_options, true_or_false
from recbole_unisid.errors import UserError

HELP = """\
usage: recbole-unisid add-items --run=R --items=new.csv [--key=value ...]

Give a run's catalogue a new version with further items: their text is encoded as the run's was, their codes
come from the run's tokenizer as it was fitted, their ID token is the mean of the trained ones. Nothing is
trained, and the versions before stay as they are.

  --run=R                 a finished run of UniSID, SemanticID or DenseText, or a folder above (the newest)
  --items=new.csv         CSV, TSV, JSON lines or Parquet with the columns of the run's item file, or an .item file
  --columns=title=name    field of the run=column of the file, where they are called differently; commas between
  --vectors=F.npy         the items' vectors (and F.ids.txt), for runs whose vectors came from a file
  --show_progress=true
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    options = known_options("add-items", HELP, arguments)
    for key in ("run", "items"):
        if key not in options:
            raise UserError(f"add-items needs --{key}=... (see add-items --help).")
    columns = _columns(options.get("columns", ""))
    from recbole_unisid.report.run_files import newest_run
    from recbole_unisid.report.wording import counted
    from recbole_unisid.serving.add_items import add_items

    show = true_or_false(options, "show_progress", usual=True)
    added = add_items(
        newest_run(options["run"]), Path(options["items"]), columns, options.get("vectors"), show
    )
    count, total = len(added.items.item_ids), added.version.catalogue.n_items
    print(
        f"{counted(count, 'item')} added to {total - count:,}: catalogue {added.version.number} -> {added.path}"
    )
    if added.items.absent:
        print(f"note: the file has no {', '.join(added.items.absent)}, which the run's items have")
    if added.wordless:
        print(
            f"note: of {counted(added.wordless, 'item')} the run's text encoder knows no word; they are all alike"
        )
    return 0


def _columns(text: str) -> dict[str, str]:
    columns = {}
    for part in filter(None, text.split(",")):
        field, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not field or not column:
            raise UserError(f"--columns: '{part}' is not of the form field=column, such as title=name.")
        columns[field] = column
    return columns
