"""What candidate sets and metrics are called, at length and in a few words."""

from __future__ import annotations

#: How a candidate set is explained below a table.
CANDIDATES = {
    "full": "every item but those the user already had",
    "full_unfiltered": "every item",
    "sampled99": "the target and 99 uniform negatives outside the user's sequence, the same for all runs",
    "sampled100": "the target and 100 such negatives (LLM-ESR's protocol)",
}
#: How it is called in a few words.
CANDIDATES_SHORT = {
    "full": "all items, seen left out",
    "full_unfiltered": "all items",
    "sampled99": "99 sampled negatives",
    "sampled100": "100 sampled negatives",
}
#: How it stands in the head of a LaTeX table, where space is short.
CANDIDATES_LATEX = {
    "full": "Full",
    "full_unfiltered": "Full, unfiltered",
    "sampled99": "99 negatives",
    "sampled100": "100 negatives",
}
#: How a metric is written in the head of a table.
METRIC_NAMES = {"recall@10": "R@10", "hit@10": "HR@10", "ndcg@10": "NDCG@10"}
