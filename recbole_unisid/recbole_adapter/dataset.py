"""RecBole's datasets with exact times, unquoted text and vectorised prefix rows."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction

from recbole_unisid.data.sequences import UserSequences, group_by_user
from recbole_unisid.data.split import TEST, TRAIN, VALID, Split, cold_items, global_time, leave_one_out
from recbole_unisid.data.ties import shuffle_ties
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.rows import prefix_rows, sequences_from_rows
from recbole_unisid.recbole_adapter.upstream_fixes import unquoted_tables

#: Column of a batch that says which interaction (flat position in the sequences) is its target.
TARGET_POSITION = "target_position"


class _AtomicFiles:
    """What both kinds of dataset change about reading: text, times, and what to do without files."""

    config: UniSIDConfig
    sequences: UserSequences
    # What RecBole's Dataset sets.
    inter_feat: Any
    uid_field: str
    iid_field: str
    time_field: str
    sort: Any
    copy: Any
    _drop_unused_col: Any

    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame | None:
        with unquoted_tables():
            try:
                table: pd.DataFrame | None = super()._load_feat(filepath, source)  # type: ignore[misc]
            except (ValueError, pd.errors.ParserError) as error:
                raise UserError(f"{filepath} cannot be read: {' '.join(str(error).split())}") from error
        if table is not None and table.empty:
            raise UserError(f"{filepath} has a header and no rows.")
        return table

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        super()._load_inter_feat(token, dataset_path)  # type: ignore[misc]
        times = self.inter_feat.get(self.time_field)
        if times is not None and not np.isfinite(times.to_numpy(np.float64)).all():
            row = int(np.flatnonzero(~np.isfinite(times.to_numpy(np.float64)))[0]) + 2
            raise UserError(f"{dataset_path}/{token}.inter, line {row}: the time is missing or not finite.")

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        interaction = super()._dataframe_to_interaction(data)  # type: ignore[misc]
        time_field = self.config["TIME_FIELD"]
        if self.config["exact_times"] and time_field in data:
            # RecBole's float32 has 24 bits: seconds since 1970 need 31 (#2204).
            interaction[time_field] = torch.from_numpy(data[time_field].to_numpy(np.float64).copy())
        return interaction

    def _download(self) -> None:
        """RecBole's links answer Access Denied (#2218) and its barrier needs a process group (#1989)."""
        raise UserError(
            f"There is no data set '{self.config['dataset']}' at {self.config['data_path']}; put "
            f"{self.config['dataset']}.inter (and .item) there, or name another place with --data_path=..."
        )

    def _find_sequences(self) -> NDArray[np.int64] | None:
        """Make :attr:`sequences`, ties as the protocol wants them; the shuffle of the rows by time, if any."""
        sequences, order = self._sequences_of(self.inter_feat), None
        seed = tie_seed(self.config["ties"])
        if seed is not None:
            # Shuffling positions instead of items gives the permutation for every other column.
            places = replace(sequences, items=np.arange(len(sequences.items)))
            order = shuffle_ties(places, seed).items
            sequences = replace(sequences, items=sequences.items[order])
        self.sequences = sequences
        return order

    def _order_interactions(self) -> None:
        """Make :attr:`sequences`, and put the interactions into their order."""
        order = self._find_sequences()
        self.inter_feat.sort(by=[self.uid_field, self.time_field], ascending=True)
        if order is not None:
            self.inter_feat = self.inter_feat[order]

    def _split_by_phase(self, phase: NDArray[np.int8]) -> list[Any]:
        """RecBole's three datasets out of the phase of every row of `inter_feat`."""
        self._drop_unused_col()
        parts = (phase <= TRAIN, phase == VALID, phase == TEST)
        return [self.copy(self.inter_feat[np.flatnonzero(part)]) for part in parts]

    def _sequences_of(self, interactions: Interaction) -> UserSequences:
        """Group the interactions, which stand in file order, by user."""
        times = interactions[self.time_field].numpy().astype(np.float64)
        return group_by_user(
            interactions[self.uid_field].numpy() - 1,
            interactions[self.iid_field].numpy(),
            times,
            _names(self, self.uid_field)[1:],
            _names(self, self.iid_field),
        )


def _names(dataset: Any, field: str) -> NDArray[np.str_]:
    return np.asarray(dataset.field2id_token[field], dtype=np.str_)


