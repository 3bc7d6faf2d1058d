"""RecBole's trainers with checkpoints that hold no pickles, a resumable state and one progress bar."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.utils import get_trainer
from tqdm import tqdm

from recbole_unisid.errors import UserError
from recbole_unisid.files import write_atomically
from recbole_unisid.host.checkpoint import load_state, save_state
from recbole_unisid.host.collector import RankCollector, RankRecorder
from recbole_unisid.host.config import UniSIDConfig
from recbole_unisid.host.mends import tensorboard_in


class RunTrainer:
    """What every trainer of ours adds to the RecBole trainer that stands behind it.

    Parameters
    ----------
    config : UniSIDConfig
        Settings; ``checkpoint_dir`` is the run's checkpoint folder.
    model : AbstractRecommender
        The model to train.
    run_folder : Path
        Where TensorBoard events go.
    """

    # What RecBole's Trainer sets.
    config: UniSIDConfig
    model: Any
    optimizer: torch.optim.Optimizer
    epochs: int
    cur_step: int
    stopping_step: int
    best_valid_score: float
    train_loss_dict: dict[int, float]

    def __init__(self, config: UniSIDConfig, model: torch.nn.Module, run_folder: Path) -> None:
        with tensorboard_in(run_folder / "tensorboard"):
            super().__init__(config, model)  # type: ignore[call-arg]
        self.eval_collector = RankCollector(config)
        self.best_file = Path(config["checkpoint_dir"]) / "best.safetensors"
        self.last_file = Path(config["checkpoint_dir"]) / "last.safetensors"
        #: One entry an epoch: ``epoch``, ``loss``, ``valid``, ``seconds``.
        self.history: list[dict[str, Any]] = []
        self.best_epoch: int | None = None
        self.best_valid_result: Any = None
        self._bar: tqdm[Any] | None = None

    # --- training ---------------------------------------------------------------------------------

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """Train as RecBole does; go on where an earlier, stopped call left off.

        Parameters
        ----------
        train_data, valid_data : loader
            `valid_data` None trains for all epochs and keeps the last.
        verbose, saved, callback_fn
            As in RecBole.
        show_progress : bool
            One bar over all epochs.

        Returns
        -------
        tuple of float and dict
            Best validation score and RecBole's metrics at it.
        """
        stopped = self._resume(train_data)

        def after_epoch(epoch: int, score: float) -> None:
            self._note_epoch(epoch, score)
            self._save_last(epoch, train_data)
            if callback_fn is not None:
                callback_fn(epoch, score)

        if stopped:
            return self.best_valid_score, self.best_valid_result
        title = f"{self.config['model']} {self.config['dataset']} seed {self.config['seed']}"
        self._bar = tqdm(
            total=self.epochs,
            initial=self.start_epoch,
            desc=title,
            unit="epoch",
            disable=not show_progress,
            bar_format="{desc} |{bar}| {n:.1f}/{total_fmt} epochs [{elapsed}<{remaining}{postfix}]",
        )
        with self._bar:
            fitted: tuple[float, dict[str, float] | None] = super().fit(  # type: ignore[misc]
                train_data, valid_data, verbose, saved, False, after_epoch
            )
        return fitted

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        compute_loss = loss_func or self.model.calculate_loss
        step = 1 / len(train_data)

        def counted(interaction: Any) -> Any:
            if self._bar is not None:
                self._bar.update(min(step, epoch_idx + 1 - self._bar.n))
            return compute_loss(interaction)

        self._epoch_started = time.perf_counter()
        losses = super()._train_epoch(train_data, epoch_idx, counted, show_progress=False)  # type: ignore[misc]
        self._epoch_seconds = time.perf_counter() - self._epoch_started
        return losses

    def _note_epoch(self, epoch: int, score: float) -> None:
        loss = float(self.train_loss_dict[epoch])
        seconds = round(self._epoch_seconds, 3)
        self.history.append({"epoch": epoch, "loss": loss, "valid": float(score), "seconds": seconds})
        if self._bar is not None:
            self._bar.n = epoch + 1
            metric = self.config["valid_metric"].lower()
            self._bar.set_postfix_str(f"{metric} {score:.4f}, best {self.best_valid_score:.4f}")

    # --- checkpoints ------------------------------------------------------------------------------

    def _model_state(self) -> dict[str, Any]:
        return {"state_dict": dict(self.model.state_dict()), "other_parameter": self.model.other_parameter()}

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """Keep the best model (RecBole calls this at every better epoch)."""
        self.best_epoch = epoch
        save_state(self.best_file, {"epoch": epoch, **self._model_state()})

    def _save_last(self, epoch: int, train_data: Any) -> None:
        """Keep everything that going on after `epoch` needs."""
        progress = {
            name: getattr(self, name)
            for name in ("cur_step", "best_valid_score", "best_epoch", "history", "train_loss_dict")
        }
        result = None if self.best_valid_result is None else dict(self.best_valid_result)
        state = {
            "epoch": epoch,
            **self._model_state(),
            "optimizer": self.optimizer.state_dict(),
            "progress": progress | {"best_valid_result": result},
            "random": _random_state(train_data),
        }
        save_state(self.last_file, state)

    def _resume(self, train_data: Any) -> bool:
        """Load the last epoch's state if there is one; tell whether training had stopped there."""
        if not self.last_file.is_file():
            return False
        state = load_state(self.last_file)
        self.model.load_state_dict(state["state_dict"])
        self.model.load_other_parameter(state["other_parameter"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, value in state["progress"].items():
            setattr(self, name, value)
        self.start_epoch = state["epoch"] + 1
        _restore_random(state["random"], train_data)
        return self.cur_step > self.stopping_step or self.start_epoch >= self.epochs

    def resume_checkpoint(self, resume_file: str | Path) -> None:
        """Load a checkpoint file of ours into model and optimiser, as RecBole's method of this name does.

        Raises
        ------
        UserError
            When the file is damaged, or a pickle.
        """
        state = load_state(Path(resume_file))
        self.model.load_state_dict(state["state_dict"])
        self.model.load_other_parameter(state["other_parameter"])
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
            for name, value in state["progress"].items():
                setattr(self, name, value)
        self.start_epoch = state["epoch"] + 1

    def save_pretrained_model(self, epoch: int, saved_model_file: str) -> None:
        """Write a pretraining stage's weights so that ``torch.load`` of today reads them (#2212).

        RecBole's S3Rec loads them itself; without the pickled Config the file holds tensors alone.
        """
        with write_atomically(saved_model_file) as part:
            torch.save({"epoch": epoch, "state_dict": self.model.state_dict()}, part)
        self.saved_model_file = saved_model_file

    def restore_best(self) -> None:
        """Load the best epoch's weights.

        Raises
        ------
        UserError
            When no epoch was kept.
        """
        if not self.best_file.is_file():
            raise UserError(f"There is no trained model at {self.best_file}.")
        state = load_state(self.best_file, self.config["device"])
        self.model.load_state_dict(state["state_dict"])
        self.model.load_other_parameter(state["other_parameter"])

    # --- evaluation -------------------------------------------------------------------------------

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
        recorder: RankRecorder | None = None,
    ) -> dict[str, float]:
        """RecBole's metrics, and our ranks from the same scores where a recorder is given."""
        if load_best_model:
            self.restore_best()
        self.eval_collector.recorder = recorder
        try:
            result: dict[str, float] = super().evaluate(  # type: ignore[misc]
                eval_data, load_best_model=False, show_progress=show_progress
            )
        finally:
            self.eval_collector.recorder = None
        return {key: float(value) for key, value in result.items()}


def _random_state(train_data: Any) -> dict[str, Any]:
    """State of every generator that training draws from."""
    generator = getattr(train_data, "generator", None)
    if isinstance(generator, np.random.Generator):
        loader: Any = dict(generator.bit_generator.state)  # integers of 128 bits: Python's JSON keeps them
    else:
        loader = None if generator is None else generator.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": np.random.get_state(),  # noqa: NPY002 (RecBole draws from it)
        "python": random.getstate(),
        "loader": loader,
    }


def _restore_random(state: dict[str, Any], train_data: Any) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])
    generator = getattr(train_data, "generator", None)
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state["loader"]
    elif generator is not None:
        generator.set_state(state["loader"])


def make_trainer(config: UniSIDConfig, model: torch.nn.Module, run_folder: Path) -> Any:
    """Build the trainer that RecBole has for the model, with :class:`RunTrainer` in front.

    Parameters
    ----------
    config : UniSIDConfig
        Settings.
    model : AbstractRecommender
        The model.
    run_folder : Path
        The run's folder.
    """
    base = get_trainer(config["MODEL_TYPE"], config["model"])
    return type(f"Run{base.__name__}", (RunTrainer, base), {})(config, model, run_folder)
