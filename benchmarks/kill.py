"""Kill a training run with SIGKILL at random moments, and show that the resumed run ends in the same ranks.

    python benchmarks/kill.py --kills=50

The command runs once undisturbed; then again into another folder, killed each time at a random moment of its
training and started anew, until it has been killed so often or has finished; `ranks.npz` of the two must be
bit-identical. A run that finishes before all kills are done starts again from nothing.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def command(options: argparse.Namespace, output: Path) -> list[str]:
    """The run, with a checkpoint after every batch."""
    return [
        sys.executable, "-m", "recbole_unisid.commands.main", "run", f"--model={options.model}",
        f"--dataset={options.dataset}", f"--data_path={options.data_path}", f"--epochs={options.epochs}",
        f"--output_dir={output}", "--checkpoint_minutes=0", "--show_progress=false", "--use_gpu=false",
        *options.settings,
    ]  # fmt: skip


def start(options: argparse.Namespace, output: Path) -> subprocess.Popen[bytes]:
    """Start the run without its words on the screen."""
    return subprocess.Popen(command(options, output), stdout=subprocess.DEVNULL)


def begun(output: Path) -> bool:
    """Whether a run has come as far as its settings (imports alone take seconds)."""
    return any(output.rglob("config.yaml"))


def ranks(output: Path) -> bytes:
    """All columns of the run's ranks, as bytes."""
    (file,) = output.rglob("ranks.npz")
    with np.load(file, allow_pickle=False) as columns:
        return b"".join(name.encode() + columns[name].tobytes() for name in sorted(columns.files))


def kill_once(options: argparse.Namespace, output: Path, after: float) -> bool:
    """Start the run and kill it `after` seconds into its work; tell whether it was still at it."""
    earlier = {path: path.stat().st_mtime_ns for path in output.rglob("config.yaml")}
    process = start(options, output)
    while process.poll() is None:
        now = {path: path.stat().st_mtime_ns for path in output.rglob("config.yaml")}
        if now != earlier:  # the settings are written anew when the work begins
            break
        time.sleep(0.01)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    if process.returncode:
        raise SystemExit(f"the resumed run failed with status {process.returncode}")
    return False


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--model", default="UniSID")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("settings", nargs="*", help="further settings, after --, such as --text_encoder=lsa")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        whole, parts = Path(name) / "whole", Path(name) / "parts"
        process, began = start(options, whole), 0.0
        while process.poll() is None:
            if not began and begun(whole):
                began = time.monotonic()
            time.sleep(0.02)
        duration, expected = time.monotonic() - began, ranks(whole)
        print(f"undisturbed: {duration:.1f} s of work", flush=True)
        kills = finished = 0
        while kills < options.kills:
            if kill_once(options, parts, rng.uniform(0, duration)):
                kills += 1
                print(f"killed {kills} of {options.kills} times", end="\r", flush=True)
            else:
                finished += 1
                if ranks(parts) != expected:
                    raise SystemExit(f"after {kills} kills the ranks differ")
                shutil.rmtree(parts)
        subprocess.run(command(options, parts), check=True, stdout=subprocess.DEVNULL)
        if ranks(parts) != expected:
            raise SystemExit(f"after {kills} kills the ranks differ")
    print(f"{kills} kills, {finished + 1} finished runs: ranks bit-identical to the undisturbed run's")


if __name__ == "__main__":
    main()
