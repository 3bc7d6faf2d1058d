"""What a person sees when a run ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

_COLUMNS = (
    "hit/recall@1",
    "hit/recall@5",
    "hit/recall@10",
    "hit/recall@20",
    "ndcg@5",
    "ndcg@10",
    "ndcg@20",
    "mrr",
)
_TITLES = {
    "full": "all items but those seen",
    "full_unfiltered": "all items",
    "sampled99": "99 sampled negatives",
}


def summary_table(results: Sequence[dict[str, Any]]) -> str:
    """Tables of some runs' test figures, with the protocol above and the folders below.

    Parameters
    ----------
    results : sequence of dict
        As ``result.json`` holds them, of one data set.

    Returns
    -------
    str
        One line a run and candidate set.
    """
    first = results[0]
    data, protocol = first["data"], first["protocol"]
    lines = [
        "",
        f"{first['dataset']}: {data['users']:,} users, {data['items']:,} items, {data['interactions']:,} interactions",
        f"test of the {protocol['split'].replace('_', '-')} split, ties {protocol['ties']}; "
        f"best epoch by validation {protocol['valid_metric']}",
    ]
    for name, title in _TITLES.items():
        rows = [_row(result, result["test"][name]) for result in results if result["test"].get(name)]
        if rows:
            used = [c for c in _COLUMNS if any(row.get(c) is not None for row in rows)]
            table = [[row["run"], *[row.get(c) for c in used]] for row in rows]
            heads = [title, *[c.replace("hit/recall", "recall") for c in used]]
            lines += ["", tabulate(table, heads, floatfmt=".4f", tablefmt="simple")]
    lines += ["", *[_footer(result) for result in results]]
    return "\n".join(lines)


def _row(result: dict[str, Any], figures: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"run": f"{result['model']} ({result['seed']})"}
    for key, value in figures.items():
        row[
            key.replace("recall", "hit/recall") if "recall" in key else key.replace("hit@", "hit/recall@")
        ] = value
    return row


def _footer(result: dict[str, Any]) -> str:
    seconds = result["seconds"]["training"]
    tokens = result["parameters"]["tokens"]
    size = "" if tokens is None else f", {tokens:,} token parameters"
    run = f"{result['model']} ({result['seed']})"
    return f"{run}: {result['epochs']} epochs in {seconds:.0f} s{size} -> {result['run_dir']}"
