"""One run: a model, a data set, a seed."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import torch
from recbole.utils import init_seed
from safetensors.torch import save_file

from recbole_unisid.data.split import TEST, VALID
from recbole_unisid.files import write_atomically
from recbole_unisid.host import distributed
from recbole_unisid.host.collector import RankRecorder
from recbole_unisid.host.config import UniSIDConfig
from recbole_unisid.host.dataset import load_dataset
from recbole_unisid.host.loaders import full_loader, make_loaders
from recbole_unisid.host.pretraining import pretrain_if_needed
from recbole_unisid.host.semantics import ItemSemantics, item_semantics
from recbole_unisid.host.trainer import make_trainer
from recbole_unisid.runs.folder import RunFolder
from recbole_unisid.runs.result import Measured, build_result, rank_table
from recbole_unisid.scores.negatives import sample_negatives
from recbole_unisid.tokens.tokens_file import write_tokens_tsv

LOG = logging.getLogger("recbole_unisid")


def run_single(config: UniSIDConfig, verbose: bool = True) -> dict[str, Any]:
    """Train and evaluate a model, or fetch the result of a finished run with the same hash.

    Parameters
    ----------
    config : UniSIDConfig
        Settings of the run.
    verbose : bool
        Say on the screen what happens.

    Returns
    -------
    dict
        ``result.json``, with the run's folder as ``run_dir``.

    Raises
    ------
    UserError
        For data or settings that cannot be used; what was trained so far is kept for the next call.
    """
    folder = RunFolder(config)
    result = folder.result()
    if result is None:
        folder.begin()
        with folder.logging(verbose), distributed.lost_process_explained():
            result = _train_and_measure(config, folder)
            folder.finish(result)
    elif verbose and distributed.is_writer():
        print(
            f"{config['model']} on {config['dataset']}, seed {config['seed']}: finished before, {folder.path}"
        )
    return result | {"run_dir": str(folder.path)}


def _train_and_measure(config: UniSIDConfig, folder: RunFolder) -> dict[str, Any]:
    init_seed(config["seed"], config["reproducibility"])
    pretrain_if_needed(config, folder.path)
    dataset = load_dataset(config)
    LOG.info(
        "%s: %d users, %d items, %d interactions", config["dataset"], dataset.user_num - 1, dataset.item_num - 1,
        dataset.inter_num,
    )  # fmt: skip
    semantics = _attach_semantics(config, dataset)
    loaders = make_loaders(config, dataset)
    init_seed(config["seed"], config["reproducibility"])  # as RecBole: the model starts from the seed itself
    model = config.model_class(config, loaders.train.dataset).to(config["device"])
    trainer = make_trainer(config, model, folder.path)

    started = time.perf_counter()
    trainer.fit(loaders.train, loaders.valid, show_progress=bool(config["show_progress"]))
    trained = time.perf_counter()
    trainer.restore_best()
    LOG.info("trained %d epochs; evaluating the best, epoch %s", len(trainer.history), trainer.best_epoch)

    negatives = sample_negatives(dataset.sequences, seed=config["protocol_seed"])
    recbole, ranks = {}, {}
    # The test first: RecBole draws its sampled candidates (uni100) at evaluation, in this order.
    for phase, name, loader in ((TEST, "test", loaders.test), (VALID, "valid", loaders.valid)):
        if loader is not None:
            recorder = RankRecorder(
                dataset.sequences, dataset.split.targets(phase), negatives, dataset.uid_field,
                masked=not config.is_sequential,
            )  # fmt: skip
            recbole[name], ranks[name] = _evaluate(config, trainer, loader, recorder, name)
    measured = Measured(
        dataset, trainer, recbole, ranks, semantics,
        {"training": trained - started, "evaluation": time.perf_counter() - trained},
    )  # fmt: skip
    if distributed.is_writer():
        _write_artefacts(folder, model, measured)
    return build_result(config, measured)


def _attach_semantics(config: UniSIDConfig, dataset: Any) -> ItemSemantics | None:
    """RecBole's preprocessing hook: text and tokens come before the model that reads them."""
    needs = getattr(config.model_class, "needs", None)
    with distributed.writer_first():  # the others find it in the cache
        dataset.semantics = item_semantics(config, dataset, needs) if needs else None
    attached: ItemSemantics | None = dataset.semantics
    return attached


def _evaluate(
    config: UniSIDConfig, trainer: Any, loader: Any, recorder: RankRecorder, name: str
) -> tuple[dict[str, float], dict[str, Any]]:
    """RecBole's metrics and our ranks; one pass serves both unless RecBole samples its candidates."""
    if config["eval_args"]["mode"][name] == "full":
        metrics = trainer.evaluate(loader, load_best_model=False, recorder=recorder)
    else:
        metrics = trainer.evaluate(loader, load_best_model=False)
        trainer.evaluate(full_loader(config, loader), load_best_model=False, recorder=recorder)
    return metrics, recorder.result()


def _write_artefacts(folder: RunFolder, model: torch.nn.Module, measured: Measured) -> None:
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    with write_atomically(folder.path / "model.safetensors") as part:
        save_file(weights, part)
    if measured.semantics is not None and measured.semantics.tokenization is not None:
        names = measured.dataset.sequences.item_ids[1:].tolist()
        write_tokens_tsv(folder.path / "tokens.tsv", names, np.asarray(measured.semantics.codes))
    rank_table(measured).save(folder.path / "ranks.npz")
