"""Data loaders: RecBole's for its models, whole sequences for ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.interaction import Interaction
from recbole.data.utils import create_samplers, get_dataloader

from recbole_unisid import distributed
from recbole_unisid.data.split import TEST, TRAIN, VALID
from recbole_unisid.data.windows import (
    TARGET_LIST,
    bucketed_batches,
    history_windows,
    training_rows,
    training_windows,
)
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import TARGET_POSITION, InteractionDataset, PrefixRowDataset


@dataclass
class Loaders:
    """What a trainer iterates over; `valid` is None where no user is long enough to validate on."""

    train: Any
    valid: Any | None
    test: Any


class WholeSequenceLoader:
    """Length-bucketed batches of training windows, as RecBole's trainer wants a loader."""

    shuffle = True

    def __init__(self, config: UniSIDConfig, dataset: PrefixRowDataset) -> None:
        self.batch_size: int = config["train_batch_size"]
        max_len = config["MAX_ITEM_LIST_LENGTH"]
        sequences, split = dataset.sequences, dataset.split
        # What a step computes: positions in one pass, or (TIGER as published) a row a target.
        if "architecture" in config and config["architecture"] == "encoder_decoder":
            self.windows = training_rows(sequences, split, max_len)
            self.weights = np.ones_like(self.windows.start)
        else:
            self.windows = training_windows(sequences, split, max_len, config["window_stride"])
            self.weights = self.windows.lengths
        if not len(self.windows.start):
            raise UserError(
                f"Data set '{config['dataset']}' has no training targets: every user has fewer than 3 items "
                "(the last one is held out)."
            )
        self.generator = np.random.default_rng(config["seed"])
        self.fields = (dataset.uid_field, dataset.item_id_list_field, dataset.item_list_length_field)
        # What RecBole's collector counts popularity in: the training targets.
        targets = Interaction({dataset.iid_field: torch.from_numpy(sequences.items[split.targets(TRAIN)])})
        self.dataset = self._dataset = dataset.copy(targets)

    def __len__(self) -> int:
        """Batches an epoch, about: how full they get depends on the shuffle."""
        return -(-int(self.weights.sum()) // self.batch_size)

    def __iter__(self) -> Iterator[Interaction]:
        """Yield the batches of one epoch."""
        lengths = self.windows.lengths
        for index in bucketed_batches(lengths, self.batch_size, self.generator, weights=self.weights):
            inputs, targets = self.windows.batch(index)
            of_batch = torch.from_numpy(lengths[index])
            users = torch.from_numpy(self.windows.user[index] + 1)
            columns = zip((*self.fields, TARGET_LIST), (users, inputs, of_batch, targets), strict=True)
            yield Interaction(dict(columns))


class HistoryLoader(FullSortEvalDataLoader):
    """Evaluation batches of histories of like length, in RecBole's full-sort form.

    `targets` are the flat positions [cases] of what is asked for, ascending.
    """

    #: Each of several processes evaluates its share of the users.
    is_share = True

    def __init__(self, config: UniSIDConfig, dataset: PrefixRowDataset, targets: NDArray[np.int64]) -> None:
        targets = targets[distributed.rank() :: distributed.world()]
        if not len(targets):
            raise UserError(
                f"There are fewer users to evaluate than the {distributed.world()} processes; start fewer."
            )
        windows = history_windows(dataset.sequences, targets, config["MAX_ITEM_LIST_LENGTH"])
        order = np.argsort(windows.lengths, kind="stable")[::-1].copy()
        self.windows, self.order, self.targets = windows, order, targets
        self.fields = (dataset.uid_field, dataset.item_id_list_field, dataset.item_list_length_field)
        index = Interaction({dataset.iid_field: torch.from_numpy(dataset.sequences.items[targets])})
        super().__init__(config, dataset.copy(index), None, shuffle=False)

    def _init_batch_size_and_step(self) -> None:
        """Bound rows x items, the one thing in an evaluation that grows with the catalogue."""
        rows = self.config["eval_scores"] // self._dataset.item_num
        self.step = max(1, min(self.config["eval_batch_size"], rows))
        self.set_batch_size(self.step)

    def collate_fn(self, index: list[int]) -> tuple[Interaction, None, torch.Tensor, torch.Tensor]:
        """Build one batch: longest histories first, so that a too large batch fails at once."""
        chosen = self.order[np.asarray(index)]
        inputs, _ = self.windows.batch(chosen)
        targets = self.targets[chosen]
        users, lengths = self.windows.user[chosen] + 1, self.windows.lengths[chosen]
        columns = (torch.from_numpy(users), inputs, torch.from_numpy(lengths), torch.from_numpy(targets))
        interaction = Interaction(dict(zip((*self.fields, TARGET_POSITION), columns, strict=True)))
        answer = torch.from_numpy(self.windows.items[targets])
        return interaction, None, torch.arange(len(chosen)), answer


def make_loaders(config: UniSIDConfig, dataset: PrefixRowDataset | InteractionDataset) -> Loaders:
    """Split a dataset and make the loaders that the model trains and is evaluated on."""
    if config.is_own_model:
        assert isinstance(dataset, PrefixRowDataset)
        dataset.build_sequences()
        asked = [dataset.split.targets(phase) for phase in (VALID, TEST)]
        valid, test = (HistoryLoader(config, dataset, cases) if len(cases) else None for cases in asked)
        train = WholeSequenceLoader(config, dataset) if test else None
    else:
        parts = dataset.build()
        samplers = create_samplers(config, dataset, parts)
        train, valid, test = (
            get_dataloader(config, phase)(
                config, part, sampler, shuffle=phase == "train" and config["shuffle"]
            )
            if len(part)
            else None
            for phase, part, sampler in zip(("train", "valid", "test"), parts, samplers, strict=True)
        )
    if test is None:
        raise UserError(
            f"Data set '{config['dataset']}' has no user with 3 items or more: nothing to test on."
        )
    if train is None:
        raise UserError(f"Data set '{config['dataset']}' leaves nothing to train on.")
    return Loaders(train, valid, test)


def full_loader(config: UniSIDConfig, loader: Any) -> Any:
    """A full-ranking loader over what `loader`, which samples its candidates, evaluates."""
    return FullSortEvalDataLoader(config, loader.dataset, loader._sampler, shuffle=False)
