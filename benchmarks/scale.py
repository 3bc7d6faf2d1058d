"""How time and memory grow with the catalogue: synthetic sets of up to a million items and users.

    python benchmarks/scale.py --items 10000 100000 1000000

For each size (as many users as items, 20 interactions a user): files are written, then read, split and
trained on for one epoch of UniSID in a process of their own, and a sample of users is evaluated over the whole
catalogue. One line a step: seconds by the clock and of the processor, peak of resident memory so far. With
--batches only that many batches are trained, and the line of the epoch is their time carried forward. With
--before=FOLDER, a checkout of an earlier commit, its own benchmarks/scale.py measures the same files first, in batches
of 1,536 where --positions is not given.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NAME, TEXT_WIDTH, MEAN_LENGTH = "synthetic", 32, 20
HERE = Path(__file__).resolve().parents[1]
#: Rows written at a time.
CHUNK = 1_000_000


def write_data(root: Path, n_items: int, seed: int = 0) -> None:
    """Write a data set of `n_items` items and users, and vectors of its items.

    Lengths are 5 plus a geometric number, items follow a power law, and half of the time the next item
    comes from the neighbourhood of the one before, so that there is something to learn.
    """
    rng = np.random.default_rng(seed)
    folder = root / NAME
    folder.mkdir(parents=True)
    lengths = 5 + rng.geometric(1 / (MEAN_LENGTH - 5), n_items) - 1
    users = np.repeat(np.arange(n_items), lengths)
    items = (rng.random(len(users)) ** 2 * n_items).astype(np.int64)
    near = rng.random(len(users)) < 0.5
    near[0] = False
    items[near] = (items[np.flatnonzero(near) - 1] + rng.integers(1, 4, near.sum())) % n_items
    times = 1_000_000_000 + np.arange(len(users))
    for start in range(0, len(users), CHUNK):
        part = slice(start, start + CHUNK)
        columns = {"user_id:token": users, "item_id:token": items, "timestamp:float": times}
        frame = pd.DataFrame({name: values[part] for name, values in columns.items()})
        frame.to_csv(folder / f"{NAME}.inter", sep="\t", index=False, mode="a", header=start == 0)
    vectors = rng.normal(size=(n_items, TEXT_WIDTH)).astype(np.float32)
    np.save(root / "vectors.npy", vectors)
    (root / "vectors.ids.txt").write_text("\n".join(map(str, range(n_items))) + "\n", encoding="utf-8")


@contextmanager
def step(name: str, figures: dict[str, Any]) -> Iterator[None]:
    """Measure one step and print its line."""
    clock, cpu = time.perf_counter(), time.process_time()
    yield
    from recbole_unisid.runs.machine import peak_rss_bytes  # not at the top: imports are measured, too

    peak = peak_rss_bytes()
    figures[name] = {
        "clock_seconds": time.perf_counter() - clock,
        "cpu_seconds": time.process_time() - cpu,
        "peak_rss_bytes": peak,
    }
    line = "{clock_seconds:9.1f} s  {cpu_seconds:9.1f} CPU-s".format(**figures[name])
    print(f"  {name:<32}{line}  peak {peak / 2**30:6.2f} GiB", flush=True)


def measure(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Read, split, train an epoch and evaluate; figures by step."""
    figures: dict[str, Any] = {}
    with step("imports", figures):
        import torch

        from recbole_unisid.data.split import TEST
        from recbole_unisid.evaluation.candidates import sample_negatives
        from recbole_unisid.recbole_adapter.collector import RankRecorder
        from recbole_unisid.recbole_adapter.config import UniSIDConfig
        from recbole_unisid.recbole_adapter.dataset import load_dataset
        from recbole_unisid.recbole_adapter.loaders import HistoryLoader, make_loaders
        from recbole_unisid.recbole_adapter.semantics import item_semantics
        from recbole_unisid.recbole_adapter.trainer import make_trainer
    torch.set_num_threads(options.threads)
    settings = {
        "data_path": str(root), "text_encoder": str(root / "vectors.npy"), "tokenizer": "lsh",
        "negatives": options.negatives, "show_progress": False, "use_gpu": False,
        "cache_dir": str(root / "cache"), "checkpoint_dir": str(root / "checkpoint"),
    }  # fmt: skip
    if options.positions is not None:
        settings["train_batch_size"] = options.positions
    config = UniSIDConfig("UniSID", NAME, settings=settings)
    with step("read and remap", figures):
        dataset = load_dataset(config)
    with step("vectors and tokens (hashes)", figures):
        dataset.semantics = item_semantics(config, dataset)
    with step("group, split, cut into windows", figures):
        loaders = make_loaders(config, dataset)
    with step("model", figures):
        model = config.model_class(config, loaders.train.dataset)
        trainer = make_trainer(config, model, root)
        trainer._total_steps = trainer.epochs * len(loaders.train)
    model.train()
    done = 0
    with step("training", figures):
        for batch in itertools.islice(loaders.train, options.batches):
            trainer.optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            trainer.optimizer.step()
            done += 1
    figures["epoch"] = {
        key: figures["training"][key] * len(loaders.train) / done for key in ("clock_seconds", "cpu_seconds")
    }
    whole = "measured whole" if options.batches is None else f"from {done} of {len(loaders.train)} batches"
    whole += f" of {config['train_batch_size']:,} targets"
    print(f"  an epoch ({whole}): {figures['epoch']['cpu_seconds']:.0f} CPU-s", flush=True)
    trainer.eval_collector.data_collect(loaders.train)
    targets = dataset.split.targets(TEST)
    chosen = np.random.default_rng(0).choice(len(targets), min(options.users, len(targets)), replace=False)
    targets = targets[np.sort(chosen)]
    with step(f"evaluation of {len(targets):,} users", figures):
        recorder = RankRecorder(
            dataset.sequences, targets, sample_negatives(dataset.sequences), dataset.uid_field
        )
        loader = HistoryLoader(config, dataset, targets)
        trainer.evaluate(loader, load_best_model=False, recorder=recorder)
        recorder.result()
    size = {"train_batch_size": config["train_batch_size"]}
    return figures | size | {"items": dataset.item_num - 1, "interactions": len(dataset.sequences.items)}


