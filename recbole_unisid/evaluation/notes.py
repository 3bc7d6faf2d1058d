"""What to know of data, and of RecBole's models and metrics (1.2.1), for wherever figures or lists are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recbole_unisid.evaluation.candidates import negatives_in

MODEL_NOTES = {
    "Pop": "Pop ranks by training counts; RecBole's own figure of it counts an item once a batch, so it follows "
    "train_batch_size.",
    "ItemKNN": "ItemKNN gives many items one score; here ties count against the model, in RecBole's own figures chance "
    "orders them.",
    "BERT4Rec": "RecBole's BERT4Rec leaves out the first item of every history, so all histories of one item would get "
    "the same list.",
}
#: Share of test targets that the user had before from which a note is due, and the note: of the share, the candidate
#: sets that it is about, and where to read instead.
LEAST_REPEATED = 0.01
REPEATED = (
    "{:.1%} of the test targets are items that the user had before. In {} their rivals are items not "
    "had, so a model that tells the two apart (score term seen) finds them at once: {}."
)
#: Of runs of general models before each target had a history of its own; they have ranks in `full` alone.
ONE_HISTORY = (
    "This run of {} was ranked by an older version: its full leaves out what a user had before the test, not before "
    "each target, and cannot be compared with others'. Remove its folder and run it again."
)
#: Of catalogues where no user has as many items left to draw as the set of candidates is named after.
FEW_NEGATIVES = "The catalogue has {} items, so every user has fewer negatives in {} than its name says."
_PADDING = "counts the padding item as one of the catalogue."
METRIC_NOTES = {
    "itemcoverage": f"RecBole's ItemCoverage {_PADDING}",
    "giniindex": f"RecBole's GiniIndex {_PADDING}",
    "averagepopularity": "RecBole's AveragePopularity counts training targets, not the first items of histories.",
}


def notes_on(result: Mapping[str, Any]) -> Iterator[str]:
    """The notes on the data, the model and RecBole's metrics of a ``result.json``."""
    share, model = result.get("repeated_targets") or 0.0, result["model"]
    test, protocol = result.get("test") or {}, result.get("protocol") or {}
    sampled = str(protocol.get("candidates") or "sampled99")
    if share >= LEAST_REPEATED:
        among = " and ".join(name for name in ("full", sampled) if test.get(name))
        read = "read full_unfiltered" if test.get("full_unfiltered") else f"{model} has no other ranks"
        yield REPEATED.format(share, among, read)
    masked = test.get("recbole") and not test.get("full_unfiltered")
    if masked and protocol.get("split") in ("ratio", "global_time"):
        yield ONE_HISTORY.format(model)
    items = (result.get("data") or {}).get("items")
    if items is not None and items <= negatives_in(sampled):
        yield FEW_NEGATIVES.format(items, sampled)
    if given := result.get("predictions"):
        yield f"{model} was trained and chosen elsewhere. " + " ".join(given["notes"])
    if model in MODEL_NOTES:
        yield MODEL_NOTES[model]
    shown = {key.partition("@")[0] for key in test.get("recbole") or ()}
    yield from (note for metric, note in METRIC_NOTES.items() if metric in shown)


def further_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """RecBole's metrics that are none of ranks, such as GiniIndex: what the tables of ranks do not have."""
    own = (result.get("test") or {}).get("recbole") or {}
    ranked = ("recall", "mrr", "ndcg", "hit", "precision", "map")
    return {key: value for key, value in own.items() if key.partition("@")[0] not in ranked}
