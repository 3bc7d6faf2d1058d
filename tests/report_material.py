"""Run folders for the tests and the benchmark of the report, written by the package's own writers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recbole_unisid.evaluation.controls import control_metrics
from recbole_unisid.evaluation.metrics import protocol_metrics
from recbole_unisid.evaluation.slices import make_slices, slice_metrics
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.files import fingerprint, write_json, write_text
from recbole_unisid.report.examples import (
    choose_examples,
    neighbour_examples,
    people_examples,
    write_examples,
)
from recbole_unisid.tokens.health import collision_health, level_health
from recbole_unisid.tokens.tokens_file import write_tokens_tsv

#: How often a model ranks the target first, about: more is better. Tokens for those with codes.
MODELS = {"UniSID": 0.16, "SemanticID": 0.12, "ItemID": 0.11, "DenseText": 0.07, "Pop": 0.02}
WITH_TOKENS = ("UniSID", "SemanticID")
WORDS = ("lotion", "brush", "mascara", "shampoo", "rose", "argan", "vitamin", "repair", "night", "gentle")


@dataclass
class Material:
    """A made-up data set; runs on it are written by :meth:`write_run`."""

    root: Path
    users: int = 300
    items: int = 240
    titles: list[str] = field(default_factory=list)
    levels: tuple[int, ...] = (16, 16, 8)
    examples: bool = True
    slice_samples: int = 50
    epochs: int = 4

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        words = rng.choice(WORDS, size=(self.items, 6))
        made = [f"{' '.join(row)} no {item}" for item, row in enumerate(words.tolist())]
        self.titles = [*self.titles, *made][: self.items]
        self.names = [f"i{item}" for item in range(self.items)]
        self.counts = np.concatenate([[0], np.sort(rng.zipf(1.6, self.items).clip(0, 500))[::-1]])
        self.targets = rng.integers(1, self.items + 1, self.users)
        self.history = rng.integers(3, 40, self.users)
        kinds = ("Hair", "Skin", "Nails")
        lines = [
            f"{n}\t{t}\t{kinds[i % 3]}" for i, (n, t) in enumerate(zip(self.names, self.titles, strict=True))
        ]
        head = "item_id:token\ttitle:token_seq\tcategories:token_seq"
        write_text(self.root / "data" / "toys" / "toys.item", "\n".join([head, *lines]) + "\n")

    def write_run(self, model: str, seed: int, quality: float, tokens: bool, **settings: Any) -> Path:
        """Write one finished run; returns its folder."""
        folder = self.root / "runs" / "toys" / model / f"{seed}-{fingerprint(model, seed, settings)[:12]}"
        rng = np.random.default_rng([seed, len(model), len(str(settings))])
        full = np.where(rng.random(self.users) < 0.5, rng.geometric(quality, self.users), self.items // 2)
        ranks = {"full": full.astype(np.int64), "sampled99": np.minimum(full, 100).astype(np.int64)}
        zeros = np.zeros(self.users, dtype=np.int64)  # what lists without seen items cannot have
        ranks["full_unfiltered"] = zeros if model == "Pop" else ranks["full"] + 1
        users = np.array([f"u{user}" for user in range(self.users)])
        targets = np.array(self.names)[self.targets - 1]
        table = RankTable(users, targets, ranks, self.history, self.counts[self.targets])
        table.save(folder / "ranks.npz")
        result = self._result(model, seed, {n: r for n, r in ranks.items() if r.min() > 0}, rng)
        if tokens:
            result["tokenizer"] = self._write_tokens(folder, np.random.default_rng(seed))
        resolved = {
            "model": model,
            "seed": seed,
            "data_path": str(self.root / "data"),
            "epochs": 3,
            **settings,
        }
        write_text(folder / "config.yaml", yaml.safe_dump(resolved))
        if self.examples and model != "Pop":
            self._write_examples(folder, rng, ranks["full"])
        write_json(folder / "result.json", result)
        return folder

    def write_runs(
        self, models: dict[str, float] = MODELS, seeds: tuple[int, ...] = (2020, 2021)
    ) -> list[Path]:
        """Write every model with every seed."""
        return [
            self.write_run(model, seed, quality, model in WITH_TOKENS)
            for model, quality in models.items()
            for seed in seeds
        ]

    def _result(
        self, model: str, seed: int, ranks: dict[str, Any], rng: np.random.Generator
    ) -> dict[str, Any]:
        popularity = self.counts[self.targets]
        slices = make_slices(self.counts, self.history)
        test: dict[str, Any] = {"full_unfiltered": None, **protocol_metrics(ranks)}
        test["slices"] = slice_metrics(
            ranks["full"], popularity, self.history, slices, None, self.slice_samples
        )
        random = np.random.default_rng(1).integers(1, self.items, self.users)
        rules = ["popularity", "next_id", "previous_id", "repeat_last"]
        rules += ["nearest_text"] if model in WITH_TOKENS else []
        return {
            **{"schema": 1, "status": "complete", "model": model, "dataset": "toys", "seed": seed},
            "recipe": "default",
            "protocol": {"split": "leave_one_out", "order": "time", "ties": "raw", "valid_metric": "ndcg@10"},
            "data": {
                "users": self.users,
                "items": self.items,
                "interactions": 9 * self.users,
                "train_targets": 5,
            },
            "valid": protocol_metrics(ranks),
            "test": test,
            "controls": control_metrics(
                {rule: {"full": random, "full_unfiltered": random} for rule in rules}
            ),
            "parameters": {
                "tokens": None if model == "Pop" else int(rng.integers(10_000, 90_000)),
                **{
                    kind: int(rng.integers(100_000, 900_000))
                    for kind in ("training", "checkpoint", "serving")
                },
            },
            "tokenizer": None,
            "seconds": {
                **dict.fromkeys(("text_encoding", "tokenizer")),
                **({"text_encoding": 14.18, "tokenizer": 0.31} if model in WITH_TOKENS else {}),
                "training": float(rng.uniform(20, 300)),
                **{"per_epoch": 4.9, "evaluation": 0.7},
            },
            **{"epochs": self.epochs, "best_epoch": 2, "peak_rss_bytes": int(rng.integers(5e8, 2e9))},
            "history": [self._epoch(epoch, seed) for epoch in range(self.epochs)],
            "versions": {"recbole_unisid": "0.1.0", "recbole": "1.2.1", "torch": "2", "python": "3.11"},
            "machine": {"cpu": "a processor", "cores": 2, "gpu": None},
        }

    @staticmethod
    def _epoch(epoch: int, seed: int) -> dict[str, float]:
        return {"epoch": epoch, "loss": 9.0 / (epoch + 2), "valid": 0.01 * (epoch + seed % 7), "seconds": 5.0}

    def _write_tokens(self, folder: Path, rng: np.random.Generator) -> dict[str, Any]:
        codes = np.column_stack([rng.integers(0, size, self.items) for size in self.levels])
        codes[: self.items // 20] = codes[0]  # a large collision
        write_tokens_tsv(folder / "tokens.tsv", self.names, codes)
        distances = ["cosine"] * (len(self.levels) - 1) + ["euclidean"]
        levels = level_health(codes, self.levels, distances)
        return {
            "name": "residual_kmeans",
            "levels": levels,
            **collision_health(codes, self.names, self.titles),
        }

    def _write_examples(self, folder: Path, rng: np.random.Generator, ranks: np.ndarray) -> None:
        rows = choose_examples(self.users)
        histories = [rng.integers(1, self.items + 1, self.history[row]) for row in rows]
        scores = rng.random((len(rows), self.items + 1)).astype(np.float32)
        targets = self.targets[rows].tolist()
        names = ["[PAD]", *self.names]
        people = people_examples(
            [f"u{row}" for row in rows], histories, targets, ranks[rows].tolist(), names, scores
        )
        vectors = {
            way: rng.normal(size=(self.items + 1, 4)).astype(np.float32)
            for way in ("unified", "tokens", "ID")
        }
        near = neighbour_examples([1, 2], vectors, names)
        write_examples(
            folder / "examples.json", people, near, dict(zip(self.names, self.titles, strict=True))
        )
