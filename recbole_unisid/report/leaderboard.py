"""Many models and seeds under one protocol: means, spreads and what differs from a reference."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.candidates import PROTOCOL_SEED
from recbole_unisid.evaluation.metrics import protocol_metrics
from recbole_unisid.evaluation.statistics import (
    Comparison,
    Spread,
    compare_runs,
    metric_over_seeds,
    require_same_cases,
)
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.files import fingerprint
from recbole_unisid.report.averages import mean_controls, mean_data, mean_lists, mean_slices

#: What the tables show and compare: candidate set and metric.
COLUMNS = (
    *(("full", "recall@10"), ("full", "ndcg@10")),
    *(("full_unfiltered", "recall@10"), ("full_unfiltered", "ndcg@10")),
    *(("sampled99", "hit@10"), ("sampled99", "ndcg@10")),
    *(("sampled100", "hit@10"), ("sampled100", "ndcg@10")),
)
#: By which the default reference is the best ID-only model.
HEADLINE = ("full", "ndcg@10")
#: Slices in ``test`` of ``result.json``, and the candidate set and metrics that are shown of them.
SLICES = {
    "slices": (HEADLINE,),
    "sampled_slices": (("sampled100", "hit@10"), ("sampled100", "ndcg@10")),
    "repeat_slices": (("full_unfiltered", "ndcg@10"),),
}
#: Of a target's time, which item comes last: as in ``tie_orders`` of ``result.json``, and in words.
TIE_ORDERS = {"worst": "least favourable", "file": "of the file", "mean": "any", "best": "most favourable"}
#: Models that know more of an item than its ID: no such model is the default reference.
CONTENT_MODELS = {
    *("UniSID", "SemanticID", "DenseText", "TIGER", "RPG", "FDSA", "SASRecF", "S3Rec", "GRU4RecF"),
    *("NearestText", "TransitionText"),
}
#: What tells data sets of one name apart in ``result.json``.
SIZES = ("users", "items", "interactions")

#: A candidate set and a metric.
Column = tuple[str, str]


@dataclass(frozen=True)
class Run:
    """One finished run: its ``result.json``, ``ranks.npz`` and ``config.yaml``, and where it lies."""

    result: Mapping[str, Any]
    ranks: RankTable
    folder: Path = Path()
    settings: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""  # the settings that tell it from other runs of its model and recipe: ``id_dim=16``

    @property
    def label(self) -> str:
        """The model's name, with its recipe where that is not the default, its ranker and its variant."""
        recipe, ranker = self.result.get("recipe") or "default", self.result.get("ranker") or {}
        name = f"beam {ranker['width']}" if ranker.get("name") == "beam" else ranker.get("name")
        marks = ", ".join(filter(None, ["" if recipe == "default" else recipe, name, self.variant]))
        model = str(self.result["model"])
        return f"{model} ({marks})" if marks else model

    @property
    def training_seconds(self) -> float | None:
        """What its training took, epochs of earlier processes of a resumed run among it; None where it is not known."""
        whole, epochs, each = (
            self.find(*key) for key in (("seconds", "training"), ("epochs",), ("seconds", "per_epoch"))
        )
        return whole if not epochs or each is None else max(float(whole or 0), float(epochs * each))

    @property
    def cpu_minutes(self) -> float | None:
        """Process time of its training, validations and score terms among it; None in runs that do not tell."""
        spent = self.find("cpu_seconds", "training")
        return None if spent is None else float(spent) / 60

    def find(self, *keys: str | int) -> Any:
        """Follow keys, and places in lists, into ``result.json``; None where the way ends."""
        value: Any = self.result
        for key in keys:
            try:
                value = value[key]
            except (LookupError, TypeError):
                return None
        return value


