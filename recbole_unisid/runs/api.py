"""`recbole_unisid.run`: the command from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_unisid.config.given import given_settings, parse_value, take_dataset, take_models
from recbole_unisid.errors import UserError
from recbole_unisid.plugins.loading import use_named
from recbole_unisid.recbole_adapter.keys import check_read
from recbole_unisid.recbole_adapter.registry import resolve

#: RecBole's default seed, and the first of several.
FIRST_SEED = 2020


def run(
    model: str | type[Any] | Iterable[str | type[Any]] | None = None,
    dataset: str | None = None,
    config_dict: Mapping[str, Any] | None = None,
    config_files: Iterable[str | Path] = (),
    verbose: bool = True,
) -> Any:
    """Train and evaluate one or several models with one or several seeds.

    Parameters
    ----------
    model : str or type, or iterable of them
        Models of ours or of RecBole, or your own, ``module:Class`` or the class itself; a string may name several,
        separated by commas. By default what the settings name as ``model``, or UniSID.
    dataset : str
        A folder under ``data_path`` (default ``dataset/``); by default what the settings name, or ml-100k.
    config_dict : mapping, optional
        Settings, as ``--key=value`` on the command line; ``seeds`` may be a number of seeds or a list; ``tune`` is a
        number of trials for a search of settings instead of a run.
    config_files : iterable of str or Path
        YAML files of settings; later ones win, and `config_dict` over all of them.

    Returns
    -------
    dict or list of dict
        ``result.json`` (see docs/) with ``run_dir``, the run's folder; a list where several models or seeds were asked
        for, models first. With ``tune``, one dict a model: ``best`` settings, their validation ``score``, the
        ``folder`` with ``best.yaml`` and every trial.

    Raises
    ------
    UserError
        For settings or data that cannot be used, in one line.

    Examples
    --------
    >>> import recbole_unisid
    >>> settings = {"epochs": 1, "show_progress": False}
    >>> result = recbole_unisid.run(model="ItemID", config_dict=settings, verbose=False)
    >>> result["epochs"], 0 <= result["test"]["full"]["ndcg@10"] <= 1
    (1, True)
    """
    asked = dict(config_dict or {})
    settings = given_settings(config_files, asked)
    if settings.get("from") is not None:
        from recbole_unisid.runs.warm import warm_settings

        named = {"model": model} if isinstance(model, str) else {}
        settings = warm_settings(settings | named | ({"dataset": dataset} if dataset else {}))
    # A file may name a class of somebody's own, but only a person's own words import it.
    for name in take_models(dict(asked), model):
        use_named(name, asked)
    models, dataset = take_models(settings, model), take_dataset(settings, dataset)
    check_read(settings, [resolve(name) for name in models])
    # Torch and RecBole take seconds to import: what cannot be meant is said before.
    from recbole_unisid.recbole_adapter.config import UniSIDConfig
    from recbole_unisid.runs.many import run_many
    from recbole_unisid.runs.single import run_single

    several_seeds = "seeds" in settings
    seeds = parse_seeds(settings.pop("seeds")) if several_seeds else [None]
    if "tune" in settings:
        trials = _checked_trials(settings.pop("tune"), several_seeds)
        return _tune_all(models, dataset, settings, trials, verbose)
    configs = [
        UniSIDConfig(name, dataset, settings if seed is None else settings | {"seed": seed})
        for name in models
        for seed in seeds
    ]
    if several_seeds or len(models) > 1:
        return run_many(configs, verbose)
    return run_single(configs[0], verbose)


def _checked_trials(trials: Any, several_seeds: bool) -> int:
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise UserError(f"--tune={trials} is no number of trials, such as 20.")
    if several_seeds:
        raise UserError("--tune searches with one seed (--seed); give --seeds to the run of what it found.")
    return trials


def _tune_all(
    models: Iterable[str], dataset: str, settings: dict[str, Any], trials: int, verbose: bool
) -> list[dict[str, Any]]:
    from recbole_unisid.recbole_adapter.config import UniSIDConfig
    from recbole_unisid.runs.tune import tune

    return [
        tune(UniSIDConfig(name, dataset, settings), settings, trials, verbose)
        | {"model": name, "dataset": dataset}
        for name in models
    ]


def parse_seeds(seeds: Any) -> list[int]:
    """Read ``--seeds``: a number n of seeds from 2020 on, or the seeds themselves.

    >>> parse_seeds(3), parse_seeds("7,9"), parse_seeds([4])
    ([2020, 2021, 2022], [7, 9], [4])
    """
    value = parse_value(seeds) if isinstance(seeds, str) else seeds
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return list(range(FIRST_SEED, FIRST_SEED + value))
    if isinstance(value, (list, tuple)) and value and all(isinstance(seed, int) for seed in value):
        return list(value)
    raise UserError(
        f"--seeds={seeds} is neither a number of seeds (5) nor seeds with commas between (7,8,9)."
    )
