"""Parts of ``result.json``, averaged over seeds and over orders of ties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def mean_slices(per_run: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Average each slice that all runs have.

    Its cases and its rule are the same for all seeds, but not for all orders of ties: their number is then a mean, and
    a slice that is empty under one order has the mean of the others.
    """
    table = {}
    for name in [one for one in per_run[0] if all(one in slices for slices in per_run)]:
        found = [slices[name] for slices in per_run]
        rule, alike = found[0]["rule"], len({one["rule"] for one in found}) == 1
        table[name] = {
            "rule": rule if alike else f"{rule}, of the first order of ties",
            "n": round(float(np.mean([one["n"] for one in found]))),
        }
        for key in metrics:
            known = [one[key] for one in found if one[key] is not None]
            table[name][key] = float(np.mean(known)) if known else None
    return table


def mean_lists(per_seed: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average the figures of lists that all seeds have."""
    known = [key for key in per_seed[0] if all(key in lists for lists in per_seed)]
    return {key: float(np.mean([lists[key] for lists in per_seed])) for key in known}


def mean_data(per_order: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``data`` over orders of ties: shares are averaged, periods hold all of them, the rest is the first's."""
    first, *rest = per_order
    data = dict(first)
    for key, value in first.items():
        others = [one.get(key) for one in rest]
        if isinstance(value, float) and all(isinstance(other, float) for other in others):
            data[key] = float(np.mean([value, *others]))
    periods = [one["periods"] for one in per_order if one.get("periods")]
    if len(periods) == len(per_order):
        of_all = {name: np.array([one[name] for one in periods]) for name in periods[0]}
        data["periods"] = {
            name: [float(of[:, 0].min()), float(of[:, 1].max())] for name, of in of_all.items()
        }
    return data


def mean_controls(per_order: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``controls`` over orders of ties, of the rules that every order has."""
    first, *rest = per_order
    if not rest:
        return dict(first)
    return {
        name: {
            candidates: {
                metric: float(np.mean([one[name][candidates][metric] for one in per_order]))
                for metric in metrics
            }
            for candidates, metrics in sets.items()
        }
        for name, sets in first.items()
        if all(name in one for one in rest)
    }
