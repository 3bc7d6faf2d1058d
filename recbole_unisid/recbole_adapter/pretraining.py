"""Models of two stages: RecBole wants two separate runs, ours makes them one."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from recbole.utils import init_seed

from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.trainer import make_trainer

LOG = logging.getLogger("recbole_unisid")


def pretrain_if_needed(config: UniSIDConfig, run_folder: Path) -> None:
    """Run the pretraining stage of S3Rec and point the settings at what it saved.

    Afterwards ``train_stage`` is ``finetune`` and ``pre_model_path`` the last pretraining checkpoint. A
    ``pre_model_path`` that was given is used as it is. Other models are left alone.
    """
    if config["model"] != "S3Rec":
        return
    if config["train_stage"] == "pretrain" or not config["pre_model_path"]:
        config["pre_model_path"] = str(_pretrain(config, run_folder))
    config["train_stage"] = "finetune"


def _pretrain(config: UniSIDConfig, run_folder: Path) -> Path:
    folder = run_folder / "checkpoint" / "pretraining"
    epochs = config["pretrain_epochs"]
    saved = (
        folder
        / f"{config['model']}-{config['dataset']}-{epochs // config['save_step'] * config['save_step']}.pth"
    )
    if saved.is_file():
        return saved
    if epochs < config["save_step"]:  # RecBole would pretrain and keep nothing
        config["save_step"] = epochs
        saved = folder / f"{config['model']}-{config['dataset']}-{epochs}.pth"
    LOG.info("pretraining for %d epochs", epochs)
    finetuning_folder = config["checkpoint_dir"]
    config["checkpoint_dir"], config["train_stage"] = str(folder), "pretrain"
    init_seed(config["seed"], config["reproducibility"])
    loaders = make_loaders(config, load_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    model: torch.nn.Module = config.make_model(loaders.train.dataset)
    trainer = make_trainer(config, model, run_folder)
    trainer.fit(loaders.train, loaders.valid, show_progress=bool(config["show_progress"]))
    config["checkpoint_dir"] = finetuning_folder
    return saved