def ranker_note(run: Run) -> str:
    """One line about what the beam of a run misses; empty where there is no beam."""
    ranker = run.result.get("ranker") or {}
    if ranker.get("name") != "beam":
        return ""
    return (
        f"{run.label}, seed {run.result['seed']}: a beam of {ranker['width']} holds "
        f"{100 * ranker['top10_share']:.1f} % of the exact top 10 of all items and "
        f"{100 * ranker['top10_share_unseen']:.1f} % of that of unseen ones ({ranker['users']} test users); a target "
        f"outside the beam is a miss, of rank {ranker['width'] + 1}. Sampled candidates have exact likelihoods."
    )


@dataclass(frozen=True)
class Row:
    """One model of a leaderboard, by its label."""

    model: str
    seeds: list[int]
    token_parameters: int | None
    seconds: float | None  # of training, mean over seeds
    spreads: dict[Column, Spread]
    comparisons: dict[Column, Comparison]  # of the columns that are shown; none for the reference
    #: by name: ``rule``, ``n`` and the mean over seeds of ``ndcg@10`` (None where `n` is 0)
    slices: dict[str, dict[str, Any]]
    #: the same of the other kinds in `SLICES`, by kind, with the metrics that are shown
    other_slices: dict[str, dict[str, dict[str, Any]]]
    #: means over seeds of NDCG@10 full by order (`TIE_ORDERS`), and how many ``cases`` tie; none unless measured
    tie_orders: dict[str, float]
    #: what the first ten of each list are like, mean over seeds; empty where a seed has none
    lists: dict[str, float]

    def sign(self, column: Column) -> str:
        """▲ or ▼ where the model is significantly above or below the reference, else nothing."""
        found = self.comparisons.get(column)
        if found is None or not found.significant:
            return ""
        return "▲" if found.difference.estimate > 0 else "▼"


@dataclass(frozen=True)
class Leaderboard:
    """One row a model in the order of the headline, best first, and what they were measured under."""

    rows: list[Row]
    reference: str | None  # that the others are compared with; None where no model is ID-only
    dataset: str
    protocol: dict[str, Any]  # this, data and controls as in ``result.json``, the same for all runs
    data: dict[str, Any]
    controls: dict[str, Any]
    notes: list[str]  # warnings to print with the table

    @property
    def columns(self) -> list[Column]:
        """The columns of the tables: those that some model has."""
        return [column for column in COLUMNS if any(column in row.spreads for row in self.rows)]

    @property
    def candidates(self) -> list[str]:
        """The candidate sets of the columns, each once."""
        return list(dict.fromkeys(candidates for candidates, _ in self.columns))

    @property
    def sizes(self) -> str:
        """How many users, items and interactions the data set has."""
        return ", ".join(f"{self.data[part]:,} {part}" for part in SIZES)

    @property
    def across_orders(self) -> bool:
        """Whether figures are averaged over several shuffled orders of ties."""
        return "," in str(self.protocol.get("ties"))

    @property
    def protocol_hash(self) -> str:
        """The protocol's name (:func:`protocol_hash`)."""
        return protocol_hash(self.protocol)

    @property
    def seeds(self) -> list[int]:
        """The seeds of all runs, each once."""
        return sorted({seed for row in self.rows for seed in row.seeds})

    def bold(self, column: Column) -> str | None:
        """The best model of a column; None where it is the reference or the difference may be chance."""
        known = [row for row in self.rows if column in row.spreads]
        best = max(known, key=lambda row: row.spreads[column].mean, default=None)
        return best.model if best is not None and best.sign(column) else None


