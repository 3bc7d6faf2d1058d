"""CPU seconds until a misspelt option is answered, beside those of Python's own argparse.

    python benchmarks/startup.py --times=10

Medians of processes started one after the other; the last line is their ratio.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

COMMANDS = {
    "import argparse": ["-c", "import argparse"],
    "recbole-unisid --modle=x": ["-m", "recbole_unisid", "--modle=x"],
    "recbole-unisid run --modle=x": ["-m", "recbole_unisid", "run", "--modle=x"],
    "recbole-unisid run --help": ["-m", "recbole_unisid", "run", "--help"],
}


def cpu_seconds(arguments: list[str]) -> float:
    """User and system time of one process of Python."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    times = parser.parse_args().times
    found = {
        name: statistics.median(cpu_seconds(arguments) for _ in range(times))
        for name, arguments in COMMANDS.items()
    }
    for name, seconds in found.items():
        print(f"{name:30} {seconds:6.3f} CPU-s  {seconds / found['import argparse']:6.1f} x argparse")


if __name__ == "__main__":
    main()
