"""RecBole's datasets with exact times, unquoted text and vectorised prefix rows."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction

from recbole_unisid.data.atomic_text import alike
from recbole_unisid.data.sequences import UserSequences, group_by_user
from recbole_unisid.data.split import TEST, TRAIN, VALID, Split
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.failures import failures_explained
from recbole_unisid.recbole_adapter.features import header
from recbole_unisid.recbole_adapter.protocol import ordered, split_of
from recbole_unisid.recbole_adapter.rows import prefix_rows, sequences_from_rows
from recbole_unisid.recbole_adapter.upstream_fixes import unquoted_tables

LOG = logging.getLogger("recbole_unisid")
#: Column of a batch that says which interaction (flat position in the sequences) is its target.
TARGET_POSITION = "target_position"


class _AtomicFiles(Dataset):
    """What both kinds of dataset change about reading: text, times, and what to do without files."""

    config: UniSIDConfig
    #: Every user's interactions, once the dataset has been built.
    sequences: UserSequences
    inter_feat: Any
    #: Of an order or files that are their own split; None where :func:`.protocol.split_of` makes it.
    _split: Split | None = None
    item_feat: Any
    user_feat: Any

    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame | None:
        usual = self.config["encoding"]
        with unquoted_tables():
            if str(usual or "utf-8").lower() in ("utf-8", "utf8"):
                self.config["encoding"] = "utf-8-sig"  # a spreadsheet's byte order mark is no part of a name
            try:
                table: pd.DataFrame | None = super()._load_feat(filepath, source)
            except (ValueError, pd.errors.ParserError) as error:
                raise UserError(f"{filepath} cannot be read: {' '.join(str(error).split())}") from error
            finally:
                self.config["encoding"] = usual
        if table is None:
            return None
        if table.empty:
            raise UserError(f"{filepath} has a header and no rows.")
        return self._named_rows(table, filepath)

    def _named_rows(self, table: pd.DataFrame, filepath: str) -> pd.DataFrame:
        """The rows that name their user and item; RecBole drops others beside them (a row of `drop` by place)."""
        kept = np.ones(len(table), dtype=bool)
        for field in {self.uid_field, self.iid_field} & set(table):
            missing = table[field].isna().to_numpy()
            kept &= ~missing
            if missing.any():
                LOG.warning(
                    "%s: %d rows have no %s and are left out, the first is line %d",
                    filepath, missing.sum(), field, np.flatnonzero(missing)[0] + 2,
                )  # fmt: skip
        if not kept.all():
            table = table[kept].reset_index(drop=True)
        if table.empty:
            raise UserError(f"{filepath} has no row with a user and an item.")
        return table

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        super()._load_inter_feat(token, dataset_path)
        if self.time_field not in self.inter_feat:
            return
        keys = [f for f in (self.uid_field, self.iid_field, self.time_field) if f in self.inter_feat]
        if doubled := int(self.inter_feat.duplicated(keys).sum()):
            LOG.warning(
                "%s.inter: %d rows repeat another's user, item and time; rm_dup_inter=first keeps one of each user "
                "and item", token, doubled,
            )  # fmt: skip
        wrong = np.flatnonzero(~np.isfinite(self.inter_feat[self.time_field].to_numpy(np.float64)))
        if len(wrong):
            raise UserError(
                f"{dataset_path}/{token}.inter, line {wrong[0] + 2}: the time is missing or not finite."
            )

    def _filter_inter_by_user_or_item(self) -> None:
        """Leave out what the user and item files lack, as RecBole does, and say so."""
        items, rows = self.inter_feat[self.iid_field].unique().tolist(), len(self.inter_feat)
        super()._filter_inter_by_user_or_item()
        if len(self.inter_feat) == rows:
            return
        twins = alike(items, self.item_feat[self.iid_field]) if self.item_feat is not None else []
        written = f"; {twins[0][0]!r} is written {twins[0][1]!r} there" if twins else ""
        LOG.warning(
            "%d of %d interactions are left out: their user or item is not among the rows that are kept of the "
            "user or item file%s", rows - len(self.inter_feat), rows, written,
        )  # fmt: skip
        if self.inter_feat.empty:
            raise UserError(
                f"No interaction of '{self.config['dataset']}' has an item of its item file{written}: write the "
                "items alike in both files."
            )

    def _remove_duplication(self) -> None:
        """RecBole sorts by time without care for ties: file order is lost even where nothing is doubled."""
        if self.config["rm_dup_inter"] is not None:
            self.inter_feat.sort_values(self.time_field, kind="stable", inplace=True)
            keys = [self.uid_field, self.iid_field]
            self.inter_feat.drop_duplicates(keys, keep=self.config["rm_dup_inter"], inplace=True)

    def _filter_by_field_value(self) -> None:
        """Filter as RecBole does, and drop the interactions' columns that were loaded for it alone."""
        with self._leaving_something("val_interval"):
            super()._filter_by_field_value()
        kept = {self.uid_field, self.iid_field, self.time_field}
        for field in {*(self.config["val_interval"] or ())} - kept:
            if field in self.inter_feat:
                self._del_col(self.inter_feat, field)

    def _filter_by_inter_num(self) -> None:
        with self._leaving_something("user_inter_num_interval", "item_inter_num_interval"):
            super()._filter_by_inter_num()

    @contextmanager
    def _leaving_something(self, *settings: str) -> Iterator[None]:
        """Refuse filters of these settings that leave no interactions, or none of their users or items."""
        given = {name: self.config[name] for name in settings if self.config[name] not in (None, "[0,inf)")}
        before = self._held() if given else {}
        yield
        after = self._held() if given else {}
        if any(before[what] and not after[what] for what in before):
            said = " and ".join(f"{name}={value}" for name, value in given.items())
            left = ", ".join(f"{after[what]:,} of {before[what]:,} {what}" for what in before)
            raise UserError(
                f"{said} leaves nothing of '{self.config['dataset']}' to train on: {left}; widen it, or leave it out."
            )

    def _held(self) -> dict[str, int]:
        """Numbers of interactions, and of their users and items that the user and item files, if read, have too."""
        held = {"interactions": len(self.inter_feat)}
        features = {"users": (self.uid_field, self.user_feat), "items": (self.iid_field, self.item_feat)}
        for what, (field, table) in features.items():
            names = self.inter_feat[field]
            held[what] = (names if table is None else names[names.isin(table[field])]).nunique()
        return held

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        interaction = super()._dataframe_to_interaction(data)
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
        """Make :attr:`sequences` in the order of the protocol; how that reorders the rows by time, if it does."""
        users, items, times = (
            self.inter_feat[field].numpy() for field in (self.uid_field, self.iid_field, self.time_field)
        )
        names = [np.asarray(self.field2id_token[f], np.str_) for f in (self.uid_field, self.iid_field)]
        grouped = group_by_user(users - 1, items, times.astype(np.float64), names[0][1:], names[1])
        self.sequences, order, self._split = ordered(self.config, grouped)
        return order

    @cached_property
    def split(self) -> Split:
        """The phases of :attr:`sequences`."""
        return self._split or split_of(self.config, self.sequences)

    def _order_interactions(self) -> None:
        """Make :attr:`sequences`, and put the interactions into their order."""
        order = self._find_sequences()
        self.inter_feat.sort(by=[self.uid_field, self.time_field], ascending=True)
        if order is not None:
            self.inter_feat = self.inter_feat[order]

    def build(self) -> list[Any]:
        """RecBole's three datasets: its own where they hold the protocol's rows, for the order in which they stand.

        RecBole splits loose interactions and prefix rows apart from each other; every model here trains on the same.
        """
        parts: list[Any] = []
        if self.config["split"] == "leave_one_out" and self.config["eval_args"]["order"] == "TO":
            parts = super().build()
            if self.config["benchmark_filename"]:
                return parts
        else:
            self._change_feat_format()
        phase, place = self.split.phase, self.inter_feat[TARGET_POSITION].numpy()
        masks = [kept[place] for kept in (phase <= TRAIN, phase == VALID, phase == TEST)]
        same = [
            np.array_equal(np.sort(part.inter_feat[TARGET_POSITION].numpy()), np.sort(place[mask]))
            for part, mask in zip(parts, masks, strict=False)
        ]
        if not same or not all(same):
            self._drop_unused_col()
            parts = [self.copy(self.inter_feat[np.flatnonzero(mask)]) for mask in masks]
        return parts


