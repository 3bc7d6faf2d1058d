"""One run: a model, a data set, a seed."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors.torch import save_file

from recbole_unisid import distributed
from recbole_unisid.allocator import keep_freed_memory
from recbole_unisid.config.defaults import model_defaults
from recbole_unisid.data.split import TEST, VALID
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.lists import LENGTH
from recbole_unisid.evaluation.metrics import protocol_metrics
from recbole_unisid.files import remove_left_overs, write_atomically
from recbole_unisid.models.whole_sequence import WholeSequenceRecommender
from recbole_unisid.plugins.loading import PART_SETTINGS
from recbole_unisid.plugins.models import check_scores, check_transformer, draws_put_back
from recbole_unisid.recbole_adapter.collector import phase_recorder
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.failures import failures_explained
from recbole_unisid.recbole_adapter.from_recbole import init_seed
from recbole_unisid.recbole_adapter.item_text import item_names, item_table, shown_items
from recbole_unisid.recbole_adapter.loaders import Loaders, full_loader, make_loaders
from recbole_unisid.recbole_adapter.random_state import repeatable_sums
from recbole_unisid.recbole_adapter.registry import RULES
from recbole_unisid.recbole_adapter.semantics import add_learned_tokens, item_semantics
from recbole_unisid.recbole_adapter.tie_orders import check_tie_orders, measure_tie_orders
from recbole_unisid.recbole_adapter.trainer import make_trainer, pretrain_if_needed
from recbole_unisid.runs.after_training import settle
from recbole_unisid.runs.examples import write_run_examples
from recbole_unisid.runs.folder import RunFolder
from recbole_unisid.runs.machine import all_cores, settle_threads
from recbole_unisid.runs.manifest import write_serving_files
from recbole_unisid.runs.result import Measured, build_result
from recbole_unisid.runs.warm import WarmStart
from recbole_unisid.tokens.tokens_file import write_tokens_tsv

LOG = logging.getLogger("recbole_unisid")


def run_single(config: UniSIDConfig, verbose: bool = True) -> dict[str, Any]:
    """Train and evaluate a model, or fetch the result of a finished run with the same hash.

    This is ``result.json``, with the run's folder as ``run_dir``. What an error leaves is kept for the next call.
    """
    folder = RunFolder(config)
    result = folder.result()
    if result is None:
        with folder.owned(verbose):
            # Another command may have finished it meanwhile.
            result = folder.result() or _run(config, folder, verbose)
    elif distributed.is_writer():
        if verbose:
            told = f"{config['model']} on {config['dataset']}, seed {config['seed']}"
            print(f"{told}: finished before, {folder.path}")
        remove_left_overs(folder.path)
    return result | {"run_dir": str(folder.path)}


def _run(config: UniSIDConfig, folder: RunFolder, verbose: bool) -> dict[str, Any]:
    folder.begin()
    with folder.logging(verbose), distributed.lost_process_explained(), failures_explained(config):
        measured = measure(config, train(config, folder))
        if distributed.is_writer():
            _write_artefacts(folder, measured)
        result = build_result(config, measured)
        folder.finish(result)
    return result


@dataclass
class Trained:
    """A model at its best epoch, what it was trained on, and how many seconds long; a title for each item."""

    dataset: Any
    loaders: Loaders
    trainer: Any
    titles: list[str]
    seconds: float
    cpu_seconds: dict[str, float]  # of text and tokens (``items``), and of ``training``, from its beginning
    started_from: dict[str, Any] | None = None  # what ``result.json`` says of a warm start


def train(config: UniSIDConfig, folder: RunFolder) -> Trained:
    """Train a model to its best epoch by validation, from its checkpoint where it was stopped, without the test set."""
    with failures_explained(config), repeatable_sums(config["reproducibility"]):
        return _train(config, folder)


def _train(config: UniSIDConfig, folder: RunFolder) -> Trained:
    settle_threads()
    if hasattr(config.model_class, "settle_process"):
        config.model_class.settle_process(config)
    if not config.is_own_model:
        keep_freed_memory()  # RecBole's batches take blocks of many MiB: results/speed.md
    init_seed(config["seed"], config["reproducibility"])
    pretrain_if_needed(config, folder.path)
    warm = WarmStart.of(config)
    dataset, seconds_of_items = _load_with_semantics(config, warm)
    cpu = {"items": seconds_of_items}
    # What items are shown as is read before the training: a damaged item file costs none of it.
    names = item_names(dataset)
    shown = dataset.semantics
    titles = list(shown.titles) if shown else shown_items(item_table(config), names)[0]
    loaders = make_loaders(config, dataset)
    init_seed(config["seed"], config["reproducibility"])  # as RecBole: the model starts from the seed itself
    check_tie_orders(config, dataset)
    model = _make_model(config, loaders, warm, names)
    trainer = make_trainer(config, model, folder.path)
    started = time.perf_counter()
    told = warm.told(names) if warm else None
    if config.chosen.family in RULES:
        trainer.eval_collector.data_collect(loaders.train)  # what RecBole's metrics count
        cpu["training"] = 0.0
        return Trained(dataset, loaders, trainer, titles, time.perf_counter() - started, cpu)
    trainer.fit(loaders.train, loaders.valid, show_progress=bool(config["show_progress"]))
    seconds = time.perf_counter() - started
    trainer.restore_best()
    spent = -time.process_time()
    settle(config, dataset, model, names, warm)
    spent += time.process_time()
    parts = ("cpu_seconds", "valid_cpu_seconds")
    cpu["training"] = spent + sum(epoch.get(part, 0.0) for epoch in trainer.history for part in parts)
    _take_learned_tokens(config, dataset, model)
    if any(epoch.get("valid") is not None for epoch in trainer.history):
        # RecBole counts epochs from 0, people from 1.
        LOG.info("the best is epoch %d of %d", trainer.best_epoch + 1, len(trainer.history))
    else:
        LOG.info("nothing was validated: the last epoch of %d is kept", len(trainer.history))
    return Trained(dataset, loaders, trainer, titles, seconds, cpu, told)


def _load_with_semantics(config: UniSIDConfig, warm: WarmStart | None) -> tuple[Any, float]:
    """The data set with its items' text and tokens, and the CPU seconds that those took."""
    dataset = load_dataset(config)
    counts = (dataset.user_num - 1, dataset.item_num - 1, dataset.inter_num)
    LOG.info("%s: %d users, %d items, %d interactions", config["dataset"], *counts)
    spent = -time.process_time()
    # RecBole's preprocessing hook: text and tokens come before the model that reads them.
    with distributed.writer_first(), all_cores():  # the other processes find it in the cache
        dataset.semantics = warm.semantics(config, dataset) if warm else item_semantics(config, dataset)
    return dataset, spent + time.process_time()


