"""Write the tables of results/ into its pages, from the CSV files beside them.

python .ci/results_tables.py           write
python .ci/results_tables.py --check   status 1 where a page is not what its CSV files say

A page asks for a table with one of two comments; the lines of the table below it are replaced:

<!-- table: FILE.csv -->                            every row and column of the file
<!-- leaderboard: FILE.csv: full ndcg@10, ... -->   models by candidate set and metric of a leaderboard.csv
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "results"
_COMMENT = re.compile(r"^<!-- (table|leaderboard): ([\w.-]+\.csv)(?:: (.*))? -->\n(?:\n?(?:\|.*\n)+)?", re.M)


def table(rows: list[list[str]]) -> str:
    """Markdown of a head and its rows."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"


def read(name: str) -> list[list[str]]:
    """All rows of a file of results/tables."""
    with (RESULTS / "tables" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def leaderboard(name: str, columns: list[str]) -> str:
    """Models as rows; a cell is mean and deviation over seeds, and the relative difference with its interval."""
    head, *body = read(name)
    found = [dict(zip(head, row, strict=True)) for row in body]
    models = list(dict.fromkeys(row["model"] for row in found))
    at = {(row["model"], f"{row['candidates']} {row['metric']}"): row for row in found}
    rows = [["model", "seeds", *columns]]
    for model in models:
        cells = [at[model, column] for column in columns]
        rows.append([model, cells[0]["seeds"], *map(_cell, cells)])
    return table(rows)


def _cell(row: dict[str, str]) -> str:
    spread = f" ± {_short(row['deviation'])}" if row["deviation"] else ""  # one seed has none
    text = _short(row["mean"]) + spread
    if row["difference"]:
        mark = "**" if row["significant"] == "True" else ""
        low, high = float(row["low"]), float(row["high"])
        text += f", {mark}{100 * float(row['relative']):+.1f} %{mark} [{low:+.4f}, {high:+.4f}]"
    return text.replace("+0.", "+.").replace("-0.", "-.")


def _short(number: str) -> str:
    return f"{float(number):.4f}".removeprefix("0")


def filled(text: str) -> str:
    """A page with every table that it asks for."""

    def one(match: re.Match[str]) -> str:
        kind, name, columns = match.groups()
        made = table(read(name)) if kind == "table" else leaderboard(name, columns.split(", "))
        return match[0].partition("\n")[0] + "\n\n" + made

    return _COMMENT.sub(one, text)


def main() -> int:
    """Write or check every page."""
    stale = []
    for page in sorted(RESULTS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (made := filled(text)) != text:
            stale.append(page.name)
            if "--check" not in sys.argv[1:]:
                page.write_text(made, encoding="utf-8")
    for name in stale:
        print(f"results/{name} {'is not what its CSV files say' if '--check' in sys.argv[1:] else 'written'}")
    return int("--check" in sys.argv[1:] and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
