"""A leaderboard as Markdown, as CSV and as a table on screen."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from recbole_unisid.evaluation.slices import FEWEST_CASES
from recbole_unisid.evaluation.statistics import Comparison
from recbole_unisid.files import write_text
from recbole_unisid.report.candidate_sets import CANDIDATES, METRIC_NAMES
from recbole_unisid.report.leaderboard import Column, Leaderboard, Row

#: Writes one figure of a row.
_Figure = Callable[[Leaderboard, Row, Column], str]
_CSV_FIELDS = (
    *("dataset", "split", "order", "ties", "model", "seeds", "candidates", "metric", "mean", "deviation"),
    *("reference", "difference", "low", "high", "relative", "p", "p_holm", "significant"),
)


def write_leaderboard(board: Leaderboard, folder: str | Path) -> None:
    """Write ``leaderboard.md`` and ``leaderboard.csv``, each whole or not at all.

    Parameters
    ----------
    board : Leaderboard
        What to write.
    folder : str or Path
        Where; it is made.
    """
    write_text(Path(folder) / "leaderboard.md", to_markdown(board))
    write_text(Path(folder) / "leaderboard.csv", to_csv(board))


def to_markdown(board: Leaderboard) -> str:
    """Lay a leaderboard out in Markdown: figures, differences, slices, and the protocol of them all.

    Parameters
    ----------
    board : Leaderboard
        What to lay out.

    Returns
    -------
    str
        The text of ``leaderboard.md``.
    """
    data = board.data
    columns = [f"{METRIC_NAMES[metric]} {candidates}" for candidates, metric in board.columns]
    head = ["Model", "Seeds", "Token parameters", *columns, "Training seconds"]
    parts = [
        f"# {board.dataset}",
        f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} interactions. "
        f"{_protocol(board)}",
        _grid(head, [_cells(board, row, _markdown_cell) for row in board.rows]),
        " ".join([*_legend(board), "± is the standard deviation over seeds."]),
    ]
    if board.reference is not None and len(board.rows) > 1:
        parts += ["The best of a column is bold where it is ▲."]
        parts += [f"## Against {board.reference}", _grid(_DIFFERENCE_HEAD, _differences(board)), _STATISTICS]
    slices = [row for row in board.rows if row.slices]
    if slices:
        parts += ["## NDCG@10 full, in slices", _slice_grid(slices), _slice_rules(slices[0])]
    if board.controls:
        parts += [
            "## Leak controls",
            _grid(["Control", "R@10 full_unfiltered", "R@10 full"], _controls(board)),
        ]
    parts += [f"> {note}" for note in board.notes]
    return "\n\n".join(parts) + "\n"


def to_csv(board: Leaderboard) -> str:
    """Lay a leaderboard out as CSV, one line for each model, candidate set and metric.

    Parameters
    ----------
    board : Leaderboard
        What to lay out.

    Returns
    -------
    str
        The text of ``leaderboard.csv``; what has no value is empty.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, _CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    shared = {"dataset": board.dataset} | {
        name: board.protocol.get(name) for name in ("split", "order", "ties")
    }
    for row in board.rows:
        for (candidates, metric), spread in row.spreads.items():
            line = shared | {"model": row.model, "candidates": candidates, "metric": metric}
            line |= {"mean": spread.mean, "deviation": spread.deviation, "seeds": spread.seeds}
            found = row.comparisons.get((candidates, metric))
            if found is not None:
                line |= {"reference": found.reference, "relative": found.relative}
                line |= {"difference": found.difference.estimate, "p": found.difference.p_value}
                line |= {"low": found.difference.low, "high": found.difference.high}
                line |= {"p_holm": found.p_holm, "significant": found.significant}
            writer.writerow(line)
    return out.getvalue()


def to_screen(board: Leaderboard) -> str:
    """Lay a leaderboard out in columns for a terminal; spreads and intervals are left to the files.

    Parameters
    ----------
    board : Leaderboard
        What to lay out.

    Returns
    -------
    str
        Lines of about a hundred columns.
    """
    columns = board.columns
    head = [
        ["", "", "Token", *(candidates for candidates, _ in columns), "Training"],
        ["Model", "Seeds", "parameters", *(METRIC_NAMES[metric] for _, metric in columns), "seconds"],
    ]
    lines = head + [_cells(board, row, _screen_cell) for row in board.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    ]
    title = f"{board.dataset}. {_protocol(board)}"
    return "\n".join([title, "", *body, "", *_legend(board), *board.notes]) + "\n"


