"""RecBole's trainers, resumable, on several processes, with one progress bar and ranks by comparison."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.utils import get_trainer, init_seed

from recbole_unisid import distributed
from recbole_unisid.allocator import release_freed_memory
from recbole_unisid.data.split import VALID
from recbole_unisid.data.windows import TARGET_LIST
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.candidates import sampled_for
from recbole_unisid.interruption import heed
from recbole_unisid.models.backbones.dropout import draw_fast
from recbole_unisid.models.shards import ahead, divide, safe_in_threads
from recbole_unisid.models.whole_sequence import WholeSequenceRecommender
from recbole_unisid.plugins.models import check_loss
from recbole_unisid.products import multiply_fast
from recbole_unisid.recbole_adapter.collector import (
    RankCollector,
    RankRecorder,
    phase_recorder,
    protocol_score,
    sampled_ranks,
)
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.dropout import chunk_dropout
from recbole_unisid.recbole_adapter.last_position import keep_last_position
from recbole_unisid.recbole_adapter.lazy_table import lazy_table
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.optimisation import (
    WeightAverage,
    follow_schedule,
    relative_groups,
    shrink_table,
)
from recbole_unisid.recbole_adapter.progress import Progress
from recbole_unisid.recbole_adapter.random_state import loader_state
from recbole_unisid.recbole_adapter.resumable import Place, Resumable
from recbole_unisid.recbole_adapter.upstream_fixes import tensorboard_in

LOG = logging.getLogger("recbole_unisid")


class RunTrainer(Resumable):
    """What every trainer of ours adds to the RecBole trainer that stands behind it."""

    item_tensor: Any
    #: Of the whole training, where a schedule asks.
    _total_steps = 0

    def __init__(self, config: UniSIDConfig, model: torch.nn.Module, run_folder: Path) -> None:
        with tensorboard_in(run_folder / "tensorboard" if distributed.is_writer() else None):
            super().__init__(config, model)
        self.eval_collector = RankCollector(config)
        if config["enable_amp"] and config.is_written_here:
            # bf16 has float32's range, so that no loss needs scaling; CUDA's default is fp16.
            torch.set_autocast_dtype(self.device.type, torch.bfloat16)
        self._progress: Progress | None = None
        self._negatives: torch.Tensor | None = None  # drawn once, where validation ranks among them
        if config["compile"]:
            transformer = getattr(model, "transformer", None)
            if not config.is_own_model or not isinstance(transformer, torch.nn.Module):
                raise UserError(f"compile=True is not for {config['model']}; leave it off.")
            if torch.get_deterministic_debug_mode():  # tell the compiler, too
                torch.use_deterministic_algorithms(True, warn_only=True)
            # At its first batch, with shapes as unknowns: each has a number of sequences and a length of its own.
            transformer.compile(dynamic=True)
        if not config.is_written_here:
            chunk_dropout(model)
            keep_last_position(model)
        elif self.device.type == "cpu":
            draw_fast(model)
            if not config["compile"]:
                multiply_fast(*(getattr(model, name, None) for name in ("items", "transformer")))
        if isinstance(model, WholeSequenceRecommender) and not config["compile"]:
            divide(model)
        self._compute_loss = distributed.synchronised(model, self.model.calculate_loss, config.is_own_model)
        if config["weight_average"]:
            self.averaged = WeightAverage(model, config["weight_average"], self.table)
        self.optimizer.register_step_post_hook(lambda *_: self._follow_step())

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        """RecBole's optimiser; for models written here Adam in one pass over memory instead of ten."""
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        kind = kinds.get(str(self.config["learner"]).lower())
        rate, decay = self.config["learning_rate"], self.config["weight_decay"]
        ids: Any = getattr(getattr(self.model, "items", None), "ids", None)
        id_decay = self.config["id_decay"] if ids is not None and "id_decay" in self.config else 0.0
        if id_decay * rate > 1:
            raise UserError(f"id_decay={id_decay:g} times learning_rate={rate:g} is above 1: lower id_decay.")
        if kind is None or not self.config.is_written_here:
            optimizer: torch.optim.Optimizer = super()._build_optimizer(**kwargs)
            if id_decay:
                shrink_table(optimizer, ids.weight, id_decay)
            return optimizer
        self.table = lazy_table(self.config, self.model, id_decay)
        apart = None if self.table is None else self.table.weight
        parts = [part for part in self.model.parameters() if part is not apart]  # of a rule none
        relative = "relative_rate" in self.config and self.config["relative_rate"]
        learned = relative_groups(parts, rate) if relative else [{"params": parts}]
        fused: torch.optim.Optimizer = kind(learned, lr=rate, weight_decay=decay, fused=True)
        if "schedule" in self.config:
            schedule, warmup = str(self.config["schedule"]), self.config["warmup_steps"]
            follow_schedule(fused, schedule, rate, warmup, lambda: self._total_steps)
        if id_decay and self.table is None:
            shrink_table(fused, ids.weight, id_decay)
        return fused

    def _follow_step(self) -> None:
        decay = self.averaged.update() if self.averaged else 0.0
        if self.table is not None:
            self.table.step(self.optimizer.param_groups[0]["lr"], decay)

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
        """Train as RecBole does; go on where an earlier, stopped call left off."""
        self._total_steps = self.epochs * len(train_data)
        if self.resume():
            self.eval_collector.data_collect(train_data)
            return self.best_valid_score, self.best_valid_result

        def after_evaluation(epoch: int, score: float) -> None:
            self.history[-1]["valid"] = float(score)
            if self._progress is not None:
                metric = self.config["valid_metric"].lower()
                self._progress.validated(epoch + 1, metric, score, self.best_valid_score)
            if callback_fn is not None:
                callback_fn(epoch, score)

        title = f"{self.config['model']} {self.config['dataset']} seed {self.config['seed']}"
        show = show_progress and distributed.is_writer()
        self._progress = Progress(title, self.epochs, self.start_epoch, show)
        with self._progress.bar, distributed.lost_process_explained():
            fitted: tuple[float, dict[str, float] | None] = super().fit(
                train_data, valid_data, verbose, saved, False, after_evaluation
            )
            self.save_last(Place(self.epochs, finished=True), loader_state(train_data))
            distributed.wait_for_all()
        return fitted

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        place = Place(epoch_idx) if self.resumed is None else Place(**self.resumed["place"])
        place.go_on()
        compute_loss = loss_func or self._compute_loss
        step, own = 1 / len(train_data), self.config.is_own_model or self.config.chosen.users

        def counted(interaction: Any) -> Any:
            heed()
            rows, weight = distributed.share(interaction, TARGET_LIST)
            losses = compute_loss(rows)
            if own:
                check_loss(self.config["model"], losses)
            if weight != 1.0:
                losses = tuple(x * weight for x in losses) if isinstance(losses, tuple) else losses * weight
            place.add(losses)
            if self._progress is not None:
                self._progress.step(epoch_idx + step * (place.batch + 1))
            return losses

        batches = self.resumable_batches(train_data, place)
        super()._train_epoch(batches, epoch_idx, counted, show_progress=False)
        losses = distributed.mean_over_processes(place.loss)
        place.note_time()
        times = {"seconds": round(place.seconds, 3), "cpu_seconds": round(place.cpu_seconds, 3)}
        self.history.append({"epoch": epoch_idx, "loss": sum(losses), "valid": None, **times})
        release_freed_memory()
        return losses[0] if len(losses) == 1 else tuple(losses)

    def _check_nan(self, loss: torch.Tensor) -> None:
        """Stop at a loss that no step can mend, in one line instead of RecBole's traceback."""
        if not torch.isfinite(loss):
            raise UserError(
                f"The training loss became {loss.item()}: training has diverged; lower learning_rate (now "
                f"{self.config['learning_rate']}) or set clip_grad_norm."
            )

    def log_figures(self, phase: str, figures: Mapping[str, Mapping[str, float]]) -> None:
        """Give figures of the protocol to TensorBoard and W&B, beside what RecBole logs itself."""
        if not distributed.is_writer():
            return
        for candidates, metrics in figures.items():
            for metric, value in metrics.items():
                name = f"{phase}/{candidates}/{metric.replace('@', '_')}"
                self.tensorboard.add_scalar(name, value, self.best_epoch)
            named = {f"{candidates}/{metric}": value for metric, value in metrics.items()}
            self.wandblogger.log_eval_metrics(named, head=phase)

    # --- evaluation -------------------------------------------------------------------------------

    def _score_all(self, batch: Any) -> tuple[Any, ...]:
        """What RecBole makes of a full-ranking batch, and last what it would leave out of the scores: they have all."""
        interaction, left_out, rows, items = batch
        return *self._full_sort_batch_eval((interaction, None, rows, items)), left_out

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        """The score that picks the best epoch, and what RecBole shows; its time on the CPU goes to the history."""
        started = time.process_time()
        found = self._validated(valid_data, show_progress)
        self.history[-1]["valid_cpu_seconds"] = round(time.process_time() - started, 3)
        return found

    def _validated(self, valid_data: Any, show_progress: bool) -> tuple[float, dict[str, float]]:
        """By RecBole's metric or by the protocol's (`valid_candidates`)."""
        candidates, metric = self.config["valid_candidates"], self.config["valid_metric"]
        with self.averaged.in_place() if self.averaged else nullcontext():
            if candidates == "full_unfiltered":
                scored: tuple[float, dict[str, float]] = super()._valid_epoch(valid_data, show_progress)
                return scored
            sampled = candidates.startswith("sampled")
            if sampled and self.config.is_own_model and distributed.world() == 1:
                if self._negatives is None:
                    drawn = sampled_for(self.config, valid_data._dataset.sequences)
                    self._negatives = torch.from_numpy(drawn)
                score = protocol_score(sampled_ranks(self.model, valid_data, self._negatives), metric)
                return score, {f"{metric.lower()} of {candidates}": score}
            recorder = phase_recorder(self.config, valid_data._dataset, VALID)
            found = self.evaluate(valid_data, load_best_model=False, recorder=recorder)
            return protocol_score(recorder.result()[candidates], metric), found

    @torch.no_grad()
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
        self.model.eval()
        score_batch = self._neg_sample_batch_eval
        if isinstance(eval_data, FullSortEvalDataLoader):
            score_batch = self._score_all
            if self.item_tensor is None:
                self.item_tensor = eval_data._dataset.get_item_feature().to(self.device)
        self.tot_item_num = eval_data._dataset.item_num
        collector = self.eval_collector
        collector.recorder, collector.gather = recorder, getattr(eval_data, "is_share", False)
        collector.lister = self.model if getattr(self.model, "listed", None) else None
        collector.popularity = None
        if recorder is not None and self.config["model"] == "Pop":
            # RecBole's counts an item once a batch, however often it stands there: its figures follow the batch size.
            dataset = eval_data._dataset
            collector.popularity = torch.from_numpy(dataset.split.training_counts(dataset.sequences))
        several = isinstance(self.model, WholeSequenceRecommender) and safe_in_threads(self.model)
        for interaction, scores, *others in (ahead if several else map)(score_batch, eval_data):
            collector.eval_batch_collect(scores, interaction, *others)
        result = self.evaluator.evaluate(collector.get_data_struct())
        self.wandblogger.log_eval_metrics(result, head="eval")
        release_freed_memory()
        return {key: float(value) for key, value in result.items()}