def make_leaderboard(
    runs: Sequence[Run], reference: str | None = None, notes: Sequence[str] = ()
) -> Leaderboard:
    """Gather finished runs of one data set and protocol; Holm's method corrects over the models of a column.

    The reference is by default the ID-only model with the best mean headline on the test set, which makes claims over
    it hardest. `notes` are warnings to keep with the table.

    Raises UserError: no run, an unfinished one, the same model and seed twice, runs under different protocols or data,
    or an unknown reference.
    """
    require_one_protocol(runs)
    by_model: dict[str, list[Run]] = {}
    for run in sorted(runs, key=ties_and_seed):
        by_model.setdefault(run.label, []).append(run)
    orders = sorted({ties_and_seed(run)[0] for run in runs})
    rows = [_row(model, group, len(orders) > 1) for model, group in by_model.items()]
    rows.sort(key=lambda row: -row.spreads[HEADLINE].mean)
    if reference is None:
        reference = next((row.model for row in rows if not _reads_content(by_model[row.model][0])), None)
    compared = {row.model: row.comparisons for row in rows}
    tables = {model: [run.ranks for run in group] for model, group in by_model.items()}
    for column in COLUMNS if reference is not None else ():
        for comparison in compare_runs(tables, str(reference), *column, across_orders=len(orders) > 1):
            compared[comparison.model][column] = comparison
    first = _first(runs).result
    return Leaderboard(
        rows,
        reference,
        str(first["dataset"]),
        dict(first["protocol"]) | ({"ties": ", ".join(orders)} if len(orders) > 1 else {}),
        *_of_orders(runs, orders),
        list(notes),
    )


def ties_and_seed(run: Run) -> tuple[str, int]:
    """What tells apart the runs of one row: the order of ties, where there are several, and the seed."""
    return str(run.result["protocol"].get("ties")), int(run.result["seed"])