_DIFFERENCE_HEAD = [
    "Model",
    "Candidates",
    "Metric",
    "Difference",
    "95 % interval",
    "Relative",
    "p (Holm)",
    "",
]
_STATISTICS = (
    "Differences of means over seeds, user by user; the interval is a paired bootstrap over users (10,000 "
    "samples), not corrected; p is corrected by Holm's method over the models of a column. A difference is "
    "significant (▲ ▼) where the corrected p is below .05 and the interval excludes 0."
)


def _cells(board: Leaderboard, row: Row, figure: _Figure) -> list[str]:
    """One model's line of the main table."""
    figures = [figure(board, row, column) if column in row.spreads else "–" for column in board.columns]
    seconds = None if row.seconds is None else round(row.seconds)
    return [row.model, str(len(row.seeds)), _number(row.token_parameters), *figures, _number(seconds)]


def _screen_cell(board: Leaderboard, row: Row, column: Column) -> str:
    """The mean, and room for a mark so that the digits of a column stand below one another."""
    return f"{_decimal(row.spreads[column].mean)} {_mark(row.comparisons.get(column)) or ' '}"


def _markdown_cell(board: Leaderboard, row: Row, column: Column) -> str:
    """The mean, bold or not, with its deviation over seeds and its mark."""
    spread = row.spreads[column]
    mean = _decimal(spread.mean)
    text = f"**{mean}**" if board.bold(column) == row.model else mean
    deviation = "" if spread.deviation is None else f"± {_decimal(spread.deviation)}"
    return " ".join(filter(None, [text, deviation, _mark(row.comparisons.get(column))]))


def _mark(found: Comparison | None) -> str:
    """▲ or ▼ where a model is significantly above or below the reference."""
    if found is None or not found.significant:
        return ""
    return "▲" if found.difference.estimate > 0 else "▼"


def _differences(board: Leaderboard) -> list[list[str]]:
    lines = []
    for row in board.rows:
        for (candidates, metric), found in row.comparisons.items():
            low, high = found.difference.low, found.difference.high
            lines.append(
                [
                    row.model,
                    candidates,
                    metric,
                    _signed(found.difference.estimate),
                    f"{_signed(low)} .. {_signed(high)}",
                    "–" if found.relative is None else f"{100 * found.relative:+.1f} %",
                    f"{found.p_holm:.4f}",
                    _mark(found),
                ]
            )
    return lines


def _slice_grid(rows: Sequence[Row]) -> str:
    names = list(rows[0].slices)
    head = ["Model", *(f"{name} ({rows[0].slices[name]['n']:,})" for name in names)]
    return _grid(head, [[row.model, *(_slice_cell(row.slices[name]) for name in names)] for row in rows])


def _slice_cell(figures: dict[str, object]) -> str:
    value, cases = figures["ndcg@10"], figures["n"]
    if not isinstance(value, float) or not isinstance(cases, int):
        return "–"
    return _decimal(value) if cases >= FEWEST_CASES else f"({_decimal(value)})"


def _slice_rules(row: Row) -> str:
    rules = "; ".join(f"{name}: {figures['rule']}" for name, figures in row.slices.items())
    return (
        f"Means over seeds. {rules}. Fewer than {FEWEST_CASES} cases: in parentheses, no ground for claims."
    )


def _controls(board: Leaderboard) -> list[list[str]]:
    lines = []
    for name, sets in board.controls.items():
        values = [(sets.get(candidates) or {}).get("recall@10") for candidates in ("full_unfiltered", "full")]
        lines.append([name, *("–" if value is None else _decimal(value) for value in values)])
    return lines


def _protocol(board: Leaderboard) -> str:
    protocol = board.protocol
    seeds = sorted({seed for row in board.rows for seed in row.seeds})
    return (
        f"Split {protocol.get('split')}, order {protocol.get('order')}, ties {protocol.get('ties')}; "
        f"model chosen by validation {protocol.get('valid_metric')}; "
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}."
    )


def _legend(board: Leaderboard) -> list[str]:
    sets = dict.fromkeys(candidates for candidates, _ in board.columns)
    lines = [f"{name}: {CANDIDATES[name]}." for name in sets]
    lines.append("Equal scores count against the model.")
    if board.reference is None:
        lines.append("No model here is ID-only, so nothing is compared: name a reference.")
    elif len(board.rows) > 1:
        lines.append(f"▲ ▼ significantly above, below {board.reference} (Holm, 5 %).")
    return lines


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in [head, rule, *lines]
    )


def _decimal(value: float) -> str:
    return f"{value:.4f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}"


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
