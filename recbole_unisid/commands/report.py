"""``recbole-unisid report``: one page, and tables, of any set of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_unisid.commands.options import known_options, positionals
from recbole_unisid.errors import UserError

HELP = """\
usage: recbole-unisid report RUN [RUN ...] [--to=DIR] [--reference=MODEL] [--item_file=F] [--latex]

Write report.html, leaderboard.md and leaderboard.csv about finished runs of one data set and protocol.

  RUN                     a run's folder, or a folder above some (all of them)
  --to=.                  where the files go
  --reference=ItemID      the model that the others are compared with; default: the best ID-only one
  --item_file=F           titles for the page, an .item file
  --latex                 print the table as LaTeX, too
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    folders, rest = positionals(arguments)
    options = known_options("report", HELP, rest)
    from recbole_unisid.report.gather import gather_report
    from recbole_unisid.report.page import write_report
    from recbole_unisid.report.run_files import find_runs
    from recbole_unisid.report.tables import to_latex

    runs = find_runs(folders)
    if not runs:
        raise UserError(
            "report needs the folders of finished runs, such as runs/ml-100k (see report --help)."
        )
    report = gather_report(runs, options.get("reference"), options.get("item_file"))
    page = write_report(report, Path(options.get("to", ".")))
    if "latex" in options:
        print(to_latex(report.board))
    print(f"-> {page}")
    return 0
