"""``result.json``: everything that a run found, under one versioned schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.data.cases import tail_threshold, tested, users_of_items
from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TEST, TRAIN
from recbole_unisid.distributed import gather_rows
from recbole_unisid.evaluation.candidates import repeated, seen_pairs
from recbole_unisid.evaluation.controls import control_metrics, control_ranks, order_note, text_rule_ranks
from recbole_unisid.evaluation.lists import list_metrics
from recbole_unisid.evaluation.metrics import protocol_metrics
from recbole_unisid.evaluation.slices import (
    REPEATS,
    Slice,
    head_and_tail,
    make_slices,
    slice_metrics,
)
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.models.tiger.scoring import share_of_top
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import TARGET_POSITION
from recbole_unisid.recbole_adapter.loaders import HistoryLoader
from recbole_unisid.recbole_adapter.protocol import filters_given
from recbole_unisid.recbole_adapter.semantics import ItemSemantics
from recbole_unisid.report.leaderboard import protocol_hash
from recbole_unisid.runs.machine import machine, peak_rss_bytes, versions


@dataclass
class Measured:
    """What a finished run hands to its result, such as ranks by phase and candidate set, RecBole's metrics by phase."""

    dataset: Any
    trainer: Any
    recbole: dict[str, dict[str, float]]
    ranks: dict[str, dict[str, NDArray[np.int64]]]
    semantics: ItemSemantics | None
    titles: list[str]  # in the order of item numbers
    seconds: dict[str, float]
    cpu_seconds: dict[str, float]  # of ``items`` (text and tokens), ``training``, ``evaluation``
    tie_orders: dict[str, Any] | None = None  # figures where another item of a target's time comes last
    lists: NDArray[np.int64] | None = None  # the test's, as :func:`.list_metrics` has them
    started_from: dict[str, Any] | None = None  # the run that a warm start begins with

    @cached_property
    def rank_table(self) -> RankTable:
        """The test's ranks, case by case."""
        sequences, split = self.dataset.sequences, self.dataset.split
        return RankTable.of_cases(sequences, split, split.targets(TEST), self.ranks["test"])


def build_result(config: UniSIDConfig, measured: Measured) -> dict[str, Any]:
    """Assemble the result of plain values, fit for JSON; what has no value is None.

    ``best_epoch`` and ``history`` count epochs from 0, as RecBole does; screens and pages count from 1.
    """
    trainer, terms = measured.trainer, getattr(measured.trainer.model, "terms", None)
    tokenization = measured.semantics.tokenization if measured.semantics else None
    about = {key: config[key] for key in ("model", "dataset", "seed", "recipe")}
    chosen_by = {
        "valid_metric": config["valid_metric"].lower(),
        "valid_candidates": config["valid_candidates"],
    }
    found = evaluated(
        config, about, chosen_by, measured.dataset, measured.ranks, measured.rank_table,
        measured.recbole["test"], measured.semantics, measured.lists,
    )  # fmt: skip
    if measured.tie_orders is not None:
        found["test"]["tie_orders"] = measured.tie_orders
    return found | {
        "parameters": _parameters(trainer.model),
        "score_terms": None if terms is None else terms.by_name(),
        "moved_items": _moved_items(trainer.model),
        "near_text_share": getattr(trainer.model, "near_text_share", None),
        "id_dim": _id_dim(trainer.model),
        "tokenizer": tokenization.health if tokenization else None,
        "ranker": _ranker(config, trainer.model, measured.dataset),
        "seconds": _seconds(measured),
        "cpu_seconds": {part: round(spent, 3) for part, spent in measured.cpu_seconds.items()},
        **({"from": measured.started_from} if measured.started_from else {}),
        "epochs": len(trainer.history),
        "best_epoch": trainer.best_epoch,
        "history": trainer.history,
        "peak_rss_bytes": peak_rss_bytes(),
        "versions": versions(),
        "machine": machine(),
    }


