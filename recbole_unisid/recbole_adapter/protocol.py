"""The protocol that settings ask for: RecBole's ``eval_args``, our `split` and `ties`, as one split for every model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recbole.evaluator.register import metric_types, metrics_dict
from recbole.utils import EvaluatorType

from recbole_unisid.data.sequences import UserSequences, shuffle_ties
from recbole_unisid.data.split import Split, cold_items, global_time, leave_one_out, random_order, ratio
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.recbole_adapter.registry import ChosenModel

#: RecBole's splits, and how each is said here where RecBole's own is not kept.
_SPLITS = {
    "LS": "LS: valid_and_test or test_only",
    "RS": "RS: three shares for training, validation and test, such as [0.8, 0.1, 0.1]",
}
_LEAVE_ONE_OUT = ("valid_and_test", "test_only", "valid_only")
#: What RecBole filters in interactions; of files that are split already it filters nothing, and says nothing.
_FILTERS = ("val_interval", "user_inter_num_interval", "item_inter_num_interval", "rm_dup_inter")


def check_protocol(settings: Mapping[str, Any], defaults: Mapping[str, Any], model: ChosenModel) -> None:
    """Refuse a protocol that this benchmark cannot rank by, with the way to say it here."""
    args = settings["eval_args"]
    _check_split(args)
    if args["order"] not in ("TO", "RO"):
        raise UserError(f"eval_args: order={args['order']} must be TO (by time) or RO (random).")
    _check_modes(settings, model)
    changed = [key for key in ("split", "order", "group_by") if args[key] != defaults[key]]
    _check_combined(settings, changed)
    if settings["split"] == "cold_items" and not model.ours:
        raise UserError(
            f"split=cold_items ranks items by their text; {model.name} knows items by number only (use "
            "UniSID, SemanticID or DenseText)."
        )
    if settings.get("benchmark_filename"):
        _check_parts(settings, changed)
        if not model.sequential:
            raise UserError(
                f"benchmark_filename holds histories with targets; {model.name} reads loose interactions."
            )


def _check_split(args: Mapping[str, Any]) -> None:
    """Refuse what `split` and `group_by` of ``eval_args`` cannot be."""
    split, group = args["split"], str(args["group_by"]).lower()
    if not isinstance(split, Mapping) or len(split) != 1:
        raise UserError(f"eval_args: split={split} must be one of {'; '.join(_SPLITS.values())}.")
    ((kind, value),) = split.items()
    if kind == "TS":
        raise UserError("eval_args: split TS is RecBole's cut at one moment: say --split=global_time here.")
    if kind not in _SPLITS:
        raise UserError(
            f"eval_args: there is no split '{kind}'; {'; '.join(_SPLITS.values())}.{did_you_mean(str(kind), _SPLITS)}"
        )
    if kind == "LS" and value not in _LEAVE_ONE_OUT:
        raise UserError(
            f"eval_args: LS: {value} is none of {', '.join(_LEAVE_ONE_OUT)}.{did_you_mean(str(value), _LEAVE_ONE_OUT)}"
        )
    if value == "valid_only":
        raise UserError(
            "eval_args: LS: valid_only leaves nothing to test on: say valid_and_test or test_only."
        )
    if kind == "RS" and not _are_shares(value):
        raise UserError(f"eval_args: RS: {value} must be {_SPLITS['RS'].partition(': ')[2]}.")
    if group not in ("user", "none") or (kind == "LS" and group == "none"):
        raise UserError(
            f"eval_args: group_by={args['group_by']} must be user{' or none' if kind == 'RS' else ''}."
        )


def _check_modes(settings: Mapping[str, Any], model: ChosenModel) -> None:
    """Refuse candidates in ``eval_args`` that nothing is ranked among, or not with this model."""
    modes = settings["eval_args"]["mode"]
    for mode in set(modes.values()) if isinstance(modes, Mapping) else [modes]:
        if not re.fullmatch(r"full|(uni|pop)[1-9]\d*", str(mode)):
            raise UserError(
                f"eval_args: mode {mode} is not evaluated here: rankings are, by mode full (all items) or, of "
                "RecBole's own figures, uni100 or pop100 (sampled ones); there are no labels to predict."
            )
        if model.ours and mode != "full":
            raise UserError(
                f"eval_args: mode {mode} is for RecBole's models; {model.name} ranks all items and "
                f"{settings['candidates']} anyway: leave it at full."
            )


def _check_combined(settings: Mapping[str, Any], changed: list[str]) -> None:
    """Refuse settings of which one leaves another without effect; `changed` are those of ``eval_args``."""
    if changed and settings["split"] != "leave_one_out":
        raise UserError(
            f"split={settings['split']} and eval_args with another {changed[0]} are two protocols: give one."
        )
    if settings["tail_below"] is not None and settings["candidates"] != "sampled100":
        raise UserError(
            f"tail_below={settings['tail_below']} has no effect with candidates={settings['candidates']}; "
            "leave it out, or rank with candidates=sampled100."
        )
    if settings["tie_orders"] and (settings["split"] != "leave_one_out" or changed):
        raise UserError(
            "tie_orders asks which item of a time came last: it is for the split leave_one_out alone."
        )
    if settings["eval_args"]["order"] == "RO" and str(settings["ties"]) != "raw":
        raise UserError(
            f"ties={settings['ties']} has no effect in random order (eval_args: order RO); leave it out."
        )


def filters_given(config: Any) -> dict[str, Any]:
    """The filters of interactions, users and items that leave something out, by setting."""
    return {key: config[key] for key in _FILTERS if config[key] not in (None, "[0,inf)")}


def _check_parts(settings: Mapping[str, Any], changed: list[str]) -> None:
    """Refuse what has no effect on files that are split and ordered already."""
    usual = {"split": "leave_one_out", "ties": "raw", **dict.fromkeys(_FILTERS)}
    given = [f"eval_args: {key}={settings['eval_args'][key]}" for key in changed]
    given += [f"{k}={settings[k]}" for k, v in usual.items() if settings[k] not in (v, None, "[0,inf)")]
    if given:
        raise UserError(
            f"{given[0]} has no effect with benchmark_filename: the files are filtered, split and ordered already; "
            "leave one of the two out."
        )
    wanted, alias = settings["ITEM_ID_FIELD"] + settings["LIST_SUFFIX"], settings["alias_of_item_id"] or ()
    if wanted not in alias:
        raise UserError(
            f"benchmark_filename reads histories from the column {wanted}: say that its ids are those of items with "
            f"alias_of_item_id=[{wanted}]."
        )


def check_metrics(metrics: Sequence[str]) -> None:
    """Refuse metrics of RecBole that are not of rankings, and names that are no metric."""
    rankings = [name for name, kind in metric_types.items() if kind == EvaluatorType.RANKING]
    known = [metrics_dict[name].__name__ for name in rankings]
    for name in metrics:
        if name.lower() not in map(str.lower, known):
            raise UserError(
                f"metrics: {name} is no metric of rankings, and nothing else is evaluated here; RecBole has "
                f"{', '.join(known)}.{did_you_mean(name, known)}"
            )


def check_valid_metric(settings: Mapping[str, Any]) -> None:
    """Refuse a metric to stop by that is not computed; RecBole finds out after the first epoch."""
    candidates, named = settings["valid_candidates"], str(settings["valid_metric"])
    if candidates == "full_unfiltered":
        metric, _, cutoff = named.lower().partition("@")
        known = [name.lower() for name in settings["metrics"]]
        # Of GAUC there is one figure for all cutoffs.
        cutoffs = [""] if metric == "gauc" else [str(k) for k in settings["topk"]]
        if metric not in known or cutoff not in cutoffs:
            raise UserError(
                f"valid_metric={named} is none of the metrics {settings['metrics']} at topk={settings['topk']}; add it "
                "there or choose another."
            )
        return
    if candidates.startswith("sampled") and candidates != settings["candidates"]:
        raise UserError(
            f"valid_candidates={candidates} and candidates={settings['candidates']} are two protocols: "
            "give both the same."
        )
    try:
        per_user_metric(np.ones(1, dtype=np.int64), named.lower())
    except UserError as error:
        raise UserError(f"valid_metric={named} with valid_candidates={candidates}: {error}") from None


def _are_shares(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        return False
    numbers = all(
        isinstance(share, (int, float)) and not isinstance(share, bool) and share >= 0 for share in value
    )
    return numbers and value[0] > 0 and value[2] > 0


def ordered(
    config: Any, sequences: UserSequences
) -> tuple[UserSequences, NDArray[np.int64] | None, Split | None]:
    """Sequences in the order of the protocol, where each interaction stood before, and a random order's split.

    The second is None where all stand as before, the third where the order is by time.
    """
    if config["eval_args"]["order"] == "RO":
        order, phase = random_order(sequences, config["protocol_seed"], lambda drawn: split_of(config, drawn))
        times = None if sequences.times is None else sequences.times[order]
        return replace(sequences, items=sequences.items[order], times=times), order, phase
    seed = tie_seed(config["ties"])
    if seed is None:
        return sequences, None, None
    # Shuffling positions instead of items gives the permutation for every other column.
    places = replace(sequences, items=np.arange(len(sequences.items)))
    order = shuffle_ties(places, seed).items
    return replace(sequences, items=sequences.items[order]), order, None


def split_of(config: Any, sequences: UserSequences) -> Split:
    """Apply the protocol's split to sequences in its order."""
    name, args = config["split"], config["eval_args"]
    ((kind, value),) = args["split"].items()
    if kind == "RS":
        return ratio(sequences, value, by_user=str(args["group_by"]).lower() == "user")
    if name == "leave_one_out":
        return leave_one_out(sequences, validate=value == "valid_and_test")
    if name == "global_time":
        return global_time(sequences, config["valid_share"], config["test_share"])
    return cold_items(sequences, config["cold_share"], config["protocol_seed"])


def tie_seed(ties: Any) -> int | None:
    """The seed of ``shuffled:SEED``; None for ``raw``."""
    kind, _, seed = str(ties).partition(":")
    if str(ties) == "raw":
        return None
    if kind != "shuffled" or not seed.isdecimal():
        raise UserError(
            f"ties={ties} is neither 'raw' nor 'shuffled:SEED' with a whole number, such as shuffled:7."
        )
    return int(seed)
