"""Leak controls: rules that look at no content, whose success tells about the data, not about taste.

Where times are whole days and ties stand in the order of the items' identifiers, "recommend the
identifiers that come next" finds targets that no taste explains, and its mirror finds almost none.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.config.defaults import model_defaults
from recbole_unisid.data.leaks import at_least_as_popular, identifier_places, numbered_by_appearance
from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TEST, Split
from recbole_unisid.data.windows import history_windows
from recbole_unisid.evaluation.candidates import seen_pairs
from recbole_unisid.evaluation.metrics import per_user_metric, protocol_metrics
from recbole_unisid.evaluation.ranks import ranks_from_scores
from recbole_unisid.models.rules import FadingTransitions, UnitText, ring_terms

#: Cases treated at a time: bounds the memory that their histories take.
_CHUNK = 1 << 16

#: Ranks [cases] by control, then candidate set.
ControlRanks = dict[str, dict[str, NDArray[np.int64]]]
#: Given items, targets and the users' last items: does the rule prefer the item, or tie?
_Rule = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]


def control_ranks(sequences: UserSequences, split: Split, phase: int = TEST) -> ControlRanks:
    """Rank the targets of one phase by four rules; int64 [cases] by control, then candidate set.

    ``popularity`` (training counts), ``next_id`` (the identifiers above the last item's, nearest
    first), ``previous_id`` (its mirror) and ``repeat_last`` (the last item alone), each with
    ``full_unfiltered`` and ``full``. What a rule does not list ties for the last place.
    """
    positions = split.targets(phase)
    targets, last = sequences.items[positions], sequences.items[positions - 1]
    counts, place = split.training_counts(sequences), identifier_places(sequences.item_ids)
    n_items = sequences.n_items
    ahead = place[targets] - place[last]
    unfiltered = {
        "popularity": at_least_as_popular(counts)[targets],
        "next_id": np.where(ahead > 0, ahead, n_items),
        "previous_id": np.where(ahead < 0, -ahead, n_items),
        "repeat_last": np.where(targets == last, 1, n_items),
    }
    rules: dict[str, _Rule] = {
        "popularity": lambda item, target, last: counts[item] >= counts[target],
        "next_id": lambda item, target, last: _comes_first(place[item], place[target], place[last]),
        "previous_id": lambda item, target, last: _comes_first(-place[item], -place[target], -place[last]),
        "repeat_last": lambda item, target, last: (item == last) | (target != last),
    }
    ranks = {name: {"full_unfiltered": rank, "full": rank.copy()} for name, rank in unfiltered.items()}
    for start in range(0, len(positions), _CHUNK):
        rows, items = seen_pairs(sequences, positions[start : start + _CHUNK])
        pairs = np.unique(rows * (n_items + 1) + items)
        rows, items = pairs // (n_items + 1) + start, pairs % (n_items + 1)
        rows, items = rows[items != targets[rows]], items[items != targets[rows]]
        for name, rule in rules.items():
            before = rows[rule(items, targets[rows], last[rows])]
            ranks[name]["full"] -= np.bincount(before, minlength=len(positions))
    return ranks


def _comes_first(
    item: NDArray[np.int64], target: NDArray[np.int64], last: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Does a list that climbs from `last` have `item` before `target`, or `target` not at all?"""
    return (target <= last) | ((last < item) & (item < target))


def control_metrics(ranks: ControlRanks) -> dict[str, dict[str, dict[str, float]]]:
    """Means over cases by control, then candidate set, then metric: ``controls`` of ``result.json``."""
    return {name: protocol_metrics(sets) for name, sets in ranks.items()}


def order_leak(ranks: ControlRanks) -> str | None:
    """A line to warn with where the next identifiers find more targets than the previous ones do, or fewer.

    Without a leak the two rules are alike, so among the targets that either finds in its first 10
    each finds half, with the spread of a binomial: None within three standard deviations of it.
    """
    unfiltered = [ranks[name]["full_unfiltered"] for name in ("next_id", "previous_id")]
    after, before = (int(per_user_metric(one, "recall@10").sum()) for one in unfiltered)
    if abs(after - before) <= 3 * np.sqrt(after + before):
        return None
    cases = len(unfiltered[0])
    return (
        f"the order of this data leaks: the 10 next item identifiers find {after / cases:.4f} of targets, "
        f"the 10 previous ones {before / cases:.4f}; shuffle ties in time if the data has times"
    )


def order_note(sequences: UserSequences, ranks: ControlRanks) -> str | None:
    """The line to print below the ID controls: that they mean nothing (items numbered by appearance), or of a leak."""
    return numbered_by_appearance(sequences) or order_leak(ranks)


#: Cases scored at once at most, and compared at once: a processor's cache holds their scores.
_RANKED, _COMPARED = 512, 64


def text_rule_ranks(
    vectors: NDArray[np.float32], sequences: UserSequences, split: Split, phase: int = TEST
) -> ControlRanks:
    """Rank every target by our rules (``models/rules.py``) at their defaults: no sequence model.

    ``nearest_text`` (to the last item), ``transitions`` and ``transition_text``, from text embeddings [n_items, d],
    item 1 first.
    """
    dataset = SimpleNamespace(sequences=sequences, split=split, item_num=sequences.n_items + 1)
    plain, ringed = model_defaults("Transitions"), model_defaults("TransitionText")
    transitions, rings = FadingTransitions.from_config(plain, dataset), ring_terms(ringed, dataset)
    unit = UnitText(vectors).vectors  # [n_items + 1, d]
    windows = history_windows(sequences, split.targets(phase), plain["MAX_ITEM_LIST_LENGTH"])
    order = np.argsort(sequences.items[windows.stop - 1], kind="stable")
    ranks: dict[str, dict[str, NDArray[np.int64]]] = {}
    step = max(1, min(_RANKED, plain["eval_scores"] // dataset.item_num))
    for start in range(0, len(order), step):
        chunk = order[start : start + step]
        # Two of the rules look at the last item alone: what has the same one is scored once.
        last, rows = np.unique(sequences.items[windows.stop[chunk] - 1], return_inverse=True)
        items = torch.from_numpy(last)
        cosines = unit[items] @ unit.T
        joined = rings.add_to(cosines.clone(), items[:, None], torch.ones_like(items))
        for part in np.split(np.arange(len(chunk)), range(_COMPARED, len(chunk), _COMPARED)):
            cases, row = chunk[part], torch.from_numpy(rows[part])
            targets, lengths = windows.stop[cases], torch.from_numpy(windows.lengths[cases])
            found = {
                "nearest_text": cosines[row],
                "transitions": transitions(windows.batch(cases)[0], lengths)[0],
            }
            found["transition_text"] = joined[row]
            seen = [torch.from_numpy(pairs) for pairs in seen_pairs(sequences, targets)]
            asked = torch.from_numpy(sequences.items[targets])
            for name, scores in found.items():
                for candidates, ranked in ranks_from_scores(scores, asked, seen=(seen[0], seen[1])).items():
                    of_all = ranks.setdefault(name, {}).setdefault(candidates, np.zeros_like(order))
                    of_all[cases] = ranked
    return ranks
