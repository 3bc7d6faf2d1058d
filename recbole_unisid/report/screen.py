"""What a person sees when a run ends."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from recbole_unisid.report.candidate_sets import CANDIDATES_SHORT

_COLUMNS = ("recall@1", "recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr")


def summary_table(result: dict[str, Any]) -> str:
    """The test figures of one run, with the protocol above and the folder below.

    Parameters
    ----------
    result : dict
        As ``result.json`` holds it, with ``run_dir``.

    Returns
    -------
    str
        One line a candidate set.
    """
    data, protocol = result["data"], result["protocol"]
    lines = [
        "",
        f"{result['dataset']}: {data['users']:,} users, {data['items']:,} items, {data['interactions']:,} interactions",
        f"test of the {protocol['split'].replace('_', '-')} split, ties {protocol['ties']}; "
        f"best epoch by validation {protocol['valid_metric']}",
    ]
    rows = {
        title: _by_cutoff(result["test"][name])
        for name, title in CANDIDATES_SHORT.items()
        if result["test"].get(name)
    }
    used = [column for column in _COLUMNS if any(column in row for row in rows.values())]
    table = [[title, *[row.get(column) for column in used]] for title, row in rows.items()]
    lines += ["", tabulate(table, ["candidates", *used], floatfmt=".4f", missingval="")]
    if result.get("order_note"):
        lines += ["", f"note: {result['order_note']}"]
    return "\n".join([*lines, "", _footer(result)])


def _by_cutoff(figures: dict[str, float]) -> dict[str, float]:
    """With one target a user, a hit is a recall of 1: one name for both."""
    return {key.replace("hit@", "recall@"): value for key, value in figures.items()}


def _footer(result: dict[str, Any]) -> str:
    seconds = result["seconds"]["training"]
    tokens = result["parameters"]["tokens"]
    size = "" if tokens is None else f", {tokens:,} token parameters"
    run = f"{result['model']} ({result['seed']})"
    return f"{run}: {result['epochs']} epochs in {seconds:.0f} s{size} -> {result['run_dir']}"
