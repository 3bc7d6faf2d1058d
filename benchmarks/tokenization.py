"""Measurements of the tokenizers: ``python -m benchmarks.tokenization distances | refinements | scale``.

Every figure that is finished is kept in ``results/tables/tokenizer-<study>.json`` at once, and a second start goes
on where the first was stopped; the table beside it is written anew from the JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.embeddings import encode_texts
from recbole_unisid.files import write_json, write_text
from recbole_unisid.text import item_texts, read_item_file
from recbole_unisid.tokens import build_tokenizer
from recbole_unisid.tokens.health import collision_health, level_health, neighbours_kept, reconstruction_error

Vectors = NDArray[np.float32]
PATTERNS = {
    "cosine": ["cosine", "cosine", "cosine"],
    "Euclid": ["euclidean", "euclidean", "euclidean"],
    "mixed": ["cosine", "cosine", "euclidean"],
}

#: About 89 % of the positions that the authors' quantiser sees are padding.
PADDING_SHARE = 0.89


@dataclass(frozen=True)
class Variant:
    """One row of a table: a tokenizer with its settings, and the share of padding it is fitted with."""

    label: str
    tokenizer: str
    distances: list[str] = field(default_factory=lambda: PATTERNS["mixed"])
    options: dict[str, Any] = field(default_factory=dict)
    padding: float = 0.0


def distance_variants() -> Iterator[Variant]:
    """Cosine, Euclid and mixed levels; k-means of the text and RQ-VAE; without and with padding."""
    for name, pattern in PATTERNS.items():
        yield Variant(f"residual k-means, {name}, fitted lengths", "residual_kmeans", pattern)
    for name in ("cosine", "mixed"):
        unit: dict[str, Any] = {"code_length": "unit"}
        yield Variant(f"residual k-means, {name}, unit lengths", "residual_kmeans", PATTERNS[name], unit)
    for name, pattern in PATTERNS.items():
        yield Variant(f"RQ-VAE, {name}, unit lengths", "rqvae", pattern, {"epochs": 40})
    for dead_below in (0.2, 2.0):  # the default, and the paper's
        label = f"RQ-VAE, Euclid, {PADDING_SHARE:.0%} padding, dead below {dead_below}"
        training: dict[str, Any] = {"epochs": 5, "dead_below": dead_below}
        yield Variant(label, "rqvae", PATTERNS["Euclid"], training, PADDING_SHARE)


def refinement_variants() -> Iterator[Variant]:
    """Ways to fit the default tokenizer's codebooks."""
    settings: dict[str, dict[str, Any]] = {
        "plain k-means": {"balance": 0.0, "iterations": 100},
        "plain k-means, 5 restarts": {"balance": 0.0, "iterations": 100, "restarts": 5},
        "balanced, softness 0.02": {"balance": 0.02},
        "balanced, softness 0.05 (default)": {},
        "balanced, softness 0.1": {"balance": 0.1},
        "balanced, softness 0.05, not centred": {"centre": False},
    }
    for label, options in settings.items():
        yield Variant(label, "residual_kmeans", options=options)


def measure(variant: Variant, vectors: Vectors, seed: int) -> dict[str, Any]:
    """Fit, encode, and judge."""
    start = time.perf_counter()
    model = build_tokenizer(variant.tokenizer, [256, 256, 256], variant.distances, seed, **variant.options)
    padding = round(len(vectors) * variant.padding / (1 - variant.padding))
    padded = np.concatenate([vectors, np.zeros((padding, vectors.shape[1]), dtype=np.float32)])
    codes = model.fit(padded, show_progress=False).encode(vectors)
    decoded = model.decode(codes)
    return {
        "levels": level_health(codes, model.codebook_sizes, model.distances),
        **collision_health(codes, [""] * len(codes), listed=0),
        "reconstruction_error": reconstruction_error(vectors, decoded),
        "neighbours_kept": neighbours_kept(vectors, decoded, np.random.default_rng(0)),
        "seconds": time.perf_counter() - start,
    }


def study(
    path: Path, datasets: dict[str, Vectors], variants: list[Variant], seeds: list[int]
) -> dict[str, dict[str, Any]]:
    """Every variant on every dataset with every seed; finished ones are read from the file."""
    done: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else {}
    for seed in seeds:
        for dataset, vectors in datasets.items():
            for variant in variants:
                key = f"{dataset} | {variant.label} | {seed}"
                if key not in done:
                    done[key] = measure(variant, vectors, seed)
                    write_json(path, done)
                    print(f"{key}: {done[key]['seconds']:.0f} s", flush=True)
    return done