def _of_orders(runs: Sequence[Run], orders: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data and the controls, averaged over orders of ties; a control of the text stands in runs that read text."""
    groups = [[run.result for run in runs if ties_and_seed(run)[0] == order] for order in orders]
    controls = [
        {name: sets for one in group for name, sets in (one.get("controls") or {}).items()}
        for group in groups
    ]
    return mean_data([group[0]["data"] for group in groups]), mean_controls(controls)


def _require_every_order(runs: Sequence[Run]) -> None:
    """Refuse models that were not all run under the same orders of ties, each with as many seeds."""
    counts: dict[str, Counter[str]] = {}
    for run in runs:
        counts.setdefault(run.label, Counter())[ties_and_seed(run)[0]] += 1
    orders = set().union(*counts.values())
    for label, found in counts.items():
        if len(orders) > 1 and (set(found) != orders or len(set(found.values())) > 1):
            raise UserError(
                f"{label} has runs with ties {', '.join(sorted(found))}, all models together "
                f"{', '.join(sorted(orders))}: run every model under every order, with as many seeds, or runs under "
                "different protocols never share a table"
            )


def require_one_protocol(runs: Sequence[Run]) -> None:
    """Refuse to put runs side by side that were not measured alike, or are none; see :func:`make_leaderboard`.

    Shuffled orders of ties go together where every model has all of them: figures are averaged over orders, too.
    """
    if not runs:
        raise UserError("there is no finished run to put on a leaderboard: give at least one model")
    seen: dict[str, Path] = {}
    of_order: dict[str, Run] = {}
    first = _first(runs).result
    for run in runs:
        result = run.result
        ties, seed = ties_and_seed(run)
        name = f"{run.label} with seed {seed}" + (
            "" if ties == ties_and_seed(runs[0])[0] else f", ties {ties}"
        )
        if result.get("status") != "complete":
            raise UserError(f"the run of {name} is not complete: finish it before it is compared")
        if name in seen:
            raise UserError(
                f"{name} is there twice, in {seen[name]} and in {run.folder}: leave one of them out"
            )
        seen[name] = run.folder
        for part in ("dataset", "protocol", *SIZES):
            its, theirs = _of_run(result, part), _of_run(first, part)
            if part == "protocol" and result.get("predictions"):  # how it was chosen is not known
                its, theirs = ({k: v for k, v in one.items() if k not in _CHOSEN_BY} for one in (its, theirs))
            if its != theirs:
                if part == "protocol":
                    its, theirs = _differing(its, theirs)
                raise UserError(
                    f"{name} has {part} {its}, other runs have {theirs}: "
                    "runs on different data or under different protocols never share a table"
                )
        require_same_cases(run.ranks, of_order.setdefault(ties, run).ranks)
    _require_every_order(runs)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str]:
    """What two protocols differ in, of each."""
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    first, second = (", ".join(f"{key} {of.get(key)}" for key in keys) for of in (one, other))
    return first, second


#: What a protocol had before these were written.
_USUAL_PROTOCOL = {"protocol_seed": PROTOCOL_SEED, "candidates": "sampled99", "exact_times": True}


def protocol_hash(protocol: Mapping[str, Any]) -> str:
    """Name a protocol, ``protocol`` of ``result.json``, by what it says: two that differ never have one name."""
    return fingerprint(_USUAL_PROTOCOL | dict(protocol))[:12]


#: Of a protocol, what a model that was trained elsewhere does not tell.
_CHOSEN_BY = ("valid_metric", "valid_candidates")


def comparable(result: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """What must be the same for two runs to share a section of a board, whose figures are of one order of ties.

    And how the model was chosen ("" where nobody knows).
    """
    protocol = _USUAL_PROTOCOL | dict(result["protocol"])
    chosen = {key: protocol.pop(key, None) for key in _CHOSEN_BY}
    about = [json.dumps(_of_run(result, part), sort_keys=True) for part in ("dataset", *SIZES)]
    return (*about, json.dumps(protocol, sort_keys=True)), "" if result.get("predictions") else json.dumps(
        chosen
    )


def _first(runs: Sequence[Run]) -> Run:
    """The first run, of those that tell the whole protocol if there is one."""
    return next((run for run in runs if not run.find("predictions")), runs[0])


def _of_run(result: Mapping[str, Any], part: str) -> Any:
    """What must be the same for runs that share a table."""
    if part == "protocol":
        protocol = _USUAL_PROTOCOL | result["protocol"]
        shuffled = str(protocol.get("ties")).startswith("shuffled")
        return protocol | ({"ties": "shuffled"} if shuffled else {})
    return result["data"][part] if part in SIZES else result[part]


def _reads_content(run: Run) -> bool:
    """Whether a run's model knows more of an item than its ID; classes of the user's own are told by what they read.

    A model that was trained elsewhere may: nothing is known of it.
    """
    reads_text = run.find("tokenizer") or run.find("seconds", "text_encoding") is not None
    reads_text = reads_text or run.find("controls", "nearest_text") is not None
    return bool(reads_text or run.find("predictions")) or run.result["model"] in CONTENT_MODELS


def _row(model: str, runs: list[Run], across_orders: bool) -> Row:
    """A model's figures over its seeds, compared with nothing yet."""
    seconds = [seconds for run in runs if (seconds := run.training_seconds) is not None]
    tables = [run.ranks for run in runs]
    slices = {
        kind: mean_slices([run.find("test", kind) or {} for run in runs], [metric for _, metric in columns])
        for kind, columns in SLICES.items()
    }
    return Row(
        model,
        [int(run.result["seed"]) for run in runs],
        runs[0].find("parameters", "tokens"),
        float(np.mean(seconds)) if seconds else None,
        {
            (candidates, metric): metric_over_seeds(tables, candidates, metric, across_orders)[1]
            for candidates, metrics in protocol_metrics(tables[0].ranks).items()
            for metric in metrics
        },
        {},
        slices.pop("slices"),
        slices,
        _mean_tie_orders(runs),
        mean_lists([run.find("test", "lists") or {} for run in runs]),
    )


def _mean_tie_orders(runs: Sequence[Run]) -> dict[str, float]:
    found = [run.find("test", "tie_orders", *HEADLINE) for run in runs]
    if any(one is None for one in found):
        return {}
    means = {name: float(np.mean([one[name] for one in found])) for name in TIE_ORDERS}
    return {"cases": float(runs[0].find("test", "tie_orders", "cases")), **means}
