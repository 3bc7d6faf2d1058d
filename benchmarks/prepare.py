"""How fast, and in how much memory, a large dump of reviews is prepared.

Writes a synthetic dump in the format of Amazon 2014 (gzip; reviews as JSON lines in the order of items with
whole-day times, metadata as Python literals) and prepares it in a process of its own. Prints lines a second,
by the clock and of processor time, and the peak of resident memory::

    python benchmarks/prepare.py --lines=5000000
    python benchmarks/prepare.py --lines=1000000 --before=../before --turns=3
"""

from __future__ import annotations

import argparse
import filecmp
import gzip
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

REVIEWS, META = "reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"
WORDS = ("works", "as", "it", "should", "and", "came", "soon", "though", "the", "colour", "is", "paler")
LINES_PER_USER, LINES_PER_ITEM = 6, 25
MIB = 1 << 20


def write_reviews(path: Path, lines: int, generator: np.random.Generator) -> int:
    """Write `lines` reviews with about 90 words each; return the number of items."""
    n_users, n_items = lines // LINES_PER_USER, lines // LINES_PER_ITEM
    # Squares of uniform numbers: a long tail of users and items.
    items = np.sort((generator.random(lines) ** 2 * n_items).astype(np.int64))
    users = (generator.random(lines) ** 2 * n_users).astype(np.int64)
    days = generator.integers(12_000, 16_000, lines)
    texts = [" ".join(generator.choice(WORDS, 90)) for _ in range(500)]
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as stream:
        for row, (user, item, day) in enumerate(
            zip(users.tolist(), items.tolist(), days.tolist(), strict=True)
        ):
            record = {
                "reviewerID": f"A{user * 7919:013d}",
                "asin": f"B{item:09d}",
                "reviewerName": "Some One",
                "helpful": [0, 0],
                "reviewText": texts[row % 500],
                "overall": 5.0,
                "summary": "Works",
                "unixReviewTime": day * 86_400,
                "reviewTime": "02 28, 2014",
            }
            stream.write(json.dumps(record) + "\n")
    return n_items


def write_metadata(path: Path, n_items: int) -> None:
    """Write two lines of metadata for every one item of the reviews."""
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as stream:
        for item in range(2 * n_items):
            record = {
                "asin": f"B{item:09d}",
                "title": f'Article {item}, 24" "new" and it\'s blue',
                "price": item % 100 + 0.99,
                "related": {"also_bought": [f"B{item + step:09d}" for step in range(60)]},
                "brand": f"Brand {item % 997}",
                "categories": [["Beauty", "Skin Care", f"Kind {item % 50}"]],
                "description": " ".join(WORDS * 4),
            }
            stream.write(repr(record) + "\n")


def prepare_here(raw: Path, data: Path) -> None:
    """Prepare the dump in this process and print the figures as JSON."""
    from recbole_unisid.data.prepare import prepare

    started, started_cpu = time.perf_counter(), time.process_time()
    summary = prepare("amazon-beauty", data, raw=raw, check_counts=False, progress=False)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak": peak, **summary.as_json()}))


def measured(checkout: Path, raw: Path, data: Path) -> dict[str, Any]:
    """The figures of one preparation by the package in `checkout`, in a process of its own."""
    command = [sys.executable, __file__, f"--raw={raw}", f"--data={data}"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    figures: dict[str, Any] = json.loads(run.stdout)
    figures["lines"] = figures["read"]["lines of interactions"] + figures["read"]["lines of items"]
    return figures


def main() -> None:
    """Make the dump, prepare it, print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=5_000_000, help="reviews in the dump")
    parser.add_argument("--before", type=Path, help="a checkout to compare with, run in turns with this one")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--raw", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.raw:
        prepare_here(arguments.raw, arguments.data)
        return
    checkouts = {"now": Path(__file__).resolve().parents[1]}
    checkouts |= {"before": arguments.before.resolve()} if arguments.before else {}
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        raw.mkdir()
        write_metadata(raw / META, write_reviews(raw / REVIEWS, arguments.lines, np.random.default_rng(7)))
        sizes = [(raw / name).stat().st_size / MIB for name in (REVIEWS, META)]
        print(f"machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        print(f"originals: {sizes[0]:,.0f} MiB of reviews and {sizes[1]:,.0f} MiB of metadata, gzip")
        for _ in range(arguments.turns):
            for name, checkout in checkouts.items():
                figures = measured(checkout, raw, Path(folder) / name)
                for clock in ("seconds", "cpu_seconds"):
                    rate = figures["lines"] / figures[clock]
                    best.setdefault(name, {})[clock] = max(rate, best.get(name, {}).get(clock, 0.0))
                    print(
                        f"{name}: {figures['lines']:,} lines in {figures[clock]:.1f} {clock}: {rate:,.0f} each"
                    )
                print(f"{name}: peak of resident memory {figures['peak'] / MIB:,.0f} MiB")
                print(
                    f"{name}: {figures['users']:,} users, {figures['items']:,} items, {figures['interactions']:,}"
                )
        if arguments.before:
            for name in (f"amazon-beauty.{ending}" for ending in ("inter", "item")):
                made = [Path(folder) / side / "amazon-beauty" / name for side in checkouts]
                print(f"{name}: {'equal' if filecmp.cmp(*made, shallow=False) else 'DIFFERENT'}")
            for clock, rate in best["now"].items():
                print(
                    f"lines a unit of {clock}, best of each: {rate / best['before'][clock]:.2f} times before"
                )


if __name__ == "__main__":
    main()
