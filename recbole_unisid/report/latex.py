"""The leaderboard as a LaTeX table."""

from __future__ import annotations

from recbole_unisid.report.candidate_sets import CANDIDATES, CANDIDATES_LATEX, METRIC_NAMES
from recbole_unisid.report.leaderboard import Column, Leaderboard, Row

_SPECIAL = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
}


def to_latex(board: Leaderboard) -> str:
    """Lay a leaderboard out as a LaTeX ``table`` (package booktabs).

    Parameters
    ----------
    board : Leaderboard
        As :func:`recbole_unisid.report.leaderboard.make_leaderboard` gives it.

    Returns
    -------
    str
        Means with the deviation over seeds as an index; bold as in the other forms, a dagger where a
        model is significantly above the reference, a double dagger where it is below.
    """
    columns = board.columns
    sets = list(dict.fromkeys(candidates for candidates, _ in columns))
    widths = [sum(one == candidates for one, _ in columns) for candidates in sets]
    groups = [
        rf"\multicolumn{{{width}}}{{c}}{{{CANDIDATES_LATEX.get(name, _plain(name))}}}"
        for name, width in zip(sets, widths, strict=True)
    ]
    head = ["Model", *(METRIC_NAMES.get(metric, _plain(metric)) for _, metric in columns), "Token param."]
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_caption(board)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(columns) + 1)}}}",
        r"    \toprule",
        f"    {' & '.join(['', *groups, ''])} \\\\",
        f"    {_rules(widths)}",
        f"    {' & '.join(head)} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(_cells(board, row))} \\\\" for row in board.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _rules(widths: list[int]) -> str:
    """A line under each group of columns; the first column is the model's name."""
    rules, first = [], 2
    for width in widths:
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return " ".join(rules)


def _caption(board: Leaderboard) -> str:
    seeds = len({seed for row in board.rows for seed in row.seeds})
    protocol = board.protocol
    sets = dict.fromkeys(candidates for candidates, _ in board.columns)
    told = "; ".join(f"{CANDIDATES_LATEX.get(name, name).lower()}: {CANDIDATES[name]}" for name in sets)
    marks = (
        ""
        if board.reference is None
        else (
            rf" $\dagger$, $\ddagger$: significantly above, below {_plain(board.reference)} (paired bootstrap over "
            "users, Holm, 5\\,\\%)."
        )
    )
    return (
        f"{_plain(board.dataset)}, {str(protocol.get('split')).replace('_', '-')} split, ties "
        f"{_plain(str(protocol.get('ties')))}; mean and standard deviation over {seeds} seed{'s'[: seeds > 1]}. "
        f"{_plain(told)}. Equal scores count against the model.{marks}"
    )


def _cells(board: Leaderboard, row: Row) -> list[str]:
    tokens = "--" if row.token_parameters is None else f"{row.token_parameters:,}".replace(",", "\\,")
    return [_plain(row.model), *(_cell(board, row, column) for column in board.columns), tokens]


def _cell(board: Leaderboard, row: Row, column: Column) -> str:
    spread, found = row.spreads.get(column), row.comparisons.get(column)
    if spread is None:
        return "--"
    mean = f"{spread.mean:.4f}"
    shown = rf"\textbf{{{mean}}}" if board.bold(column) == row.model else mean
    deviation = "" if spread.deviation is None else rf"_{{\pm {spread.deviation:.4f}}}"
    mark = ""
    if found is not None and found.significant:
        mark = r"^{\dagger}" if found.difference.estimate > 0 else r"^{\ddagger}"
    return f"{shown}${deviation}{mark}$" if deviation or mark else shown


def _plain(text: str) -> str:
    """Text without meaning to LaTeX."""
    return "".join(_SPECIAL.get(char, char) for char in text)