def _make_model(config: UniSIDConfig, loaders: Loaders, warm: WarmStart | None, names: list[str]) -> Any:
    """The model at its start, tried before it trains where it is not all ours."""
    model = config.make_model(loaders.train.dataset)
    if warm:
        warm.load_into(model, names)
    usual = model_defaults(config.chosen.family, config["recipe"])
    others = [part for part in PART_SETTINGS if part in usual and config[part] not in (None, usual[part])]
    if config.chosen.users or (config.is_own_model and others):
        _check_own(config, model, loaders)
    return model


def _take_learned_tokens(config: UniSIDConfig, dataset: Any, model: Any) -> None:
    """Put tokens that the model learned itself where those of a tokenizer stand."""
    semantic = model.items.semantic if config.is_own_model else None
    learned = None if semantic is None else semantic.learned_tokens()
    if learned is not None:
        add_learned_tokens(dataset.semantics, learned)


def _check_own(config: UniSIDConfig, model: Any, loaders: Loaders) -> None:
    """Try a model of the user's own, and any part but a model's usual one, before they train."""
    name, sampled = config["model"], config["eval_args"]["mode"]["test"] != "full"
    if isinstance(model, WholeSequenceRecommender):
        check_transformer(name, model.transformer, model.items.width, config["MAX_ITEM_LIST_LENGTH"])
    with draws_put_back():  # a loader may draw
        batch = next(iter(loaders.test))[0].to(config["device"])
    check_scores(name, model, batch, flat=not config.is_own_model, sampled=sampled)
    if getattr(model, "terms", None) is not None:
        model.terms.check(batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN])
    elif config.external_config_dict.get("score_terms"):
        raise UserError(
            f"score_terms: {name} has a full_sort_predict of its own, which adds none; leave it out."
        )


def measure(config: UniSIDConfig, trained: Trained) -> Measured:
    """Rank every test and, unless `figures` is ``test``, validation target under every candidate set."""
    started, cpu = time.perf_counter(), -time.process_time()
    dataset, loaders, trainer = trained.dataset, trained.loaders, trained.trainer
    recbole, ranks, lists = {}, {}, None
    # The test first: RecBole draws its sampled candidates (uni100) at evaluation, in this order.
    for phase, name, loader in ((TEST, "test", loaders.test), (VALID, "valid", loaders.valid)):
        if loader is None or (phase == VALID and config["figures"] == "test"):
            continue
        recorder = phase_recorder(config, dataset, phase, LENGTH if phase == TEST else 0)
        # One pass serves RecBole's metrics and our ranks, unless RecBole samples its candidates.
        whole = config["eval_args"]["mode"][name] == "full"
        recbole[name] = trainer.evaluate(loader, load_best_model=False, recorder=recorder if whole else None)
        if not whole:
            trainer.evaluate(full_loader(config, loader), load_best_model=False, recorder=recorder)
        ranks[name] = recorder.result()
        lists = recorder.lists() if recorder.best else lists
        trainer.log_figures(name, protocol_metrics(ranks[name]))
    tie_orders = measure_tie_orders(config, dataset, trainer, ranks["test"])
    seconds = {"training": trained.seconds, "evaluation": time.perf_counter() - started}
    spent = trained.cpu_seconds | {"evaluation": cpu + time.process_time()}
    found = dataset, trainer, recbole, ranks, dataset.semantics, trained.titles
    return Measured(*found, seconds, spent, tie_orders, lists, trained.started_from)


def _write_artefacts(folder: RunFolder, measured: Measured) -> None:
    model = measured.trainer.model
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    size = sum(value.nbytes for value in weights.values())
    with write_atomically(folder.path / "model.safetensors", size) as part:
        save_file(weights, part)
    if measured.semantics is not None and measured.semantics.tokenization is not None:
        names = measured.dataset.sequences.item_ids[1:].tolist()
        write_tokens_tsv(folder.path / "tokens.tsv", names, np.asarray(measured.semantics.codes))
    write_serving_files(folder.path, folder.config, measured.dataset, measured.semantics, measured.titles)
    measured.rank_table.save(folder.path / "ranks.npz")
    if folder.config.chosen.ours:
        write_run_examples(measured, folder.path / "examples.json")
