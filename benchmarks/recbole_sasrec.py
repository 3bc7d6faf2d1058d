"""RecBole's own SASRec, run whole by RecBole as it ships and by this package, in alternating processes.

    python benchmarks/recbole_sasrec.py --data_path=dataset -- --epochs=1

trains, validates and tests with RecBole's defaults of SASRec, and prints seconds of the processor and by the clock,
peak memory and the ratios. It fails where a loss or a metric differs in its last digit. What follows ``--`` are
further settings of both.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SIDES = ("recbole", "recbole_unisid")
#: What RecBole has for itself, where this package chooses otherwise for the same models.
DEFAULTS = {"train_batch_size": 2048, "eval_batch_size": 4096, "exact_times": False, "loss_type": "CE"}


def by_recbole(settings: dict[str, Any]) -> dict[str, Any]:
    """What RecBole's quick start does, without its imports of ray; mended only where it cannot start on NumPy 2."""
    import numpy as np

    names = {"bool": np.bool_, "int": int, "float": float, "complex": complex, "object": object, "str": str}
    for alias, value in (names | {"long": int, "unicode": str}).items():
        if alias not in vars(np):
            setattr(np, alias, value)
    from recbole.config import Config
    from recbole.data.utils import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    Config.compatibility_settings = lambda _: None  # it writes names that are there
    config = Config(model="SASRec", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    network = get_model("SASRec")(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, network)
    score, _ = trainer.fit(train, valid, show_progress=False)
    tested = trainer.evaluate(test, load_best_model=True)
    return {
        "losses": [trainer.train_loss_dict[epoch] for epoch in sorted(trainer.train_loss_dict)],
        "valid": float(score),
        "test": {key: float(value) for key, value in tested.items()},
    }


def by_this_package(settings: dict[str, Any]) -> dict[str, Any]:
    """The same settings through the command's function."""
    import recbole_unisid

    result = recbole_unisid.run(settings.pop("model"), settings.pop("dataset"), settings, verbose=False)
    return {
        "losses": [epoch["loss"] for epoch in result["history"]],
        "valid": max(epoch["valid"] for epoch in result["history"] if epoch["valid"] is not None),
        "test": result["test"]["recbole"],
    }


def measured(side: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Figures, time and memory of one side, from the import on; to be called in a process of its own."""
    clock = time.perf_counter()
    found = (by_recbole if side == "recbole" else by_this_package)(settings)
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss * 1024
    return found | {
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "clock_seconds": time.perf_counter() - clock,
        "peak": peak,
    }


def child(side: str, settings: dict[str, Any], folder: Path, threads: int) -> dict[str, Any]:
    """Run one side in a folder of its own."""
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    # RecBole pickles its Config, which torch does not load by itself (#2212).
    environment = {
        "PYTHONPATH": str(ROOT),
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        "OMP_NUM_THREADS": str(threads),
    }
    command = [sys.executable, str(Path(__file__).resolve()), f"--side={side}"]
    subprocess.run(command, check=True, cwd=folder, env=os.environ | environment, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Run both sides in turn and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data_path", type=Path, default=Path("dataset"))
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options, further = parser.parse_known_args()
    if options.side:
        settings = json.loads(Path("settings.json").read_text(encoding="utf-8"))
        Path("found.json").write_text(json.dumps(measured(options.side, settings)), encoding="utf-8")
        return
    from recbole_unisid.recbole_adapter.config import UniSIDConfig

    given = DEFAULTS | {
        "data_path": str(options.data_path.resolve()),
        "use_gpu": False,
        "show_progress": False,
    }
    given |= dict(part.removeprefix("--").split("=", 1) for part in further if part != "--")
    shared = UniSIDConfig("SASRec", options.dataset, settings=given).resolved()
    sides = {
        "recbole": shared | {"checkpoint_dir": "saved", "dataset": options.dataset, "model": "SASRec"},
        "recbole_unisid": given | {"dataset": options.dataset, "model": "SASRec"},
    }
    rows: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as name:
        for number in range(options.rounds):
            for side, settings in sides.items():
                found = child(side, settings, Path(name) / f"{number}-{side}", options.threads)
                rows[side].append(found)
                line = "{cpu_seconds:9.1f} CPU-s {clock_seconds:9.1f} s by the clock".format(**found)
                print(f"{side:<16}{line}  peak {found['peak'] / 2**30:.2f} GiB", flush=True)
    theirs, ours = (rows[side] for side in SIDES)
    for first, second in zip(theirs, ours, strict=True):
        for part in ("losses", "valid", "test"):
            if first[part] != second[part]:
                sys.exit(f"{part} differ: {first[part]} and {second[part]}")
    for part in ("cpu_seconds", "clock_seconds", "peak"):
        ratio = median(row[part] for row in theirs) / median(row[part] for row in ours)
        print(f"{part}: {ratio:.2f} times less")
    print(f"losses, validation and test are equal: {ours[0]['losses']}, {ours[0]['test']}")


if __name__ == "__main__":
    main()
