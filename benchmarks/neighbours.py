"""What other busy processes cost a run with one thread, with threads that wait asleep, and with threads that spin.

    python benchmarks/neighbours.py --neighbours=2 --rounds=3 -- --dataset=ml-100k

The same run of two epochs in each way, in turns, beside so many processes that compute without end; seconds by the
clock of the training alone, and ratios of their medians to one thread's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CORES = str(os.cpu_count())
WAYS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "as chosen": {},
    "a thread a core, asleep while it waits": {"OMP_NUM_THREADS": CORES},
    "a thread a core, spinning": {"OMP_NUM_THREADS": CORES, "OMP_WAIT_POLICY": "ACTIVE"},
}


def seconds(way: dict[str, str], settings: list[str], output: Path) -> float:
    """Training seconds of a run in a folder of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")} | way
    command = [
        sys.executable,
        "-m",
        "recbole_unisid",
        "run",
        "--model=UniSID",
        "--epochs=2",
        "--score_terms=[]",
    ]
    command += ["--show_progress=False", f"--output_dir={output}", *settings]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (result,) = output.rglob("result.json")
    taken: float = json.loads(result.read_text(encoding="utf-8"))["seconds"]["training"]
    return taken


def main() -> None:
    """Print seconds and ratios as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--neighbours", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("settings", nargs="*")
    options = parser.parse_args()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.neighbours)]
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    try:
        for _ in range(options.rounds):
            for name, way in WAYS.items():
                with tempfile.TemporaryDirectory() as output:
                    taken[name].append(round(seconds(way, options.settings, Path(output)), 2))
    finally:
        for one in busy:
            one.kill()
    one_thread = statistics.median(taken["one thread"])
    ratios = {name: round(statistics.median(found) / one_thread, 2) for name, found in taken.items()}
    print(json.dumps({"neighbours": options.neighbours, "seconds": taken, "of one thread": ratios}, indent=1))


if __name__ == "__main__":
    main()
