"""How candidate sets, metrics and numbers are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import recbole_unisid
from recbole_unisid.data.cases import SHARES
from recbole_unisid.data.dates import is_date, iso_moment, with_dates
from recbole_unisid.report.leaderboard import Column
from recbole_unisid.report.markup import Markup, tag

#: Each candidate set: explained below a table, in a few words, and in the head of a LaTeX table.
_SETS = {
    "full": ("every item but those the user already had", "all items, seen left out", "Full"),
    "full_unfiltered": ("every item", "all items", "Full, unfiltered"),
    "sampled99": (
        "the target and 99 uniform negatives outside the user's sequence, the same for all runs",
        *("99 sampled negatives", "99 negatives"),
    ),
    "sampled100": (
        "the target and 100 uniform negatives outside the user's sequence, the same for all runs (LLM-ESR's protocol)",
        *("100 sampled negatives", "100 negatives"),
    ),
}
CANDIDATES, CANDIDATES_SHORT, CANDIDATES_LATEX = (
    {name: words[at] for name, words in _SETS.items()} for at in range(3)
)
#: How a metric is written in the head of a table.
METRIC_NAMES = {"recall@10": "R@10", "hit@10": "HR@10", "ndcg@10": "NDCG@10"}

#: What lists are like, ``test lists`` of ``result.json``, and a line that says it.
LISTS = {
    "coverage@10": "coverage",
    "gini@10": "concentration (Gini)",
    "novelty@10": "novelty",
    "diversity@10": "diversity",
}
LISTS_TOLD = (
    "Items that the user had are left out. Coverage: share of the catalogue in some list. Concentration: 0 where every "
    "item is listed as often, near 1 where few fill the lists. Novelty: minus log2 of the share of training users who "
    "have an item, on average. Diversity: share of a list that another user's has not, on average."
)

#: Splits of runs that do not describe them.
_SPLITS = {
    "leave_one_out": "leave one out: each user's last item is the test, the one before it the validation",
    "global_time": "global time: what comes after one moment is the test",
    "cold_items": "cold items: the test items have no training interaction",
}

_MISSING = "–"


def command(name: str, arguments: str) -> str:
    """How a subcommand is called where this package stands: a checkout has a script, an installation a command."""
    checkout = (Path(recbole_unisid.__file__).parents[1] / "run_recbole_unisid.py").is_file()
    script = (
        "python run_recbole_unisid.py" if name == "run" else f"python -m recbole_unisid.commands.main {name}"
    )
    return f"{script if checkout else f'recbole-unisid {name}'} {arguments}".rstrip()


def column_name(column: Column) -> str:
    """Name a metric and its candidate set, ``NDCG@10 · all items``."""
    candidates, metric = column
    return f"{METRIC_NAMES[metric]} · {CANDIDATES_SHORT[candidates]}"


def decimal(value: float | None) -> str:
    """Write a metric with four digits."""
    return _MISSING if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    """Write a difference of metrics with its sign."""
    return _MISSING if value is None else f"{value:+.4f}".replace("-", "−")


def change(value: float | None, digits: int) -> str:
    """Write a relative difference in per cent with its sign."""
    return "" if value is None else f"{100 * value:+.{digits}f} %".replace("-", "−")


def count(value: float | None) -> str:
    """Write a number of things."""
    return _MISSING if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """Write a share in per cent."""
    return _MISSING if value is None else f"{100 * value:.1f} %"


def tested(data: Mapping[str, Any]) -> str:
    """Say what is tested, from ``data`` of ``result.json``; nothing of runs that do not tell."""
    if "test_cases" not in data:
        return ""
    parts = [f"{share(data[key])} {words}" for key, words in SHARES.items() if data.get(key) is not None]
    told = f"{data['test_cases']:,} targets of {data['test_users']:,} users: {', '.join(parts)}"
    return "; ".join(filter(None, [told, _periods(data.get("periods") or {})]))


def _periods(periods: Mapping[str, Sequence[float]]) -> str:
    """The first and last time of each phase, as dates where they are seconds since 1970."""
    told = ", ".join(f"{name} {' to '.join(map(iso_moment, ends))}" for name, ends in periods.items())
    return f"{told} (UTC)" if any(is_date(end) for ends in periods.values() for end in ends) else told


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "epoch"), counted(2000, "epoch")
    ('1 epoch', '2,000 epochs')
    """
    return f"{number:,} {noun}{'s'[: number != 1]}"


def split_told(protocol: Mapping[str, Any]) -> str:
    """Say how data is split, from ``protocol`` of ``result.json``; moments as dates, with the exact number.

    >>> split_told({"split": "global_time", "description": "global time: test from 1396310400 (0.1)"})
    'global time: test from 2014-04-01 UTC (time 1396310400; 0.1)'
    """
    split = str(protocol.get("split"))
    described = str(protocol.get("description") or _SPLITS.get(split, split))
    return with_dates(described) if split == "global_time" else described


def split_numbers(protocol: Mapping[str, Any]) -> str:
    """As :func:`split_told`, of splits that have numbers; nothing of leave-one-out, whose name says it all."""
    return (
        split_told(protocol) if protocol.get("description") and protocol["split"] != "leave_one_out" else ""
    )


def listed(names: Sequence[str], most: int = 4) -> str:
    """Name the first of some things and count the others.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d"], 2)
    ('a, b', 'a, b and 2 more')
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def short_count(value: float) -> str:
    """Write a number of parameters in a few characters.

    >>> short_count(145960), short_count(950), short_count(1.2e9)
    ('146 k', '950', '1.2 G')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Write a time.

    >>> duration(0), duration(1e-5), duration(0.34), duration(75), duration(3900)
    ('0 s', '0 s', '0.34 s', '75 s', '65 min')
    """
    if seconds is None:
        return _MISSING
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds < 0.005 else f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def memory(size: float | None) -> str:
    """Write a size in memory, in MiB or GiB."""
    if size is None:
        return _MISSING
    return f"{size / 2**20:,.0f} MiB" if size < 2**30 else f"{size / 2**30:.2f} GiB"


def figure(text: str, value: float | None, model: str, key: str) -> Markup:
    """A mean over a model's seeds, with its full value and the way to it in ``result.json``, with blanks between."""
    if value is None:
        return tag("span", text)
    return tag("data", text, value=repr(value), data_model=model, data_key=key)
