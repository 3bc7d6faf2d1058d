"""Training steps of two commits in turn: milliseconds of the processor and by the clock.

    python benchmarks/steps.py --before=../before --dataset=amazon-beauty

Each side trains UniSID's defaults on the first 20 batches of an epoch, again and again, with one thread and with as
many as it chooses on this machine (OMP_NUM_THREADS unset), in a process of its own. The best of five rounds is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]


def measure(settings: dict[str, Any], steps: int) -> None:
    """Train some steps instead of the first epoch; print milliseconds a step."""
    import recbole_unisid
    from recbole_unisid.recbole_adapter.trainer import RunTrainer

    def train(self: Any, batches: Any, *_: Any, **__: Any) -> None:
        self.model.train()
        kept = [batch.to(self.device) for batch in islice(batches, 20)]

        def go() -> tuple[float, float]:
            begun = time.process_time(), time.perf_counter()
            for step in range(steps):
                self.optimizer.zero_grad()
                self._compute_loss(kept[step % len(kept)]).backward()
                self.optimizer.step()
            cpu, clock = time.process_time() - begun[0], time.perf_counter() - begun[1]
            return 1e3 * cpu / steps, 1e3 * clock / steps

        go()
        found = [min(part) for part in zip(*(go() for _ in range(5)), strict=True)]
        print(json.dumps(found), flush=True)
        raise SystemExit

    RunTrainer._train_epoch = train  # type: ignore[method-assign, assignment]
    recbole_unisid.run("UniSID", settings.pop("dataset"), settings, verbose=False)


def main() -> None:
    """Measure both sides in turn, twice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", type=Path, default=Path("dataset"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.settings:
        measure(json.loads(options.settings), options.steps)
        return
    sides = {"before": options.before.resolve()} if options.before else {}
    sides["now"] = HERE
    with tempfile.TemporaryDirectory() as name:
        for number, side in enumerate([*sides, *sides]):
            for threads in ("one thread", "as chosen"):
                given = {
                    "dataset": options.dataset,
                    "data_path": str(options.data_path.resolve()),
                    "cache_dir": str(Path(name) / side),
                    "output_dir": str(Path(name) / f"{number} {threads}"),
                    "show_progress": False,
                }
                command = [sys.executable, __file__, "--settings", json.dumps(given)]
                command += [f"--steps={options.steps}"]
                env = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
                env |= {"PYTHONPATH": str(sides[side])} | (
                    {"OMP_NUM_THREADS": "1"} if threads == "one thread" else {}
                )
                ran = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
                cpu, clock = json.loads(ran.stdout.splitlines()[-1])
                print(f"{side:8}{threads:12}{cpu:8.1f} CPU ms {clock:8.1f} ms by the clock", flush=True)


if __name__ == "__main__":
    main()
