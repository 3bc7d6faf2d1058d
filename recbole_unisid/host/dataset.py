"""RecBole's datasets with exact times, unquoted text and vectorised prefix rows."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction

from recbole_unisid.data.sequences import UserSequences, group_by_user
from recbole_unisid.data.split import Split, leave_one_out
from recbole_unisid.errors import UserError
from recbole_unisid.host.benchmark_rows import sequences_from_rows
from recbole_unisid.host.config import UniSIDConfig
from recbole_unisid.host.mends import unquoted_tables
from recbole_unisid.host.prefix_rows import prefix_rows

#: Column of a batch that says which interaction (flat position in the sequences) is its target.
TARGET_POSITION = "target_position"


class _AtomicFiles:
    """What both kinds of dataset change about reading: text, times, and what to do without files."""

    config: UniSIDConfig

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
        times = self.inter_feat.get(self.time_field)  # type: ignore[attr-defined]
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

    def _sequences_of(self, interactions: Interaction) -> UserSequences:
        """Group the interactions, which stand in file order, by user."""
        times = interactions[self.time_field].numpy().astype(np.float64)  # type: ignore[attr-defined]
        return group_by_user(
            interactions[self.uid_field].numpy() - 1,  # type: ignore[attr-defined]
            interactions[self.iid_field].numpy(),  # type: ignore[attr-defined]
            times,
            _names(self, self.uid_field)[1:],  # type: ignore[attr-defined]
            _names(self, self.iid_field),  # type: ignore[attr-defined]
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
        self.sequences: UserSequences
        self.inter_feat: Any
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
        self.sequences = self._sequences_of(self.inter_feat)
        self._aug_presets()
        if self._whole_sequences:
            return
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        self.inter_feat = prefix_rows(self, TARGET_POSITION)

    @cached_property
    def split(self) -> Split:
        """The phases of :attr:`sequences`, as RecBole splits the prefix rows."""
        return self._benchmark_split or leave_one_out(self.sequences)


class InteractionDataset(_AtomicFiles, Dataset):
    """A dataset of loose interactions for general models, with the same :attr:`sequences` and split."""

    def __init__(self, config: UniSIDConfig) -> None:
        self.sequences: UserSequences
        super().__init__(config)

    def _change_feat_format(self) -> None:
        super()._change_feat_format()
        self.sequences = self._sequences_of(self.inter_feat)

    @cached_property
    def split(self) -> Split:
        """The phases of :attr:`sequences`."""
        return leave_one_out(self.sequences)


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
