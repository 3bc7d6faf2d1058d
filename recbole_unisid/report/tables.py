"""A leaderboard as Markdown, CSV, LaTeX and a table on screen; and the figures of one run on screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from recbole_unisid.evaluation.notes import further_metrics, notes_on
from recbole_unisid.evaluation.slices import FEWEST_CASES
from recbole_unisid.files import write_text
from recbole_unisid.report.leaderboard import SLICES, TIE_ORDERS, Column, Leaderboard, Row
from recbole_unisid.report.wording import (
    CANDIDATES,
    CANDIDATES_LATEX,
    CANDIDATES_SHORT,
    LISTS,
    LISTS_TOLD,
    METRIC_NAMES,
    count,
    counted,
    decimal,
    split_numbers,
    tested,
)

_CSV_FIELDS = (
    *("dataset", "split", "order", "ties", "model", "seeds", "candidates", "metric", "mean", "deviation"),
    *("reference", "difference", "low", "high", "relative", "p", "p_holm", "significant", "protocol"),
)
_STATISTICS = (
    "Differences of means over seeds, user by user; the interval is a paired bootstrap over users (10,000 "
    "samples), not corrected; p is corrected by Holm's method over the models of a column. A difference is "
    "significant (▲ ▼) where the corrected p is below .05 and the interval excludes 0."
)


def write_leaderboard(board: Leaderboard, folder: str | Path) -> None:
    """Write ``leaderboard.md`` and ``leaderboard.csv``, each whole or not at all."""
    write_text(Path(folder) / "leaderboard.md", to_markdown(board))
    write_text(Path(folder) / "leaderboard.csv", to_csv(board))


def to_csv(board: Leaderboard) -> str:
    """One line for each model, candidate set and metric; what has no value is empty."""
    shared = [board.protocol.get(name) for name in ("split", "order", "ties")]
    lines: list[list[Any]] = []
    for row in board.rows:
        for (candidates, metric), spread in row.spreads.items():
            measured = [spread.seeds, candidates, metric, spread.mean, spread.deviation]
            against: list[Any] = [None] * 8
            found = row.comparisons.get((candidates, metric))
            if found is not None:
                *ends, p = found.difference
                against = [found.reference, *ends, found.relative, p, found.p_holm, found.significant]
            lines.append([board.dataset, *shared, row.model, *measured, *against, board.protocol_hash])
    return pd.DataFrame(lines, columns=_CSV_FIELDS, dtype=object).to_csv(index=False)


def to_markdown(board: Leaderboard) -> str:
    """Figures, differences, slices, and the protocol of them all."""
    columns = [f"{METRIC_NAMES[metric]} {candidates}" for candidates, metric in board.columns]
    head = ["Model", "Seeds", "Token parameters", *columns, "Training seconds"]
    parts = [
        f"# {board.dataset}",
        " ".join(filter(None, [f"{board.sizes}. {_protocol(board)}", _tested(board.data)])),
        _grid(head, _lines(board, lambda row, column: _with_deviation(board, row, column))),
        " ".join([*_legend(board), "± is the standard deviation over seeds."]),
    ]
    if board.reference is not None and len(board.rows) > 1:
        head = ["Model", "Candidates", "Metric", "Difference", "95 % interval", "Relative", "p (Holm)", ""]
        parts += ["The best of a column is bold where it is ▲."]
        parts += [f"## Against {board.reference}", _grid(head, _differences(board)), _STATISTICS]
    if any(row.slices for row in board.rows):
        parts += ["## NDCG@10 full, in slices", *_slices({r.model: r.slices for r in board.rows if r.slices})]
    parts += _other_slices(board)
    ordered = [row for row in board.rows if row.tie_orders]
    if ordered:
        head = ["Model", *TIE_ORDERS.values()]
        lines = [[row.model, *(decimal(row.tie_orders[name]) for name in TIE_ORDERS)] for row in ordered]
        parts += [f"## NDCG@10 full, by which item of the target's time comes last ({_tied(ordered[0])})"]
        parts += [_grid(head, lines)]
    if any(row.lists for row in board.rows):
        head = ["Model", *LISTS.values()]
        lines = [
            [row.model, *(decimal(row.lists.get(key)) for key in LISTS)] for row in board.rows if row.lists
        ]
        parts += ["## The first ten of each list", _grid(head, lines), LISTS_TOLD]
    if board.controls:
        head = ["Control", "R@10 full_unfiltered", "R@10 full"]
        parts += ["## Leak controls", _grid(head, [_control(*one) for one in board.controls.items()])]
    parts += [f"> {note}" for note in board.notes]
    return "\n\n".join(parts) + "\n"


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in [head, rule, *lines]
    )


def _lines(board: Leaderboard, figure: Callable[[Row, Column], str]) -> list[list[str]]:
    """The models' lines of the main table."""
    lines = []
    for row in board.rows:
        figures = [figure(row, column) if column in row.spreads else "–" for column in board.columns]
        about = [row.model, str(len(row.seeds)), count(row.token_parameters)]
        lines.append([*about, *figures, count(row.seconds)])
    return lines


