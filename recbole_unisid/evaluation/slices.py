"""Metrics where they differ: rare and popular targets, short and long histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.statistics import bootstrap_mean

#: Slices with fewer cases are shown in grey and never claimed upon.
FEWEST_CASES = 200
#: Shares of the training interactions at which the most popular items end to be head, and mid.
_HEAD_SHARE, _MID_SHARE = 0.2, 0.8

#: One slice in `result.json`; figures are None where no case falls into it.
SliceFigures = TypedDict(
    "SliceFigures",
    {
        "rule": str,
        "n": int,
        "recall@10": float | None,
        "ndcg@10": float | None,
        "interval": dict[str, list[float] | None],
    },
)


@dataclass(frozen=True)
class Slice:
    """A range of the target's popularity or of the history's length, both ends included; None for no end."""

    name: str  # head, mid, tail, cold0, cold1_5, short or long
    rule: str  # the range in words, with its numbers
    measure: str  # what is compared: target_popularity or history_length
    low: int | None = None
    high: int | None = None

    def holds(self, values: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which cases fall into the slice, from their `measure` [cases]."""
        low = -np.inf if self.low is None else self.low
        return (values >= low) & (values <= (np.inf if self.high is None else self.high))


def popularity_thresholds(training_counts: NDArray[np.int64]) -> tuple[int, int]:
    """Find the training interactions from which an item is head, and from which it is mid; entry 0 is padding.

    They are those of the items with which the most popular items first hold 20 % and 80 % of the training interactions.
    """
    counts = np.sort(training_counts[1:])[::-1]
    share = np.cumsum(counts) / max(1, counts.sum())
    head, mid = np.searchsorted(share, [_HEAD_SHARE, _MID_SHARE])
    return int(counts[head]), int(counts[mid])


def make_slices(training_counts: NDArray[np.int64], history_length: NDArray[np.int64]) -> list[Slice]:
    """State the slices of a data set and split: by the items' training interactions, then by history length [cases]."""
    middle = int(np.median(history_length)) if len(history_length) else 0
    head, mid = popularity_thresholds(training_counts)
    return [
        _popular("head", f">= {head} (most popular items, first 20 % of training interactions)", head),
        _popular("mid", f"{mid} .. {head - 1} (next 60 % of training interactions)", mid, head - 1),
        _popular("tail", f"< {mid} (last 20 % of training interactions)", None, mid - 1),
        _popular("cold0", "0", 0, 0),
        _popular("cold1_5", "1 .. 5", 1, 5),
        Slice("short", f"history length <= {middle} (median)", "history_length", None, middle),
        Slice("long", f"history length > {middle} (median)", "history_length", middle + 1),
    ]


def _popular(name: str, words: str, low: int | None, high: int | None = None) -> Slice:
    return Slice(name, f"target's training interactions {words}", "target_popularity", low, high)


def slice_metrics(
    ranks: NDArray[np.int64],
    target_popularity: NDArray[np.int64],
    history_length: NDArray[np.int64],
    slices: list[Slice],
    users: NDArray[np.int64] | NDArray[np.str_] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, SliceFigures]:
    """Recall and NDCG at 10 by slice, each with a 95 % bootstrap interval (:func:`bootstrap_mean`).

    The `ranks` are 1-based and of one candidate set, the popularity is the target's training interactions; all [cases].
    """
    measures = {"target_popularity": target_popularity, "history_length": history_length}
    table: dict[str, SliceFigures] = {}
    for one in slices:
        inside = one.holds(measures[one.measure])
        means: dict[str, float | None] = {"recall@10": None, "ndcg@10": None}
        ends: dict[str, list[float] | None] = {"recall@10": None, "ndcg@10": None}
        for name in means if inside.any() else ():
            values = per_user_metric(ranks[inside], name)
            owners = None if users is None else users[inside]
            interval = bootstrap_mean(values, owners, resamples, seed=seed)
            means[name], ends[name] = interval.estimate, [interval.low, interval.high]
        table[one.name] = {
            "rule": one.rule,
            "n": int(inside.sum()),
            "recall@10": means["recall@10"],
            "ndcg@10": means["ndcg@10"],
            "interval": ends,
        }
    return table
