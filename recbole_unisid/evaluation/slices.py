"""Metrics where they differ: rare and popular targets, short and long histories, targets of one time and later ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.statistics import bootstrap_mean

#: Slices with fewer cases are shown in grey and never claimed upon.
FEWEST_CASES = 200
#: Shares of the training interactions at which the most popular items end to be head, and mid.
_HEAD_SHARE, _MID_SHARE = 0.2, 0.8


class Slice(NamedTuple):
    """A range of one measure of the test cases, both ends included."""

    name: str  # head, mid, tail, cold0, cold1_5, short, long, same_time, later, repeated or new
    rule: str  # the range in words, with its numbers
    measure: (
        str  # the column of a rank table that is compared: target_popularity, history_length, same_time ...
    )
    low: float = -np.inf
    high: float = np.inf


def popularity_thresholds(training_counts: NDArray[np.int64]) -> tuple[int, int]:
    """Find the training interactions from which an item is head, and from which it is mid; entry 0 is padding.

    They are those of the items with which the most popular items first hold 20 % and 80 % of the training interactions.
    """
    counts = np.sort(training_counts[1:])[::-1]
    share = np.cumsum(counts) / max(1, counts.sum())
    head, mid = np.searchsorted(share, [_HEAD_SHARE, _MID_SHARE])
    return int(counts[head]), int(counts[mid])


def make_slices(
    training_counts: NDArray[np.int64], history_length: NDArray[np.int64], timed: bool = False
) -> list[Slice]:
    """State the slices of a data set and split: by the items' training interactions, then by history length [cases].

    Where data is `timed`, those follow whose target has the time of the item before it: their order is the file's.
    """
    middle = int(np.median(history_length)) if len(history_length) else 0
    head, mid = popularity_thresholds(training_counts)
    times = (
        Slice("same_time", "target at the time of the item before", "same_time", 1, 1),
        Slice("later", "target later than the item before", "same_time", 0, 0),
    )
    return [
        _popular("head", f">= {head} (most popular items, first 20 % of training interactions)", head),
        _popular("mid", f"{mid} .. {head - 1} (next 60 % of training interactions)", mid, head - 1),
        _popular("tail", f"< {mid} (last 20 % of training interactions)", -np.inf, mid - 1),
        _popular("cold0", "0", 0, 0),
        _popular("cold1_5", "1 .. 5", 1, 5),
        Slice("short", f"history length <= {middle} (median)", "history_length", high=middle),
        Slice("long", f"history length > {middle} (median)", "history_length", middle + 1),
        *(times if timed else ()),
    ]


#: What people take again, and what they take for the first time.
REPEATS = [
    Slice("repeated", "the user had the target before", "repeated", 1, 1),
    Slice("new", "the user had not had the target before", "repeated", 0, 0),
]


def head_and_tail(below: int) -> list[Slice]:
    """State the two slices of LLM-ESR (Liu et al., NeurIPS 2024): targets that `below` users have or more, and others.

    Its code counts the users of an item in all of the data, targets of the test among them.
    """
    words = "target's users in all of the data"
    return [
        Slice("head", f"{words} >= {below}", "target_users", low=below),
        Slice("tail", f"{words} < {below}", "target_users", high=below - 1),
    ]


def _popular(name: str, words: str, low: float, high: float = np.inf) -> Slice:
    return Slice(name, f"target's training interactions {words}", "target_popularity", low, high)


def slice_metrics(
    ranks: NDArray[np.int64],
    target_popularity: NDArray[np.int64],
    history_length: NDArray[np.int64],
    slices: list[Slice],
    users: NDArray[np.int64] | NDArray[np.str_] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    hit_name: str = "recall",
    **others: NDArray[np.int64] | None,
) -> dict[str, dict[str, Any]]:
    """Recall and NDCG at 10 by slice, each with a 95 % bootstrap interval (:func:`bootstrap_mean`).

    The `ranks` are 1-based and of one candidate set, the popularity is the target's training interactions; all [cases].
    Slices by another measure need it by its name, [cases], such as `same_time`. Where no case falls into a slice the
    figures are None. Among sampled candidates `hit_name` is ``hit``.
    """
    measures = {"target_popularity": target_popularity, "history_length": history_length, **others}
    hits = f"{hit_name}@10"
    table = {}
    for one in slices:
        measured = measures[one.measure]
        if measured is None:
            raise ValueError(f"slice {one.name} needs {one.measure}")
        inside = (measured >= one.low) & (measured <= one.high)
        owners = None if users is None else users[inside]
        means: dict[str, float | None] = {hits: None, "ndcg@10": None}
        ends: dict[str, list[float] | None] = {hits: None, "ndcg@10": None}
        for metric in means if inside.any() else ():
            values = per_user_metric(ranks[inside], metric)
            means[metric], low, high, _ = bootstrap_mean(values, owners, resamples, seed=seed)
            ends[metric] = [low, high]
        table[one.name] = {"rule": one.rule, "n": int(inside.sum()), **means, "interval": ends}
    return table
