"""``recbole-unisid board``: a static site of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_unisid.commands.options import known_options, positionals
from recbole_unisid.errors import UserError

HELP = """\
usage: recbole-unisid board RUN [RUN ...] --to=DIR [--small]

Write a static site of finished runs of any data sets: tables, which model to use, and every run to download.

  RUN                     a run's folder, or a folder above some (all of them)
  --to=DIR                where the site goes: index.html, runs.csv, and a folder a data set and protocol
  --small                 without reports and ranks.npz: about 25 kB a run

It is made of result.json, ranks.npz and config.yaml alone; a site can be made of a site.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    folders, rest = positionals(arguments)
    options = known_options("board", HELP, rest)
    if not folders or "to" not in options:
        raise UserError("board needs folders of finished runs and a place, such as board runs --to=site.")
    from recbole_unisid.report.board import write_board

    print(f"-> {write_board(folders, Path(options['to']), 'small' in options)}")
    return 0
