"""``recbole-unisid runs``: what killed commands left is listed and removed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from recbole_unisid.commands.options import known_options, positional
from recbole_unisid.errors import UserError
from recbole_unisid.files import remove_left_overs

HELP = """\
usage: recbole-unisid runs prune DIR [--dry-run]

Remove what killed commands left in DIR and below: unfinished files, .NAME.XXXXXXXX.part (and .tmpXXXXXX in a run's
checkpoint). What a living process writes stays, and so do runs, checkpoints and downloads that go on.

  --dry-run               list them, remove nothing
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    action, rest = positional(arguments)
    folder, rest = positional(rest)
    dry_run = "dry_run" in known_options("runs", HELP, rest)
    if action != "prune" or folder is None:
        raise UserError("Write recbole-unisid runs prune DIR (see runs --help).")
    if not Path(folder).is_dir():
        raise UserError(f"There is no folder {folder}.")
    count = total = 0
    for place, below, _ in os.walk(folder):
        below[:] = [name for name in below if not name.endswith(".part")]  # what stands in one goes with it
        for left_over, size in remove_left_overs(Path(place), dry_run):
            print(f"{left_over}  {size:,} bytes")
            count, total = count + 1, total + size
    print(f"{'Found' if dry_run else 'Removed'} {count} left-overs, {total:,} bytes.")
    return 0