def table(done: dict[str, dict[str, Any]]) -> str:
    """Means and standard deviations over seeds, as Markdown."""
    head = [
        *("dataset", "tokenizer", "seeds", "codes used a level, %", "perplexity a level", "distinct, %"),
        *("alone, %", "largest collision", "variance lost, %", "neighbours kept, %"),
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    rows = dict.fromkeys(key.rsplit(" | ", 1)[0] for key in done)
    for row in rows:
        results = [result for key, result in done.items() if key.rsplit(" | ", 1)[0] == row]
        levels = range(len(results[0]["levels"]))

        def percent(name: str, results: list[dict[str, Any]] = results) -> str:
            return _spread([100 * result[name] for result in results])

        used = [[100 * r["levels"][n]["used"] / r["levels"][n]["size"] for r in results] for n in levels]
        perplexity = [[r["levels"][n]["perplexity"] for r in results] for n in levels]
        cells = [
            *row.split(" | "),
            str(len(results)),
            " / ".join(_spread(values) for values in used),
            " / ".join(_spread(values, 0) for values in perplexity),
            percent("distinct_fraction"),
            percent("alone_fraction"),
            _spread([result["largest_collision"] for result in results], 0),
            percent("reconstruction_error"),
            percent("neighbours_kept"),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: list[float], digits: int = 2) -> str:
    """Mean, and the standard deviation where it is not 0."""
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if round(deviation, digits) else "")


def scale(path: Path, sizes: list[int], width: int = 384) -> str:
    """Seconds and peak memory of fitting and encoding clustered vectors, each size in its own process."""
    lines = [
        "| items | making them, s | fit, s (CPU) | encode, s (CPU) | peak memory, GiB "
        "| codes used | distinct, % |",
        "|" + "---|" * 7,
    ]
    results = []
    for size in sizes:
        with get_context("spawn").Pool(1) as pool:  # a fresh process, whose peak is its own
            results.append(pool.apply(_scale_once, (size, width)))
        print(results[-1], flush=True)
        write_json(path, results)
    for r in results:
        lines.append(
            f"| {r['items']:,} | {r['making']:.0f} | {r['fit']:.0f} ({r['fit_cpu']:.0f}) "
            f"| {r['encode']:.0f} ({r['encode_cpu']:.0f}) | {r['gib']:.2f} "
            f"| {' / '.join(map(str, r['used']))} | {100 * r['distinct']:.1f} |"
        )
    return "\n".join(lines)


def _scale_once(size: int, width: int) -> dict[str, Any]:
    """Vectors around 5,000 centres that are themselves clustered, on the unit sphere."""
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    topics = rng.standard_normal((50, width), dtype=np.float32)
    spread = rng.standard_normal((5000, width), dtype=np.float32)
    centres = topics[rng.integers(50, size=5000)] + 0.7 * spread
    vectors = np.empty((size, width), dtype=np.float32)
    for first in range(0, size, 50_000):
        part = vectors[first : first + 50_000]
        part[:] = centres[rng.integers(5000, size=len(part))] + 0.5 * rng.standard_normal(
            part.shape, dtype=np.float32
        )
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    made, made_cpu = time.perf_counter(), time.process_time()
    model = build_tokenizer("residual_kmeans", [256, 256, 256], seed=2020).fit(vectors, show_progress=False)
    fitted, fitted_cpu = time.perf_counter(), time.process_time()
    codes = model.encode(vectors)
    encoded, encoded_cpu = time.perf_counter(), time.process_time()
    return {
        "items": size, "making": made - start, "fit": fitted - made, "encode": encoded - fitted,
        "fit_cpu": fitted_cpu - made_cpu, "encode_cpu": encoded_cpu - fitted_cpu,
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "used": [level["used"] for level in level_health(codes, model.codebook_sizes, model.distances)],
        "distinct": collision_health(codes, [""] * size, listed=0)["distinct_fraction"],
    }  # fmt: skip


def machine() -> str:
    """The processor and versions, for the foot of a table."""
    cpu = next((line.split(":", 1)[1].strip() for line in _cpu_lines() if line.startswith("model name")), "")
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}"
    return f"{cpu or platform.processor()}, {torch.get_num_threads()} threads; {versions}."


def _cpu_lines() -> list[str]:
    info = Path("/proc/cpuinfo")
    return info.read_text().splitlines() if info.is_file() else []


def _dataset(folder: Path, name: str, cache: Path) -> Vectors:
    items = read_item_file(folder / name / f"{name}.item")
    return encode_texts(item_texts(items, items.ids), "offline", cache)


def main() -> None:
    """Run one study and write its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=["distances", "refinements", "scale"])
    parser.add_argument("--data", type=Path, default=Path("dataset"), help="folder of the datasets")
    parser.add_argument("--cache", type=Path, default=Path("cache/embeddings"))
    parser.add_argument("--results", type=Path, default=Path("results/tables"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--items", type=int, nargs="+", default=[125_000, 250_000, 500_000, 1_000_000])
    arguments = parser.parse_args()
    path: Path = arguments.results / f"tokenizer-{arguments.study}.json"
    if arguments.study == "scale":
        text = scale(path, arguments.items)
    else:
        names = ["amazon-beauty"] + (["amazon-scientific-18"] if arguments.study == "refinements" else [])
        vectors = {name: _dataset(arguments.data, name, arguments.cache) for name in names}
        choose: Callable[[], Iterator[Variant]] = (
            distance_variants if arguments.study == "distances" else refinement_variants
        )
        seeds = list(range(2020, 2020 + arguments.seeds))
        text = table(study(path, vectors, list(choose()), seeds))
    write_text(path.with_suffix(".table.md"), f"{text}\n\n{machine()}\n")


if __name__ == "__main__":
    main()