class PrefixRowDataset(_AtomicFiles, SequentialDataset):
    """A sequential dataset; :attr:`sequences` holds what the prefix rows were made from.

    Attributes
    ----------
    sequences : UserSequences
        Every user's interactions, once the dataset has been built.
    """

    def __init__(self, config: UniSIDConfig) -> None:
        self._benchmark_split: Split | None = None
        self._whole_sequences = False
        super().__init__(config)

    def build_sequences(self) -> None:
        """Make :attr:`sequences` alone, without prefix rows: those of a million users fill no memory."""
        self._whole_sequences = True
        self._change_feat_format()

    def _change_feat_format(self) -> None:
        super()._change_feat_format()
        if self.config["benchmark_filename"] is not None:
            phases = [self.config["benchmark_filename"], self.file_size_list]
            positions, self.sequences, self._benchmark_split = sequences_from_rows(self, *phases)
            self.inter_feat.update(Interaction({TARGET_POSITION: torch.from_numpy(positions)}))

    def data_augmentation(self) -> None:
        """Make the prefix rows of :meth:`SequentialDataset.data_augmentation`, equal tensors, vectorised."""
        self._check_field("uid_field", "time_field")
        self._aug_presets()
        if self._whole_sequences:
            self._find_sequences()
            return
        self._order_interactions()
        self.inter_feat = prefix_rows(self, TARGET_POSITION)

    @cached_property
    def split(self) -> Split:
        """The phases of :attr:`sequences`; leave-one-out is RecBole's split of the prefix rows."""
        return self._benchmark_split or split_sequences(self.config, self.sequences)

    def build(self) -> list[Any]:
        """Split the prefix rows into training, validation and test."""
        if self.config["split"] == "leave_one_out":
            built: list[Any] = super().build()
            return built
        self._change_feat_format()
        return self._split_by_phase(self.split.phase[self.inter_feat[TARGET_POSITION].numpy()])


class InteractionDataset(_AtomicFiles, Dataset):
    """A dataset of loose interactions for general models, with the same :attr:`sequences` and split."""

    def _change_feat_format(self) -> None:
        super()._change_feat_format()
        self._order_interactions()

    @cached_property
    def split(self) -> Split:
        """The phases of :attr:`sequences`."""
        return split_sequences(self.config, self.sequences)

    def build(self) -> list[Any]:
        """Split the interactions into training, validation and test."""
        if self.config["split"] == "leave_one_out":
            built: list[Any] = super().build()
            return built
        self._change_feat_format()
        return self._split_by_phase(self.split.phase)


def tie_seed(ties: Any) -> int | None:
    """Read the setting ``ties``.

    Returns
    -------
    int or None
        The seed of ``shuffled:SEED``; None for ``raw``.

    Raises
    ------
    UserError
        When it is neither.
    """
    kind, _, seed = str(ties).partition(":")
    if str(ties) == "raw":
        return None
    if kind != "shuffled" or not seed.isdecimal():
        raise UserError(
            f"ties={ties} is neither 'raw' nor 'shuffled:SEED' with a whole number, such as shuffled:7."
        )
    return int(seed)


def split_sequences(config: UniSIDConfig, sequences: UserSequences) -> Split:
    """Apply the protocol's split.

    Raises
    ------
    UserError
        For an unknown split, or one that the data or the model does not allow.
    """
    name = config["split"]
    if name == "leave_one_out":
        return leave_one_out(sequences)
    if name == "global_time":
        return global_time(sequences, config["valid_share"], config["test_share"])
    if name == "cold_items" and config.is_own_model:
        return cold_items(sequences, config["cold_share"], config["protocol_seed"])
    if name == "cold_items":
        raise UserError(
            f"split=cold_items ranks items by their text; {config['model']} of RecBole knows items by number only "
            "(use UniSID, SemanticID or DenseText)."
        )
    raise UserError(f"There is no split '{name}'; choose leave_one_out, global_time or cold_items.")


def load_dataset(config: UniSIDConfig) -> PrefixRowDataset | InteractionDataset:
    """Read the atomic files of a run.

    Parameters
    ----------
    config : UniSIDConfig
        Settings.

    Returns
    -------
    PrefixRowDataset or InteractionDataset
        By the model's kind.

    Raises
    ------
    UserError
        When files are missing or cannot be read.
    """
    return (PrefixRowDataset if config.is_sequential else InteractionDataset)(config)
