"""The cases of a finished run, scored again: what the studies of offsets and of weights start from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_unisid.evaluation.slices import popularity_thresholds
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.finished_run import settings_as_made
from recbole_unisid.recbole_adapter.loaders import HistoryLoader, make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics
from recbole_unisid.serving.loaded import load


class Scored(NamedTuple):
    """A batch of cases."""

    scores: Tensor  # [cases, n_items + 1]
    targets: Tensor  # item numbers, int64 [cases]
    seen: tuple[Tensor, Tensor]  # rows and item numbers of the histories, as `ranks_from_scores` has them


class FinishedRun:
    """A finished run with its data set."""

    def __init__(self, run: Path, split: str | None = None) -> None:
        """Load it; where a `split` is named, the process ends with a line if the run has another."""
        loaded = load(run)
        settings = settings_as_made(loaded.stored.settings)
        self.config = UniSIDConfig(loaded.config["model"], loaded.config["dataset"], settings)
        if split is not None and self.config["split"] != split:
            sys.exit(f"{run}: split={self.config['split']}; runs under --split={split} are wanted.")
        self.dataset = load_dataset(self.config)
        self.dataset.semantics = item_semantics(self.config, self.dataset)
        make_loaders(self.config, self.dataset)
        self.model: Any = loaded.model.eval()
        #: Whether what moves of items bring was measured, as it was not at first.
        self.measured = "moved_items" in loaded.stored.result
        #: Data set and model.
        self.key = str(self.config["dataset"]), str(self.config["model"])
        #: How often each item occurs in training, [n_items + 1].
        self.counts: NDArray[np.int64] = np.asarray(
            self.dataset.split.training_counts(self.dataset.sequences)
        )

    def popularity_as_fitted(self) -> Tensor:
        """The weight of popularity, [], without the run's `popularity_scale`."""
        terms, new_items = self.model.terms, self.model.items.new_items
        weight: Tensor = terms.weights[terms.features.index("popularity")].clone()
        moves = self.dataset.split.name == "leave_one_out" and new_items.neighbours
        moves = moves and "shrinkage" in self.config and self.config["shrinkage"]
        if moves and new_items.shift is None and self.measured:  # nothing was moved, and so nothing scaled
            return weight
        return weight / terms.scales.get("popularity", 1.0)

    def slices(self, targets: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
        """Which of some targets [cases] are of the head, the mid and the tail of the training counts, [cases] each."""
        often, (head, mid) = self.counts[targets], popularity_thresholds(self.counts)
        return {"head": often >= head, "mid": (often >= mid) & (often < head), "tail": often < mid}

    @torch.no_grad()
    def scored(self, phase: int) -> Iterator[Scored]:
        """Score the catalogue for every target of a phase, in the loader's order."""
        targets = self.dataset.split.targets(phase)
        for interaction, _, _, asked in HistoryLoader(self.config, self.dataset, targets):
            scores, histories = self.model.full_sort_predict(interaction), interaction[self.model.ITEM_SEQ]
            rows, places = histories.nonzero(as_tuple=True)
            yield Scored(scores, asked, (rows, histories[rows, places]))