class PrefixRowDataset(_AtomicFiles, SequentialDataset):
    """A sequential dataset; :attr:`sequences` holds what the prefix rows were made from."""

    def __init__(self, config: UniSIDConfig) -> None:
        self._whole_sequences = False
        # RecBole names it by the items' column, and reads it by this name in pre-split files.
        self.item_id_list_field = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
        super().__init__(config)

    def build_sequences(self) -> None:
        """Make :attr:`sequences` alone, without prefix rows: those of a million users fill no memory."""
        self._whole_sequences = True
        self._change_feat_format()

    def _change_feat_format(self) -> None:
        super()._change_feat_format()
        if self.config["benchmark_filename"] is not None:
            phases = [self.config["benchmark_filename"], self.file_size_list]
            positions, self.sequences, self._split = sequences_from_rows(self, *phases)
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


class InteractionDataset(_AtomicFiles):
    """A dataset of loose interactions for general models, with the same :attr:`sequences` and split."""

    def _change_feat_format(self) -> None:
        super()._change_feat_format()
        self._order_interactions()
        self.inter_feat.update(Interaction({TARGET_POSITION: torch.arange(len(self.inter_feat))}))

    def build(self) -> list[Any]:
        """The three datasets of :meth:`_AtomicFiles.build`, with RecBole's columns alone."""
        parts = super().build()
        for table in {id(part.inter_feat): part.inter_feat for part in (self, *parts)}.values():
            table.drop(TARGET_POSITION)
        return parts