def _with_deviation(board: Leaderboard, row: Row, column: Column) -> str:
    """The mean, bold or not, with its deviation over seeds and its mark."""
    spread = row.spreads[column]
    mean = decimal(spread.mean)
    text = f"**{mean}**" if board.bold(column) == row.model else mean
    deviation = "" if spread.deviation is None else f"± {decimal(spread.deviation)}"
    return " ".join(filter(None, [text, deviation, row.sign(column)]))


def _differences(board: Leaderboard) -> list[list[str]]:
    return [
        [
            row.model,
            *column,
            f"{found.difference.estimate:+.4f}",
            f"{found.difference.low:+.4f} .. {found.difference.high:+.4f}",
            "–" if found.relative is None else f"{100 * found.relative:+.1f} %",
            f"{found.p_holm:.4f}",
            row.sign(column),
        ]
        for row in board.rows
        for column, found in row.comparisons.items()
    ]


def _slices(by_model: Mapping[str, Mapping[str, Any]], metric: str = "ndcg@10") -> Iterator[str]:
    first = _shared(by_model)
    head = ["Model", *(f"{name} ({figures['n']:,})" for name, figures in first.items())]
    yield _grid(
        head,
        [[m, *(_slice_cell(slices[name], metric) for name in first)] for m, slices in by_model.items()],
    )
    rules = "; ".join(f"{name}: {figures['rule']}" for name, figures in first.items())
    few = f"Fewer than {FEWEST_CASES} cases: in parentheses, no ground for claims."
    yield f"Means over seeds. {rules}. {few}"


def _tied(row: Row) -> str:
    return f"{row.tie_orders['cases']:,.0f} targets tie"


