"""Training that can be stopped anywhere: where it stands, checkpoints, and going on bit for bit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from recbole.trainer import Trainer

from recbole_unisid import distributed
from recbole_unisid.errors import UserError
from recbole_unisid.files import write_atomically
from recbole_unisid.recbole_adapter.checkpoint import load_state, save_state
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.lazy_table import LazyTable
from recbole_unisid.recbole_adapter.optimisation import WeightAverage
from recbole_unisid.recbole_adapter.random_state import (
    diverge,
    loader_state,
    random_state,
    restore_loader,
    restore_random,
)

#: What a trainer knows of its progress, beside weights and random numbers.
_PROGRESS = ("cur_step", "best_valid_score", "best_epoch", "history", "train_loss_dict")


@dataclass
class Place:
    """Where training stands: `batch` batches of `epoch` are done, or all is `finished`.

    `loss` is the sum over these batches, one number a part of the loss; `seconds` and `cpu_seconds` are the time that
    they took, by the clock and of this process's cores.
    """

    epoch: int = 0
    batch: int = 0
    loss: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    finished: bool = False

    def add(self, losses: Any) -> None:
        """Add the loss of one batch, a tensor or a tuple of them."""
        parts = [part.item() for part in (losses if isinstance(losses, tuple) else (losses,))]
        self.loss = [old + new for old, new in zip(self.loss, parts, strict=True)] if self.loss else parts

    def go_on(self) -> None:
        """Count the time from here on, after what earlier calls spent."""
        self._begun = time.perf_counter() - self.seconds, time.process_time() - self.cpu_seconds

    def note_time(self) -> None:
        """Keep the time so far."""
        clock, cpu = self._begun
        self.seconds, self.cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu


class Resumable(Trainer):
    """The part of a trainer that keeps and loads its state."""

    config: UniSIDConfig
    optimizer: torch.optim.Optimizer
    #: A large ID table that is trained apart from the optimiser.
    table: LazyTable | None = None

    def __init__(self, config: UniSIDConfig, *others: Any) -> None:
        super().__init__(config, *others)
        #: The weights of the best epoch, and everything that going on needs.
        self.best_file = Path(config["checkpoint_dir"]) / "best.safetensors"
        self.last_file = Path(config["checkpoint_dir"]) / "last.safetensors"
        #: An entry an epoch: ``epoch``, ``loss``, ``valid`` (None: not validated), ``seconds``, ``cpu_seconds``, and
        #: ``valid_cpu_seconds`` where it was validated.
        self.history: list[dict[str, Any]] = []
        #: The epoch kept, and RecBole's metrics at it.
        self.best_epoch: int | None = None
        self.best_valid_result: Any = None
        #: What was loaded to go on from, until the first batch is drawn.
        self.resumed: dict[str, Any] | None = None
        #: What is evaluated and kept instead of the last weights, where `weight_average` asks for it.
        self.averaged: WeightAverage | None = None

    def resumable_batches(self, train_data: Any, place: Place) -> Iterator[Any]:
        """Yield the batches of an epoch from `place` on, keeping a checkpoint before it and now and then.

        Control comes back here when a batch has been trained and the next one is not drawn yet: what is
        saved then goes on bit for bit.
        """
        if self.resumed is not None:
            restore_loader(train_data, self.resumed["loader"])
        loader = loader_state(train_data)
        if self.resumed is None and place.epoch > self.start_epoch:
            self.save_last(place, loader)
        batches = iter(train_data)
        for _ in range(place.batch):
            next(batches)
        if self.resumed is not None:
            restore_random(self.model, self.resumed["random"])
            self.resumed = None
        if place.epoch == self.start_epoch:
            diverge(self.config["seed"], place.epoch, place.batch)
        saved_at = time.monotonic()
        for batch in batches:
            yield batch
            place.batch += 1
            if time.monotonic() - saved_at >= 60 * self.config["checkpoint_minutes"]:
                place.note_time()
                self.save_last(place, loader)
                saved_at = time.monotonic()

    def _model_state(self) -> dict[str, Any]:
        return {"state_dict": dict(self.model.state_dict()), "other_parameter": self.model.other_parameter()}

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """Keep the best model (RecBole calls this at every better epoch)."""
        self.best_epoch = epoch
        if self.table is not None:
            self.table.flush()
        if distributed.is_writer():
            with self.averaged.in_place() if self.averaged else nullcontext():
                save_state(self.best_file, {"epoch": epoch, **self._model_state()})

    def save_last(self, place: Place, loader: Any) -> None:
        """Keep everything that going on from `place` needs; `loader` is its generator before the epoch."""
        if not distributed.is_writer():
            return
        result = None if self.best_valid_result is None else dict(self.best_valid_result)
        state = {
            "epoch": place.epoch - 1,  # the last one finished
            "place": asdict(place),
            **self._model_state(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.state() if self.averaged else None,
            "table": self.table.state() if self.table else None,
            "progress": {name: getattr(self, name) for name in _PROGRESS} | {"best_valid_result": result},
            "random": random_state(self.model),
            "loader": loader,
        }
        save_state(self.last_file, state)

    def resume(self) -> bool:
        """Load the last checkpoint if there is one; tell whether training had finished there."""
        if not self.last_file.is_file():
            return False
        self.resumed = state = self.resume_checkpoint(self.last_file)
        finished = bool(state["place"]["finished"])
        if finished:
            restore_random(self.model, state["random"])
        return finished

    def resume_checkpoint(self, resume_file: str | Path) -> dict[str, Any]:
        """Load a checkpoint file of ours into model and optimiser, as RecBole's method of this name does."""
        state: dict[str, Any] = load_state(Path(resume_file))
        self._load_model(state, resume_file)
        if "optimizer" in state:
            if (self.table is None) != (state.get("table") is None):
                raise UserError(
                    f"Checkpoint {resume_file} is another version's: its ID table was trained otherwise; delete the "
                    f"folder {Path(resume_file).parent} to start again."
                )
            self.optimizer.load_state_dict(state["optimizer"])
            for name, value in state["progress"].items():
                setattr(self, name, value)
            if self.averaged is not None:
                self.averaged.restore(state["averaged"])
            if self.table is not None:
                self.table.restore(state["table"])
        self.start_epoch = state["epoch"] + 1
        return state

    def save_pretrained_model(self, epoch: int, saved_model_file: str) -> None:
        """Write a pretraining stage's weights so that ``torch.load`` of today reads them (#2212).

        RecBole's S3Rec loads them itself; without the pickled Config the file holds tensors alone.
        """
        with write_atomically(saved_model_file) as part:
            torch.save({"epoch": epoch, "state_dict": self.model.state_dict()}, part)
        self.saved_model_file = saved_model_file

    def restore_best(self) -> None:
        """Load the best epoch's weights."""
        if not self.best_file.is_file():
            raise UserError(f"There is no trained model at {self.best_file}.")
        if self.table is not None:
            self.table.flush()  # not into the weights that come
        state = load_state(self.best_file, self.config["device"])
        self._load_model(state, self.best_file)

    def _load_model(self, state: dict[str, Any], path: str | Path) -> None:
        try:
            self.model.load_state_dict(state["state_dict"])
        except RuntimeError as error:
            raise UserError(
                f"Checkpoint {path} is another version's: its tensors are not those of this "
                f"{self.config['model']}; delete the folder {Path(path).parent} to start again."
            ) from error
        self.model.load_other_parameter(state["other_parameter"])
