"""RecBole's trainers with checkpoints that hold no pickles, a resumable state and one progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.utils import get_trainer
from tqdm import tqdm

from recbole_unisid.errors import UserError
from recbole_unisid.files import write_atomically
from recbole_unisid.host import distributed
from recbole_unisid.host.checkpoint import load_state, save_state
from recbole_unisid.host.collector import RankCollector, RankRecorder
from recbole_unisid.host.config import UniSIDConfig
from recbole_unisid.host.loaders import TARGET_LIST
from recbole_unisid.host.mends import tensorboard_in
from recbole_unisid.host.random_state import (
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
    """Where training stands: `batch` batches of `epoch` are done.

    Attributes
    ----------
    epoch, batch : int
        The next batch to train.
    loss : list of float
        Sum of the losses of the epoch's batches so far, one number a part of the loss.
    seconds, cpu_seconds : float
        Time that they took, by the clock and of this process's cores.
    finished : bool
        Nothing is left to train.
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


class _Watch:
    """Time of an epoch, counted on from what an earlier call spent on it."""

    def __init__(self, place: Place) -> None:
        self.wall = time.perf_counter() - place.seconds
        self.cpu = time.process_time() - place.cpu_seconds

    def note(self, place: Place) -> None:
        """Write the time so far into `place`."""
        place.seconds, place.cpu_seconds = time.perf_counter() - self.wall, time.process_time() - self.cpu


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
    start_epoch: int
    best_valid_score: float
    train_loss_dict: dict[int, float]
    evaluator: Any
    tensorboard: Any
    wandblogger: Any
    item_tensor: Any
    device: torch.device
    _neg_sample_batch_eval: Any
    _full_sort_batch_eval: Any

    def __init__(self, config: UniSIDConfig, model: torch.nn.Module, run_folder: Path) -> None:
        with tensorboard_in(run_folder / "tensorboard" if distributed.is_writer() else None):
            super().__init__(config, model)  # type: ignore[call-arg]
        self.eval_collector = RankCollector(config)
        self.best_file = Path(config["checkpoint_dir"]) / "best.safetensors"
        self.last_file = Path(config["checkpoint_dir"]) / "last.safetensors"
        #: One entry an epoch: ``epoch``, ``loss``, ``valid`` (None: not validated), ``seconds``, ``cpu_seconds``.
        self.history: list[dict[str, Any]] = []
        self.best_epoch: int | None = None
        self.best_valid_result: Any = None
        self._bar: tqdm[Any] | None = None
        self._resumed: dict[str, Any] | None = None
        self._compute_loss = distributed.synchronised(model, self.model.calculate_loss, config.is_own_model)

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        """RecBole's optimiser; for our models Adam in one pass over memory instead of ten."""
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        kind = kinds.get(str(self.config["learner"]).lower())
        if kind is None or not self.config.is_own_model:
            optimizer: torch.optim.Optimizer = super()._build_optimizer(**kwargs)  # type: ignore[misc]
            return optimizer
        rate, decay = self.config["learning_rate"], self.config["weight_decay"]
        fused: torch.optim.Optimizer = kind(self.model.parameters(), lr=rate, weight_decay=decay, fused=True)
        return fused

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

        Raises
        ------
        UserError
            When the loss is no longer a number, or another process of the run has died.
        """
        if self._resume():
            self.eval_collector.data_collect(train_data)
            return self.best_valid_score, self.best_valid_result

        def after_evaluation(epoch: int, score: float) -> None:
            self.history[-1]["valid"] = float(score)
            self._show(epoch, score)
            if callback_fn is not None:
                callback_fn(epoch, score)

        title = f"{self.config['model']} {self.config['dataset']} seed {self.config['seed']}"
        self._bar = tqdm(
            total=self.epochs,
            initial=self.start_epoch,
            desc=title,
            unit="epoch",
            disable=not show_progress or not distributed.is_writer(),
            bar_format="{desc} |{bar}| {n:.1f}/{total_fmt} epochs [{elapsed}, at most {remaining} left{postfix}]",
        )
        with self._bar, distributed.lost_process_explained():
            fitted: tuple[float, dict[str, float] | None] = super().fit(  # type: ignore[misc]
                train_data, valid_data, verbose, saved, False, after_evaluation
            )
            self._save_last(Place(self.epochs, finished=True), loader_state(train_data))
            distributed.wait_for_all()
        return fitted

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        place = Place(epoch_idx)
        if self._resumed is not None:
            place = Place(**self._resumed["place"])
        compute_loss = loss_func or self._compute_loss
        step, watch = 1 / len(train_data), _Watch(place)

        def counted(interaction: Any) -> Any:
            rows, weight = distributed.share(interaction, TARGET_LIST)
            losses = compute_loss(rows)
            if weight != 1.0:
                losses = tuple(x * weight for x in losses) if isinstance(losses, tuple) else losses * weight
            place.add(losses)
            if self._bar is not None:
                self._bar.update(min(step, epoch_idx + 1 - self._bar.n))
            return losses

        batches = self._resumable_batches(train_data, place, watch)
        super()._train_epoch(batches, epoch_idx, counted, show_progress=False)  # type: ignore[misc]
        losses = distributed.mean_over_processes(place.loss)
        watch.note(place)
        times = {"seconds": round(place.seconds, 3), "cpu_seconds": round(place.cpu_seconds, 3)}
        self.history.append({"epoch": epoch_idx, "loss": sum(losses), "valid": None, **times})
        return losses[0] if len(losses) == 1 else tuple(losses)

    def _resumable_batches(self, train_data: Any, place: Place, watch: _Watch) -> Iterator[Any]:
        """Yield the batches of an epoch from `place` on, keeping a checkpoint before it and now and then.

        Control comes back here when a batch has been trained and the next one is not drawn yet: what is
        saved then goes on bit for bit.
        """
        if self._resumed is not None:
            restore_loader(train_data, self._resumed["loader"])
        loader = loader_state(train_data)
        if self._resumed is None and place.epoch > self.start_epoch:
            self._save_last(place, loader)
        batches = iter(train_data)
        for _ in range(place.batch):
            next(batches)
        if self._resumed is not None:
            restore_random(self.model, self._resumed["random"])
            self._resumed = None
        if place.epoch == self.start_epoch:
            diverge(self.config["seed"], place.epoch, place.batch)
        saved_at = time.monotonic()
        for batch in batches:
            yield batch
            place.batch += 1
            if time.monotonic() - saved_at >= 60 * self.config["checkpoint_minutes"]:
                watch.note(place)
                self._save_last(place, loader)
                saved_at = time.monotonic()

    def _check_nan(self, loss: torch.Tensor) -> None:
        """Stop at a loss that no step can mend, in one line instead of RecBole's traceback."""
        if not torch.isfinite(loss):
            raise UserError(
                f"The training loss became {loss.item()}: training has diverged; lower learning_rate (now "
                f"{self.config['learning_rate']}) or set clip_grad_norm."
            )

    def _show(self, epoch: int, score: float) -> None:
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
        if distributed.is_writer():
            save_state(self.best_file, {"epoch": epoch, **self._model_state()})

    def _save_last(self, place: Place, loader: Any) -> None:
        """Keep everything that going on from `place` needs; `loader` is its generator before the epoch."""
        if not distributed.is_writer():
            return
        result = None if self.best_valid_result is None else dict(self.best_valid_result)
        state = {
            "epoch": place.epoch - 1,  # the last one finished
            "place": asdict(place),
            **self._model_state(),
            "optimizer": self.optimizer.state_dict(),
            "progress": {name: getattr(self, name) for name in _PROGRESS} | {"best_valid_result": result},
            "random": random_state(self.model),
            "loader": loader,
        }
        save_state(self.last_file, state)

    def _resume(self) -> bool:
        """Load the last checkpoint if there is one; tell whether training had finished there."""
        if distributed.is_writer():
            for left_over in self.last_file.parent.glob(".*.part"):  # of a killed process
                left_over.unlink()
        if not self.last_file.is_file():
            return False
        state = self.resume_checkpoint(self.last_file)
        self._resumed = state
        if state["place"]["finished"]:
            restore_random(self.model, state["random"])
        return bool(state["place"]["finished"])

    def resume_checkpoint(self, resume_file: str | Path) -> dict[str, Any]:
        """Load a checkpoint file of ours into model and optimiser, as RecBole's method of this name does.

        Returns
        -------
        dict
            All that the file holds.

        Raises
        ------
        UserError
            When the file is damaged, or a pickle.
        """
        state: dict[str, Any] = load_state(Path(resume_file))
        self.model.load_state_dict(state["state_dict"])
        self.model.load_other_parameter(state["other_parameter"])
        if "optimizer" in state:
            self.optimizer.load_state_dict(state["optimizer"])
            for name, value in state["progress"].items():
                setattr(self, name, value)
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

    def log_figures(self, phase: str, figures: Mapping[str, Mapping[str, float]]) -> None:
        """Give figures of the protocol to TensorBoard and W&B, beside what RecBole logs itself.

        Parameters
        ----------
        phase : str
            ``valid`` or ``test``.
        figures : mapping of mapping of float
            By candidate set and metric.
        """
        if not distributed.is_writer():
            return
        for candidates, metrics in figures.items():
            for metric, value in metrics.items():
                self.tensorboard.add_scalar(
                    f"{phase}/{candidates}/{metric.replace('@', '_')}", value, self.best_epoch
                )
            self.wandblogger.log_eval_metrics(
                {f"{candidates}/{k}": v for k, v in metrics.items()}, head=phase
            )

    # --- evaluation -------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
        recorder: RankRecorder | None = None,
    ) -> dict[str, float]:
        """RecBole's metrics, and our ranks from the same scores where a recorder is given.

        Raises
        ------
        UserError
            When a score is not a number.
        """
        if load_best_model:
            self.restore_best()
        self.model.eval()
        score_batch = self._neg_sample_batch_eval
        if isinstance(eval_data, FullSortEvalDataLoader):
            score_batch = self._full_sort_batch_eval
            if self.item_tensor is None:
                self.item_tensor = eval_data._dataset.get_item_feature().to(self.device)
        self.tot_item_num = eval_data._dataset.item_num
        self.eval_collector.begin(recorder, gather=getattr(eval_data, "is_share", False))
        for batch in eval_data:
            interaction, scores, rows, items = score_batch(batch)
            self.eval_collector.eval_batch_collect(scores, interaction, rows, items)
        result = self.evaluator.evaluate(self.eval_collector.get_data_struct())
        return {key: float(value) for key, value in result.items()}


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
