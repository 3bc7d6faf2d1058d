"""Other orders of the ties that hold test targets, scored by a trained model."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction

from recbole_unisid.data.sequences import require_times
from recbole_unisid.data.split import TEST
from recbole_unisid.data.tie_orders import other_lasts, reordered
from recbole_unisid.evaluation.tie_orders import tie_order_metrics
from recbole_unisid.recbole_adapter.collector import RankRecorder
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import PrefixRowDataset
from recbole_unisid.recbole_adapter.loaders import HistoryLoader

#: Interactions of reordered sequences held at once.
_HELD = 1 << 22


class _OrderLoader(HistoryLoader):
    """Batches of reordered histories, with the users whose they are and, for RecBole's models, of full width."""

    def __init__(self, config: UniSIDConfig, dataset: PrefixRowDataset, owners: NDArray[np.int64]) -> None:
        super().__init__(config, dataset, dataset.sequences.offsets[1:] - 1)
        self.windows = replace(self.windows, user=owners[self.windows.user])

    def collate_fn(self, index: list[int]) -> tuple[Interaction, None, torch.Tensor, torch.Tensor]:
        batch = super().collate_fn(index)
        if not self.config.is_own_model:
            histories = batch[0][self.fields[1]]
            missing = self.config["MAX_ITEM_LIST_LENGTH"] - histories.shape[1]
            batch[0].update(Interaction({self.fields[1]: torch.nn.functional.pad(histories, (0, missing))}))
        return batch


def measure_tie_orders(
    config: UniSIDConfig, dataset: Any, trainer: Any, ranks: dict[str, NDArray[np.int64]]
) -> dict[str, Any] | None:
    """Rank what could have come last in each test target's tie, beside the targets' `ranks` [cases].

    None where the settings do not ask for it, and for models without an order. The data must have times.
    """
    if not config.is_sequential or not config["tie_orders"]:
        return None
    sequences, targets = dataset.sequences, dataset.split.targets(TEST)
    case, lasts = other_lasts(sequences, targets)
    found = []
    for part in _parts(targets[case] - sequences.offsets[sequences.owners(targets[case])] + 1):
        its = targets[case[part]]
        others = copy.copy(dataset)
        others.sequences = reordered(sequences, its, lasts[part])
        loader = _OrderLoader(config, others, sequences.owners(its))
        cases = others.sequences.offsets[1:] - 1
        negatives = np.zeros((len(cases), 1), dtype=np.int64)  # sampled candidates are not asked for
        recorder = RankRecorder(others.sequences, cases, negatives, dataset.uid_field)
        trainer.evaluate(loader, load_best_model=False, recorder=recorder)
        found.append(recorder.result())
    sets = [name for name in ("full", "full_unfiltered") if name in ranks]
    joined: dict[str, NDArray[np.int64]] = {
        name: np.concatenate([np.zeros(0, np.int64), *(one[name] for one in found)]) for name in sets
    }
    return tie_order_metrics(ranks, joined, case)


def check_tie_orders(config: UniSIDConfig, dataset: Any) -> None:
    """Refuse other orders of ties where there is no time, or where a tie holds several targets."""
    if config.is_sequential and config["tie_orders"]:
        require_times(dataset.sequences, "tie_orders")


def _parts(lengths: NDArray[np.int64]) -> Iterator[slice]:
    """Cut sequences of these lengths into parts of bounded size."""
    ends = np.cumsum(lengths)
    start = 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _HELD, side="right")))
        yield slice(start, stop)
        start = stop