def make_trainer(config: UniSIDConfig, model: torch.nn.Module, run_folder: Path) -> Any:
    """Build the trainer that RecBole has for the model, with :class:`RunTrainer` in front."""
    base = get_trainer(config["MODEL_TYPE"], config.chosen.family)
    return type(f"Run{base.__name__}", (RunTrainer, base), {})(config, model, run_folder)


def pretrain_if_needed(config: UniSIDConfig, run_folder: Path) -> None:
    """Run the pretraining stage of S3Rec, of no other model, and point the settings at what it saved.

    A ``pre_model_path`` that was given is used as it is.
    """
    if config["model"] == "S3Rec":
        if config["train_stage"] == "pretrain" or not config["pre_model_path"]:
            config["pre_model_path"] = str(_pretrain(config, run_folder))
        config["train_stage"] = "finetune"


def _pretrain(config: UniSIDConfig, run_folder: Path) -> Path:
    folder = run_folder / "checkpoint" / "pretraining"
    epochs = config["pretrain_epochs"]
    config["save_step"] = min(epochs, config["save_step"])  # RecBole would pretrain and keep nothing
    last = epochs // config["save_step"] * config["save_step"]
    saved = folder / f"{config['model']}-{config['dataset']}-{last}.pth"
    if saved.is_file():
        return saved
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
