"""Search of settings on the validation set: the same budget for every model, resumable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from recbole_unisid.config.defaults import properties_folder, read_yaml
from recbole_unisid.errors import UserError
from recbole_unisid.files import fingerprint, write_text
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.keys import keys_read
from recbole_unisid.runs.folder import RunFolder, owned
from recbole_unisid.runs.single import train


def search_space(config: UniSIDConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """What ``properties/search.yaml`` has for a model's keys not `given`: choices or ``{low, high, log}``."""
    spaces = read_yaml(properties_folder() / "search.yaml")
    space = spaces["default"] | spaces.get(config.chosen.family, {})
    if config["loss"] not in ("sampled_softmax", "mixed_softmax"):
        # The numbers are for uniform negatives that a batch shares, not for some of each position.
        space.pop("negatives", None)
    read = keys_read(config.chosen)
    return {
        key: range_ for key, range_ in space.items() if key in config and key in read and key not in given
    }


def tune(
    config: UniSIDConfig, settings: Mapping[str, Any], trials: int, verbose: bool = True
) -> dict[str, Any]:
    """Try settings of one model and keep the best by validation; the test set is not looked at.

    Trial k is drawn from the seed and the trials before it alone, so that a search that was stopped and
    called again ends as one that was not. Settings that were given by hand stay; `trials` counts those of
    earlier calls. The result has ``folder``, ``best`` (settings), ``score`` (validation) and ``trials``.
    """
    optuna = _optuna()
    if not config["eval_step"]:
        raise UserError("--tune goes by validation, and eval_step=0 leaves it out; give another --eval_step.")
    space = search_space(config, settings)
    if not space:
        raise UserError(
            f"{config['model']} has no setting to search that is not given (properties/search.yaml)."
        )
    run = RunFolder(config)
    folder: Path = run.path.parent / f"tune-{fingerprint(run.hash, space)[:12]}"
    with owned(folder, verbose):
        # Optuna's log of JSON lines survives a kill at any moment and holds no pickles.
        journal = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
        study = optuna.create_study(
            study_name="search",
            direction="maximize" if config["valid_metric_bigger"] else "minimize",
            storage=optuna.storages.JournalStorage(journal),
            load_if_exists=True,
        )
        complete = (optuna.trial.TrialState.COMPLETE,)
        while (done := len(study.get_trials(deepcopy=False, states=complete))) < trials:
            trial = _next_trial(optuna, study)
            draw = f"{config['seed']} {done}"
            chosen = {key: _suggest(optuna, trial, key, range_, draw) for key, range_ in space.items()}
            score = _score(config, settings, chosen, folder, verbose)
            if score == -math.inf:
                raise UserError(
                    f"{config['dataset']} has nothing to validate on, by which --tune chooses: leave-one-out takes "
                    "users of four interactions or more, --split=global_time any; eval_step=0 validates never."
                )
            study.tell(trial, score)
            done_ones = [t for t in study.trials if t.value is not None]
            rows = [{"trial": t.number, "score": t.value, **t.params} for t in done_ones]
            write_text(folder / "trials.csv", pd.DataFrame(rows).to_csv(index=False))
            if verbose:
                print(
                    f"[trial {done + 1}/{trials}] {config['model']} {score:.4f}, best {study.best_value:.4f}"
                )
        best = dict(settings) | study.best_params
        write_text(folder / "best.yaml", yaml.safe_dump(best, sort_keys=True))
    return {"folder": str(folder), "best": best, "score": study.best_value, "trials": trials}


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("--tune needs Optuna: pip install 'recbole_unisid[tune]'.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _next_trial(optuna: Any, study: Any) -> Any:
    """A new trial; one that was stopped is begun again with the same settings."""
    for stopped in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(stopped.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(stopped.params)
    return study.ask()


def _suggest(optuna: Any, trial: Any, key: str, range_: Any, seed: str) -> Any:
    # A sampler of its own for every draw: what was drawn before a stop does not shift what comes after.
    number = int(fingerprint(seed, key)[:8], 16)
    trial.study.sampler = optuna.samplers.TPESampler(seed=number)
    if isinstance(range_, list):
        return trial.suggest_categorical(key, range_)
    return trial.suggest_float(key, float(range_["low"]), float(range_["high"]), log=bool(range_.get("log")))


def _score(
    config: UniSIDConfig, settings: Mapping[str, Any], chosen: Mapping[str, Any], folder: Path, verbose: bool
) -> float:
    """Train with some settings and return the best validation score, which is without score terms."""
    trial = UniSIDConfig(config["model"], config["dataset"], dict(settings) | dict(chosen))
    if trial["score_terms"]:
        trial["score_terms"] = []  # they would be fitted in vain
    if "shrinkage" in trial:
        trial["shrinkage"] = 0.0  # and items moved
    trial["output_dir"] = str(folder / "trials")
    run = RunFolder(trial)
    with run.owned(verbose):
        run.begin()
        with run.logging(verbose):
            return float(train(trial, run).trainer.best_valid_score)