def evaluated(
    config: UniSIDConfig,
    about: Mapping[str, Any],
    chosen_by: Mapping[str, Any],
    dataset: Any,
    ranks: Mapping[str, dict[str, NDArray[np.int64]]],
    table: RankTable,
    recbole: Mapping[str, float] | None = None,
    semantics: ItemSemantics | None = None,
    lists: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """What ``result.json`` says of any model's ranks, by phase and candidate set: figures, slices and controls.

    `about` are the model, the data set, the seed and the recipe; `chosen_by` the metric that chose the epoch and its
    candidates; `table` holds the test's ranks; `recbole` are RecBole's own metrics of them; `lists` are the best 10.
    """
    sequences, split, sampled = dataset.sequences, dataset.split, config["candidates"]
    controls = control_ranks(sequences, split)
    if semantics is not None and config["figures"] == "all":
        controls |= text_rule_ranks(semantics.vectors, sequences, split)
    test: dict[str, Any] = _metrics(ranks["test"], sampled)
    test["recbole"] = recbole
    test |= _slices(config, dataset, table)
    test["lists"] = None if lists is None else list_metrics(lists, sequences, split)
    protocol = protocol_of(config, dataset) | dict(chosen_by)
    return {
        "schema": 1,
        "status": "complete",
        **about,
        "protocol": protocol,
        "protocol_hash": protocol_hash(protocol),
        "data": {
            "users": sequences.n_users,
            "items": sequences.n_items,
            "interactions": len(sequences.items),
            "train_targets": len(split.targets(TRAIN)),
            **tested(sequences, split),
        },
        "valid": _metrics(ranks["valid"], sampled) if "valid" in ranks else None,
        "test": test,
        "controls": control_metrics(controls),
        "repeated_targets": float(np.mean(repeated(sequences, split.targets(TEST)))),
        "order_note": order_note(sequences, controls),
    }


def protocol_of(config: UniSIDConfig, dataset: Any) -> dict[str, Any]:
    """What is asked for and ranked, without what chooses a model."""
    filters = ", ".join(f"{key}={value}" for key, value in filters_given(config).items())
    return {
        "split": dataset.split.name,
        "description": dataset.split.description,
        "order": "random" if config["eval_args"]["order"] == "RO" else "time",
        "ties": str(config["ties"]),
        "protocol_seed": int(config["protocol_seed"]),
        **_candidates(config, dataset.sequences),
        "exact_times": bool(config["exact_times"]),
        **({"filters": filters} if filters else {}),
    }


def _metrics(ranks: dict[str, NDArray[np.int64]], sampled: str) -> dict[str, Any]:
    """Metrics by candidate set of the protocol; of one that a model cannot have None."""
    return dict.fromkeys(("full", "full_unfiltered", sampled)) | protocol_metrics(ranks)


def _candidates(config: UniSIDConfig, sequences: UserSequences) -> dict[str, Any]:
    """The sampled candidates of the protocol, with the number of users below which their targets are tail."""
    if config["candidates"] != "sampled100":
        return {"candidates": config["candidates"]}
    below = config["tail_below"] or tail_threshold(users_of_items(sequences))
    return {"candidates": config["candidates"], "tail_below": below}


def _slices(config: UniSIDConfig, dataset: Any, table: RankTable) -> dict[str, Any]:
    """Figures by slice: in ``full``, among 100 negatives, and of repeats where there are some."""
    sequences = dataset.sequences
    counts = dataset.split.training_counts(sequences)
    usual = make_slices(counts, table.history_length, table.same_time is not None)
    measures = {name: getattr(table, name) for name in ("same_time", "target_users", "repeated")}

    def by(candidates: str, slices: list[Slice], hit_name: str = "recall") -> dict[str, Any]:
        about = table.target_popularity, table.history_length, slices, table.user
        return slice_metrics(table.ranks[candidates], *about, hit_name=hit_name, **measures)

    found = {"slices": by("full", usual)}
    if table.target_users is not None and "sampled100" in table.ranks:
        halves = head_and_tail(_candidates(config, sequences)["tail_below"])
        others = [one for one in usual if one.name not in ("head", "mid", "tail")]
        found["sampled_slices"] = by("sampled100", [*halves, *others], "hit")
    if table.repeated is not None and "full_unfiltered" in table.ranks:
        found["repeat_slices"] = by("full_unfiltered", REPEATS)
    return found


def _moved_items(model: Any) -> int | None:
    """How many items stand elsewhere than where training left them; None of a model without such items."""
    new_items = getattr(getattr(model, "items", None), "new_items", None)
    if new_items is None:
        return None
    return 0 if new_items.shift is None else int(new_items.shift.any(1).sum())


def _id_dim(model: Any) -> int | None:
    """How wide a model's IDs are, which the data may choose (``weak_text_id_dim``); None of a model without them."""
    ids = getattr(getattr(model, "items", None), "ids", None)
    return None if ids is None else int(ids.embedding_dim)


def _parameters(model: Any) -> dict[str, int | None]:
    if hasattr(model, "parameter_counts"):
        return dict(model.parameter_counts())
    weight = getattr(getattr(model, "item_embedding", None), "weight", None)
    tokens = None if weight is None else (model.n_items - 1) * weight.shape[1]
    stored = sum(value.numel() for value in model.state_dict().values())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"tokens": tokens, "training": trained, "checkpoint": stored, "serving": stored}


def _seconds(measured: Measured) -> dict[str, float | None]:
    epochs = [entry["seconds"] for entry in measured.trainer.history]
    texts = measured.semantics.seconds if measured.semantics else {}
    return {
        "text_encoding": texts.get("text_encoding"),
        "tokenizer": texts.get("tokenizer"),
        "training": max(measured.seconds["training"], sum(epochs)),  # earlier processes' epochs, too
        "per_epoch": sum(epochs) / len(epochs) if epochs else None,
        "evaluation": measured.seconds["evaluation"],
    }


def _ranker(config: UniSIDConfig, model: Any, dataset: Any) -> dict[str, Any] | None:
    """What ``result.json`` says of a list-making model's ranker; None for models that score all items.

    For beams ``top10_share`` and ``top10_share_unseen`` are the share of the exact best 10 among all items and among
    unseen ones that the beam holds, over ``users`` test cases that are spread evenly.
    """
    if not hasattr(model, "exact_scores"):
        return None
    if not model.listed:
        return {"name": "exact"}
    targets = dataset.split.targets(TEST)
    step = max(1, len(targets) // max(1, config["beam_check_users"]))
    rows = []  # a batch each: the two shares, and over how many cases
    with torch.no_grad():
        model.eval()
        for batch in HistoryLoader(config, dataset, targets[::step]):
            interaction = batch[0].to(model.device)
            listed, exact = model.beam_scores(interaction), model.exact_scores(interaction)
            share = share_of_top(listed, exact)
            cases, items = seen_pairs(dataset.sequences, interaction[TARGET_POSITION].cpu().numpy())
            exact[torch.from_numpy(cases), torch.from_numpy(items)] = -torch.inf
            rows.append([share, share_of_top(listed, exact), len(interaction)])
    shares, shares_unseen, counts = gather_rows(torch.tensor(rows, dtype=torch.float64)).T.numpy()
    return {
        "name": "beam",
        "width": model.listed,
        "top10_share": float(np.average(shares, weights=counts)),
        "top10_share_unseen": float(np.average(shares_unseen, weights=counts)),
        "users": int(counts.sum()),
    }