def measured(checkout: Path, root: Path, options: argparse.Namespace) -> Any:
    """What the script of a checkout measures, in a process of its own."""
    print(f" {checkout}", flush=True)
    names = ("users", "positions", "negatives", "batches", "threads")
    given = {name: getattr(options, name) for name in names}
    if checkout == options.before and options.positions is None:
        given["positions"] = 1536  # what every run had before large data had larger batches
    command = [sys.executable, str(checkout / "benchmarks" / "scale.py"), f"--measure={root}"]
    command += [f"--{name}={value}" for name, value in given.items() if value is not None]
    subprocess.run(command, check=True, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)})
    return json.loads((root / "figures.json").read_text(encoding="utf-8"))


def main() -> None:
    """Measure every size in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--users", type=int, default=100_000, help="users evaluated")
    parser.add_argument(
        "--positions", type=int, help="positions a batch; default: what a run has by its data"
    )
    parser.add_argument("--negatives", type=int, default=4096, help="shared negatives a batch")
    parser.add_argument("--batches", type=int, help="train this many batches only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the data goes; default: a temporary folder")
    parser.add_argument("--output", type=Path, help="write the figures as JSON, too")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit to compare with")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        figures = measure(options.measure, options)
        (options.measure / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
        return
    found = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for n_items in options.items:
            root = Path(name) / str(n_items)
            print(f"{n_items:,} items", flush=True)
            write_data(root, n_items)
            found[n_items] = {
                str(checkout): measured(checkout, root, options)
                for checkout in (options.before, HERE)
                if checkout
            }
            seconds = [one["epoch"]["cpu_seconds"] for one in found[n_items].values()]
            if options.before:
                print(f"  an epoch: {seconds[0] / seconds[1]:.2f} times fewer CPU-s than before", flush=True)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
