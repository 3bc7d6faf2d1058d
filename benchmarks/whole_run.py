"""A whole run of two commits, one after the other, from an empty cache to the figures of the test.

    python benchmarks/whole_run.py --before=../before --early=5 -- --dataset=amazon-beauty

Each side runs its own defaults in a process of its own, with a cache of its own. Seconds of the processor and by the
clock, from the start of the process on, figures and ratios; NDCG@10 is that of unseen items. --early=5 runs the newer
side once more, with so many epochs. What follows ``--`` are further settings of both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]


def measure(settings: dict[str, Any], output: Path) -> None:
    """Run in this process; its figures and times go to a file."""
    clock = time.perf_counter()
    import recbole_unisid

    model, dataset = settings.pop("model", "UniSID"), settings.pop("dataset")
    result = recbole_unisid.run(model, dataset, settings, verbose=False)
    found = {"cpu": time.process_time(), "clock": time.perf_counter() - clock, "epochs": result["epochs"]}
    found |= {phase: result[phase]["full"]["ndcg@10"] for phase in ("valid", "test")}
    output.write_text(json.dumps(found), encoding="utf-8")


def measured(checkout: Path, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What one side takes, in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {
        "output_dir": str(folder / "runs"),
        "cache_dir": str(folder.parent / "cache"),
        "show_progress": False,
    }
    command = [sys.executable, str(Path(__file__).resolve()), f"--measure={folder / 'found.json'}"]
    command += ["--settings", json.dumps(given | settings)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Run the sides in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--early", type=int, help="epochs of one more run of the newer side")
    parser.add_argument("--data_path", type=Path, default=Path("dataset"))
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    options, further = parser.parse_known_args()
    if options.measure:
        measure(json.loads(options.settings), options.measure)
        return
    given = dict(part.removeprefix("--").split("=", 1) for part in further if part != "--")
    settings = {
        "dataset": "ml-100k",
        "data_path": str(options.data_path.resolve()),
        "seed": options.seed,
    } | given
    sides = {"before": (options.before.resolve(), settings)} if options.before else {}
    sides["now"] = (HERE, settings)
    if options.early:
        sides["now, early"] = (HERE, settings | {"epochs": options.early})
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for number, (side, (checkout, asked)) in enumerate(sides.items()):
            found[side] = measured(checkout, asked, Path(name) / str(number) / "run")
            line = "{cpu:8.1f} CPU-s {clock:8.1f} s  {epochs} epochs, NDCG@10 {valid:.4f} (validation), {test:.4f}"
            print(f"{side:12}" + line.format(**found[side]), flush=True)
    for side in found.keys() - {"before"} if options.before else ():
        for part in ("cpu", "clock"):
            print(f"{side}, {part}: {found['before'][part] / found[side][part]:.2f} times less")


if __name__ == "__main__":
    main()