def _shared(by_model: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The slices that all of these models have."""
    first, *rest = by_model.values()
    return {name: one for name, one in first.items() if all(name in slices for slices in rest)}


def _other_slices(board: Leaderboard) -> Iterator[str]:
    """The slices of other candidate sets than `full`, each kind under a title."""
    for kind, columns in SLICES.items():
        found = {row.model: row.other_slices[kind] for row in board.rows if row.other_slices.get(kind)}
        for candidates, metric in columns if found else ():
            yield f"## {METRIC_NAMES[metric]} {candidates}, in slices"
            yield from _slices(found, metric)


def _slice_cell(figures: Mapping[str, Any], metric: str) -> str:
    shown = decimal(figures[metric])
    return shown if figures[metric] is None or figures["n"] >= FEWEST_CASES else f"({shown})"


def _control(name: str, sets: Mapping[str, Any]) -> list[str]:
    return [name, *(decimal((sets.get(one) or {}).get("recall@10")) for one in ("full_unfiltered", "full"))]


def _protocol(board: Leaderboard) -> str:
    protocol, seeds = board.protocol, board.seeds
    split = split_numbers(protocol) or protocol.get("split")
    filters = f" of data filtered by {protocol['filters']}" if protocol.get("filters") else ""
    return (
        f"Split {split}{filters}, order {protocol.get('order')}, ties {protocol.get('ties')}; "
        f"{_chosen(protocol)}; "
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}. Protocol {board.protocol_hash}."
    )


def _chosen(protocol: Mapping[str, Any]) -> str:
    metric = protocol.get("valid_metric")
    return f"model chosen by validation {metric}" if metric else "models chosen elsewhere"


def _tested(data: Mapping[str, Any]) -> str:
    told = tested(data)
    return f"Tested on {told}." if told else ""


def _legend(board: Leaderboard) -> list[str]:
    lines = [f"{name}: {CANDIDATES[name]}." for name in board.candidates]
    lines.append("Equal scores count against the model.")
    if board.reference is None:
        lines.append("No model here is ID-only, so nothing is compared: name a reference.")
    elif len(board.rows) > 1:
        lines.append(f"▲ ▼ significantly above, below {board.reference} (Holm, 5 %).")
    return lines


def to_screen(board: Leaderboard) -> str:
    """Lay a leaderboard out in about a hundred columns; spreads and intervals are left to the files."""

    def figure(row: Row, column: Column) -> str:  # room for a mark: digits stand below one another
        return f"{decimal(row.spreads[column].mean)} {row.sign(column) or ' '}"

    columns = board.columns
    lines = [
        ["", "", "Token", *(candidates for candidates, _ in columns), "Training"],
        ["Model", "Seeds", "parameters", *(METRIC_NAMES[metric] for _, metric in columns), "seconds"],
        *_lines(board, figure),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = [
        "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip()
        for name, *cells in lines
    ]
    title = f"{board.dataset}. {_protocol(board)}"
    sliced = [line for part in _sliced_on_screen(board) for line in ("", part)]
    title = "\n".join(filter(None, [title, _tested(board.data)]))
    return "\n".join([title, "", *body, *sliced, "", *_legend(board), *board.notes]) + "\n"


def _sliced_on_screen(board: Leaderboard) -> Iterator[str]:
    """Head and tail among 100 negatives, repeated and new targets: the first two slices of each kind."""
    ordered = [row for row in board.rows if row.tie_orders]
    if ordered:
        lines = [[row.model, *(row.tie_orders[name] for name in TIE_ORDERS)] for row in ordered]
        head = [f"NDCG@10 full, last of a time ({_tied(ordered[0])})", *TIE_ORDERS.values()]
        yield tabulate(lines, head, "plain", floatfmt=".4f")
    for kind, columns in SLICES.items():
        found = {row.model: row.other_slices[kind] for row in board.rows if row.other_slices.get(kind)}
        if not found:
            continue
        first = next(iter(found.values()))
        names = list(_shared(found))[:2]
        for candidates, metric in columns:
            lines = [
                [model, row.spreads[candidates, metric].mean, *(slices[name][metric] for name in names)]
                for row in board.rows
                if (slices := found.get(model := row.model))
            ]
            cases = [f"{name} ({first[name]['n']:,})" for name in names]
            head = [f"{METRIC_NAMES[metric]} {candidates}", "overall", *cases]
            yield tabulate(lines, head, "plain", floatfmt=".4f", missingval="–")
        yield "; ".join(f"{name}: {first[name]['rule']}" for name in names) + "."


_COLUMNS = ("recall@1", "recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr")


def summary_table(result: Mapping[str, Any]) -> str:
    """The test figures of one run (``result.json`` and ``run_dir``), one line a candidate set, with the protocol."""
    data, protocol, tokens = result["data"], result["protocol"], result["parameters"]["tokens"]
    # With one target a user, a hit is a recall of 1: one name for both.
    rows = {
        title: {key.replace("hit@", "recall@"): value for key, value in result["test"][name].items()}
        for name, title in CANDIDATES_SHORT.items()
        if result["test"].get(name)
    }
    used = [column for column in _COLUMNS if any(column in row for row in rows.values())]
    grid = [[title, *(row.get(column) for column in used)] for title, row in rows.items()]
    size = "" if tokens is None else f", {tokens:,} token parameters"
    further = ", ".join(f"{key} {value}" for key, value in further_metrics(result).items())
    found = result["test"].get("lists") or {}
    lists = ", ".join(f"{words} {found[key]:.4f}" for key, words in LISTS.items() if key in found)
    notes = [*filter(None, [result.get("order_note")]), *notes_on(result)]
    trained, best = "nothing to train", "a rule"
    if result.get("predictions"):
        trained, best = "trained elsewhere", "the model was chosen elsewhere"
    elif result["epochs"]:
        trained = f"{counted(result['epochs'], 'epoch')} in {result['seconds']['training']:.0f} s{size}"
        best = f"best epoch by validation {protocol['valid_metric']}"
        if result.get("valid") is None:
            best = "nothing was validated: the last epoch is kept"
    return "\n".join(
        [
            "",
            f"{result['dataset']}: {data['users']:,} users, {data['items']:,} items, "
            f"{data['interactions']:,} interactions",
            f"test of the {protocol['split'].replace('_', '-')} split, ties {protocol['ties']}; {best}",
            *filter(None, [split_numbers(protocol), _tested(data)]),
            "",
            tabulate(grid, ["candidates", *used], floatfmt=".4f", missingval=""),
            *(line for part in _slices_of_run(result["test"]) for line in ("", part)),
            *(["", f"First ten of each list: {lists}"] if lists else []),
            *(["", f"RecBole's own: {further}"] if further else []),
            *(["", *(f"note: {note}" for note in notes)] if notes else []),
            "",
            f"{result['model']} ({result['seed']}): {trained} -> {result['run_dir']}",
        ]
    )


def _slices_of_run(test: Mapping[str, Any]) -> Iterator[str]:
    """The first two slices of each kind but those of `full`, with a line for each; the order of ties."""
    ordered = test.get("tie_orders")
    if ordered:
        told = [[words, ordered["full"]["ndcg@10"][name]] for name, words in TIE_ORDERS.items()]
        yield tabulate(
            told, [f"last of a time ({ordered['cases']:,} targets tie)", "NDCG@10"], floatfmt=".4f"
        )
    for kind, ((candidates, _), *_) in SLICES.items():
        sliced = {} if kind == "slices" else test.get(kind) or {}
        hits = "hit@10" if candidates.startswith("sampled") else "recall@10"
        lines = [
            [f"{name}: {one['rule']}", one["n"], one[hits], one["ndcg@10"]]
            for name, one in list(sliced.items())[:2]
        ]
        if lines:
            yield tabulate(lines, [candidates, "cases", METRIC_NAMES[hits], "NDCG@10"], floatfmt=".4f")


_SPECIAL = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
}
_DAGGERS = {"": "", "▲": r"^{\dagger}", "▼": r"^{\ddagger}"}


def to_latex(board: Leaderboard) -> str:
    """Lay a leaderboard out as a LaTeX ``table`` (package booktabs).

    The deviation over seeds is an index; bold is as in the other forms, a dagger stands where a model is
    significantly above the reference, a double dagger where it is below.
    """
    sets = [candidates for candidates, _ in board.columns]
    groups, rules, first = [], [], 2  # the first column is the model's name
    for name in board.candidates:
        width = sets.count(name)
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{CANDIDATES_LATEX[name]}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    head = ["Model", *(METRIC_NAMES[metric] for _, metric in board.columns), "Token param."]
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_caption(board)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(sets) + 1)}}}",
        r"    \toprule",
        f"    {' & '.join(['', *groups, ''])} \\\\",
        f"    {' '.join(rules)}",
        f"    {' & '.join(head)} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(_latex_line(board, row))} \\\\" for row in board.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _caption(board: Leaderboard) -> str:
    seeds, protocol = len(board.seeds), board.protocol
    numbers = split_numbers(protocol)
    told = "; ".join(f"{CANDIDATES_LATEX[name].lower()}: {CANDIDATES[name]}" for name in board.candidates)
    marks = ""
    if board.reference is not None:
        marks = (
            rf" $\dagger$, $\ddagger$: significantly above, below {_plain(board.reference)} (paired bootstrap over "
            "users, Holm, 5\\,\\%)."
        )
    return (
        f"{_plain(board.dataset)}, {_plain(numbers) or str(protocol.get('split')).replace('_', '-') + ' split'}, ties "
        f"{_plain(str(protocol.get('ties')))}; mean and standard deviation over {seeds} seed{'s'[: seeds > 1]}. "
        f"{_plain(told)}. Equal scores count against the model.{marks}"
    )


def _latex_line(board: Leaderboard, row: Row) -> list[str]:
    tokens = "--" if row.token_parameters is None else f"{row.token_parameters:,}".replace(",", "\\,")
    return [_plain(row.model), *(_latex_cell(board, row, column) for column in board.columns), tokens]


def _latex_cell(board: Leaderboard, row: Row, column: Column) -> str:
    spread = row.spreads.get(column)
    if spread is None:
        return "--"
    mean = f"{spread.mean:.4f}"
    shown = rf"\textbf{{{mean}}}" if board.bold(column) == row.model else mean
    deviation = "" if spread.deviation is None else rf"_{{\pm {spread.deviation:.4f}}}"
    mark = _DAGGERS[row.sign(column)]
    return f"{shown}${deviation}{mark}$" if deviation or mark else shown


def _plain(text: str) -> str:
    """Text without meaning to LaTeX."""
    return "".join(_SPECIAL.get(char, char) for char in text)