def load_dataset(config: UniSIDConfig) -> PrefixRowDataset | InteractionDataset:
    """Read the atomic files of a run, in the form that its kind of model reads; each trouble is a ``UserError``."""
    with failures_explained(config):
        return (PrefixRowDataset if config.is_sequential else InteractionDataset)(config)


def check_same_data(configs: Sequence[UniSIDConfig]) -> None:
    """Refuse, before any training, models of one table that would read other interactions.

    RecBole leaves out interactions with items that the item file lacks, of models that read that file alone.
    """
    with_items = [config for config in configs if "item" in (config["load_col"] or {})]
    if not with_items or len(with_items) == len(configs) or with_items[0]["benchmark_filename"]:
        return
    config, separator = with_items[0], with_items[0]["field_separator"]
    folder, name = Path(config["data_path"]), config["ITEM_ID_FIELD"]
    found = []
    for file in (folder / f"{config['dataset']}.{kind}" for kind in ("inter", "item")):
        column = [*header(file, separator)].index(name)
        table = pd.read_csv(
            file, sep=separator, usecols=[column], dtype=str, quoting=csv.QUOTE_NONE, keep_default_na=False
        )
        found.append(set(table.iloc[:, 0]) - {""})
    missing = sorted(found[0] - found[1])
    if missing and config["filter_inter_by_user_or_item"]:
        others = ", ".join(dict.fromkeys(one["model"] for one in configs if one not in with_items))
        raise UserError(
            f"{config['model']} reads {file.name}, which lacks {len(missing)} items of the interactions "
            f"({', '.join(missing[:3])}...), and RecBole would leave these out: add them to the file, or run "
            f"{config['model']} apart from {others}."
        )
