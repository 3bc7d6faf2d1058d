"""Measure the engine in one process run, side by side: an epoch of training, an evaluation, memory.

    python benchmarks/engine.py --data_path=dataset --dataset=amazon-beauty

prints ratios of CPU time (and of the clock) with the machine named. RecBole's SASRec is timed on some batches,
as shipped (autograd's anomaly mode left on by its package) and without that; ours on whole epochs. Rounds of
all contenders alternate, so that other load on the machine hits all of them alike; the median counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from recbole.utils import init_seed

from recbole_unisid.data.split import TEST
from recbole_unisid.evaluation.candidates import sample_negatives
from recbole_unisid.recbole_adapter.collector import RankRecorder
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics
from recbole_unisid.recbole_adapter.trainer import make_trainer
from recbole_unisid.runs.machine import machine, versions


@dataclass
class Contender:
    """A model that is trained some batches at a time.

    Attributes
    ----------
    label : str
        Its row.
    trainer : RunTrainer
        With model and optimiser.
    loaders : Loaders
        Of its data.
    batches : int or None
        Batches a round; None: a whole epoch.
    anomaly : bool
        Whether autograd's anomaly mode is on.
    cpu, clock : list of float
        Seconds of an epoch, one a round.
    """

    label: str
    trainer: Any
    loaders: Any
    batches: int | None
    anomaly: bool = False
    cpu: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)

    def round(self) -> None:
        """Train for one round."""
        model, optimizer = self.trainer.model, self.trainer.optimizer
        model.train()
        cpu, clock, done = time.process_time(), time.perf_counter(), 0
        with torch.autograd.set_detect_anomaly(self.anomaly, check_nan=True):
            for batch in itertools.islice(self.loaders.train, self.batches):
                optimizer.zero_grad()
                loss = model.calculate_loss(batch)
                loss.item()
                loss.backward()
                optimizer.step()
                done += 1
        share = 1.0 if self.batches is None else len(self.loaders.train) / done
        self.cpu.append((time.process_time() - cpu) * share)
        self.clock.append((time.perf_counter() - clock) * share)


def prepare(model: str, options: argparse.Namespace, folder: Path, **settings: Any) -> tuple[Any, Any, Any]:
    """Trainer, loaders and data of a model."""
    given = {"data_path": options.data_path, "use_gpu": False, "show_progress": False, **settings}
    config = UniSIDConfig(model, options.dataset, settings=given)
    config["checkpoint_dir"] = str(folder / "checkpoint")
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    loaders = make_loaders(config, dataset)
    init_seed(config["seed"], True)
    network = config.model_class(config, loaders.train.dataset)
    return make_trainer(config, network, folder), loaders, dataset


def contenders(options: argparse.Namespace, folder: Path) -> Iterator[Contender]:
    """Every row of the table of epochs."""
    shipped = {"train_batch_size": 2048, "MAX_ITEM_LIST_LENGTH": 50, "loss_type": "CE"}
    trainer, loaders, _ = prepare("SASRec", options, folder, **shipped)
    yield Contender("RecBole SASRec as shipped", trainer, loaders, options.batches, anomaly=True)
    yield Contender("RecBole SASRec, anomaly mode off", trainer, loaders, options.batches)
    own: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("ItemID", "ItemID", {}),
        ("UniSID, fixed codes", "UniSID", {}),
        ("UniSID end to end (recipe=paper)", "UniSID", {"recipe": "paper"}),
    )
    for label, model, settings in own:
        trainer, loaders, _ = prepare(model, options, folder, **settings)
        yield Contender(label, trainer, loaders, None)


def epochs(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Seconds an epoch of every contender, and how many times faster than the first."""
    rows = list(contenders(options, folder))
    for _ in range(options.rounds):
        for row in rows:
            row.round()
    first = rows[0]
    return [
        {
            "model": row.label,
            "cpu_seconds": median(row.cpu),
            "clock_seconds": median(row.clock),
            "times_faster_cpu": median(first.cpu) / median(row.cpu),
            "times_faster_clock": median(first.clock) / median(row.clock),
        }
        for row in rows
    ]


def cpu_time(work: Callable[[], object], rounds: int) -> float:
    """Median CPU seconds of some work."""
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return median(seconds)


def evaluation(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """All figures of the test (three candidate sets) against the bare forward pass, matmul and top-k."""
    trainer, loaders, dataset = prepare("UniSID", options, folder)
    trainer.eval_collector.data_collect(loaders.train)
    negatives = sample_negatives(dataset.sequences)

    def ours() -> None:
        targets = dataset.split.targets(TEST)
        recorder = RankRecorder(dataset.sequences, targets, negatives, dataset.uid_field)
        trainer.evaluate(loaders.test, load_best_model=False, recorder=recorder)
        recorder.result()

    @torch.no_grad()
    def bare() -> None:
        trainer.model.eval()
        for interaction, *_ in loaders.test:
            torch.topk(trainer.model.full_sort_predict(interaction), max(options.topk), dim=-1)

    seconds = [(cpu_time(ours, 1), cpu_time(bare, 1)) for _ in range(options.rounds)]
    found, floor = median(s[0] for s in seconds), median(s[1] for s in seconds)
    return {"cpu_seconds": found, "bare_cpu_seconds": floor, "ratio": found / floor}


def peak_memory(options: argparse.Namespace, folder: Path) -> int:
    """Peak resident bytes of the command, training and evaluating from cached embeddings."""
    command = [sys.executable, "-m", "recbole_unisid.commands.main", "run", "--model=UniSID", "--epochs=2"]
    command += [f"--dataset={options.dataset}", f"--data_path={options.data_path}", "--show_progress=false"]
    subprocess.run([*command, f"--output_dir={folder}"], check=True, capture_output=True)
    (result,) = folder.rglob("result.json")
    peak: int = json.loads(result.read_text(encoding="utf-8"))["peak_rss_bytes"]
    return peak


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of every contender; the median counts")
    parser.add_argument("--batches", type=int, default=10, help="batches a round of RecBole's SASRec")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--topk", type=int, nargs="*", default=[5, 10, 20])
    parser.add_argument("--output", type=Path, help="write the figures as JSON, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    where = machine()
    print(f"{where['cpu']}, {where['cores']} cores, {options.threads} threads; torch {versions()['torch']}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found: dict[str, Any] = {"machine": where, "versions": versions(), "epochs": epochs(options, folder)}
        for row in found["epochs"]:
            print(
                f"{row['model']:<34} {row['cpu_seconds']:8.1f} CPU-s an epoch  {row['times_faster_cpu']:6.1f}x"
                f"  ({row['clock_seconds']:.1f} s by the clock, {row['times_faster_clock']:.1f}x)"
            )
        found["evaluation"] = evaluation(options, folder)
        print("evaluation / (forward + matmul + top-k): {ratio:.2f}".format(**found["evaluation"]))
        found["peak_rss_bytes"] = peak_memory(options, folder / "run")
        print(f"peak memory of the command: {found['peak_rss_bytes'] / 1e9:.2f} GB")
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
