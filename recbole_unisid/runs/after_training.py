"""What a model of ours takes from the data once training has ended: new items, weights of score terms, moved items."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid import distributed
from recbole_unisid.data.split import VALID
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.ranks import ranks_from_scores
from recbole_unisid.items.new_items import shrink_to_neighbours, treat_untrained_as_new
from recbole_unisid.models.whole_sequence import WholeSequenceRecommender
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.loaders import HistoryLoader
from recbole_unisid.runs.warm import WarmStart

LOG = logging.getLogger("recbole_unisid")
#: Validation targets that the weights of score terms are fitted on, by the scores that they take; the fewest first.
_FEWEST_CASES, _MOST_CASES, _FITTED_SCORES = 512, 4096, 1 << 26
_RANKED = 4  # times as many are ranked: once each


def settle(config: UniSIDConfig, dataset: Any, model: Any, names: list[str], warm: WarmStart | None) -> None:
    """Give a trained model what follows training; `names` are those of its items."""
    # Not by the calendar: with a quarter of the targets never trained on it loses (results/cold-items.md).
    counted = isinstance(model, WholeSequenceRecommender) and dataset.split.name == "leave_one_out"
    counts = dataset.split.training_counts(dataset.sequences) if counted else None
    if counts is not None:
        treat_untrained_as_new(model, (counts > 0) | warm.trained(names) if warm else counts > 0)
    if getattr(model, "terms", None) is not None:
        fit_terms(config, dataset, model)
    if counts is not None and "shrinkage" in config and config["shrinkage"]:
        known = np.maximum(counts, warm.training_counts(names)) if warm else counts
        move_little_trained(config, dataset, model, known)


def fit_terms(config: UniSIDConfig, dataset: Any, model: Any) -> None:
    """Fit the weights of a model's score terms on validation targets that are spread evenly."""
    targets = dataset.split.targets(VALID)
    if not len(targets):
        LOG.warning(
            "Nothing is validated on: the score terms have no weights and add nothing. Leave-one-out validates on "
            "users of four interactions or more; --split=global_time on any."
        )
        return
    most = _most_cases(dataset)

    def spread(cases: int) -> list[Any]:
        return _spread(config, dataset, targets, cases)

    fewer = [spread(_FEWEST_CASES)] if min(len(targets), most) > _FEWEST_CASES else []
    ranked = spread(_RANKED * most) if config["term_weights"] == "ranks" else None
    model.eval().terms.fit(model, *fewer, spread(most), ranked=ranked)
    weights = ", ".join(f"{name} {weight:.3g}" for name, weight in model.terms.by_name().items())
    LOG.info("score terms: %s", weights)


def move_little_trained(config: UniSIDConfig, dataset: Any, model: Any, counts: NDArray[np.int64]) -> None:
    """Move items of small `counts`, [n_items + 1], to their neighbours as far as `shrinkage` says: less where it hurts.

    It hurts where validation targets, all of them or those that have moved, lose in mean NDCG@10 by more than the
    standard error. Then half as much is tried, and then nothing moves. Where nothing moves popularity has the weight
    that was fitted: `popularity_scale` shares out what moved items gain.
    """
    new_items, targets, before = model.items.new_items, dataset.split.targets(VALID), None
    for rate in (config["shrinkage"], config["shrinkage"] / 2):
        shrink_to_neighbours(model, counts, rate)
        if (shift := new_items.shift) is None or len(targets) < distributed.world():
            break
        if before is None:
            batches = _spread(config, dataset, targets, _RANKED * _most_cases(dataset))
            asked = distributed.gather_rows(torch.cat([batch[3] for batch in batches]))
            new_items.shift = None
            before = _ndcg(model, batches)
            new_items.shift = shift
        gains, moved = _ndcg(model, batches) - before, shift.cpu().any(1)[asked].numpy()
        told = [_mean_and_error(gains), _mean_and_error(gains[moved])]
        words = ["{:+.4f} ± {:.4f}".format(*one) for one in told]
        LOG.info("shrinkage %g: all targets gain %s, those that moved %s NDCG@10", rate, *words)
        if all(mean >= -error for mean, error in told):
            break
        new_items.shift = None
    if new_items.shift is None and new_items.neighbours:
        LOG.info("no item is moved, and popularity weighs as it was fitted")
        if model.terms is not None:
            model.terms.leave_scales()
    model.train().eval()  # it may hold vectors from before


def _mean_and_error(gains: NDArray[np.float64]) -> tuple[float, float]:
    """The mean and its standard error, which of fewer than two is infinite."""
    if len(gains) < 2:
        return float(gains.sum()), np.inf
    return float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))


def _most_cases(dataset: Any) -> int:
    return max(_FEWEST_CASES, min(_MOST_CASES, _FITTED_SCORES // int(dataset.item_num)))


def _spread(config: UniSIDConfig, dataset: Any, targets: NDArray[np.int64], cases: int) -> list[Any]:
    """Batches of some targets, spread evenly."""
    return list(HistoryLoader(config, dataset, targets[:: -(-len(targets) // cases)]))


@torch.no_grad()
def _ndcg(model: Any, batches: Sequence[Any]) -> NDArray[np.float64]:
    """NDCG@10 of every target, among all items but those of its history; of all processes."""
    found = []
    model.train().eval()  # without vectors from before
    for interaction, _, _, targets in batches:
        interaction, targets = interaction.to(model.device), targets.to(model.device)
        histories = interaction[model.ITEM_SEQ]
        rows, places = histories.nonzero(as_tuple=True)
        scores = model.full_sort_predict(interaction)
        found.append(ranks_from_scores(scores, targets, (rows, histories[rows, places]))["full"])
    ranks = distributed.gather_rows(torch.from_numpy(np.concatenate(found)))
    return per_user_metric(ranks.numpy(), "ndcg@10")
