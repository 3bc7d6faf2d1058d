"""How large report pages are, how long they take to write and to open.

python benchmarks/report.py [FOLDER]

Made-up runs: a data set of amazon-beauty's size with 5 models and 5 seeds, then 100,000 items with 50 runs
as 10 models and 5 seeds and as 50 models. Opened in headless Chromium (Debian: chromium, chromium-driver; Python:
selenium); the time is from the navigation until the token explorer is ready, the best of three. Users cost
time in the bootstrap but no bytes: the large cases have few.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from report_material import MODELS, WITH_TOKENS, Material
from test_report_browser import Browser

from recbole_unisid.report.gather import gather_report
from recbole_unisid.report.page import write_report

#: Users, items, different models, seeds, and the goals of issue 8: MiB and seconds.
CASES = {
    "beauty": (22_363, 12_101, 5, 5, 3.0, None),
    "large, 10 models": (2_000, 100_000, 10, 5, 5.0, 3.0),
    "large, 50 models": (2_000, 100_000, 50, 1, 5.0, 3.0),
}


def titles(items: int) -> list[str]:
    """Titles with as many letters and as little repetition as product titles have, about."""
    rng = np.random.default_rng(3)
    syllables = np.array(
        [a + b for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "or")]
    )
    words = np.array(["".join(rng.choice(syllables, rng.integers(1, 4))).capitalize() for _ in range(20_000)])
    frequent = words[np.minimum(rng.zipf(1.25, (items, 9)) - 1, len(words) - 1)]
    lengths = rng.integers(4, 10, items)
    return [
        " ".join([*row[:n], str(item % 997)])
        for item, (row, n) in enumerate(zip(frequent, lengths, strict=True))
    ]


def measure(root: Path, users: int, items: int, models: int, seeds: int) -> tuple[float, float, float]:
    """MiB of the page, seconds to write it, seconds to open it."""
    material = Material(root, users, items, titles(items), (256, 256, 256), slice_samples=200, epochs=100)
    names = list(MODELS)
    runs = [
        material.write_run(
            names[m % 5], 2020 + s, 0.1 + 0.01 * (m % 5), names[m % 5] in WITH_TOKENS, id_dim=m // 5
        )
        for m in range(models)
        for s in range(seeds)
    ]
    started = time.perf_counter()
    page = write_report(gather_report(runs), root)
    written = time.perf_counter() - started
    browser = Browser(page, root / "profile")
    times = []
    for _ in range(3):
        started = time.perf_counter()
        browser.open(1440)
        times.append(time.perf_counter() - started)
    browser.driver.quit()
    return page.stat().st_size / 2**20, written, min(times)


def main() -> None:
    """Print one line a case."""
    keep = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    for name, (users, items, models, seeds, most_mib, most_seconds) in CASES.items():
        folder = (
            Path(tempfile.mkdtemp()) if keep is None else keep / name.replace(", ", "-").replace(" ", "-")
        )
        size, written, opened = measure(folder, users, items, models, seeds)
        goal = f"goal {most_mib:g} MiB" + (f", {most_seconds:g} s" if most_seconds else "")
        print(
            f"{name}: {size:.2f} MiB, written in {written:.1f} s, opens in {opened:.2f} s ({goal})",
            flush=True,
        )
        if keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
