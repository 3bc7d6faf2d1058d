"""RecBole's prefix rows (a target and its history each) out of sequences, and sequences out of pre-split rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import CONTEXT, TEST, TRAIN, UNUSED, VALID, Split
from recbole_unisid.errors import UserError

_PHASES = {"train": TRAIN, "valid": VALID, "validation": VALID, "dev": VALID, "test": TEST}


def prefix_rows(dataset: Any, position_column: str) -> Interaction:
    """One row per target, its history in padded ``*_list`` columns.

    Equal, tensor for tensor, to what ``SequentialDataset.data_augmentation`` leaves in ``inter_feat`` (33,000 rows a
    second there, millions here), plus one column of ours: [rows] for targets, [rows, max_len, ...] for histories.
    """
    interactions = dataset.inter_feat
    length_limit = dataset.config["MAX_ITEM_LIST_LENGTH"]
    users = interactions[dataset.uid_field].numpy()
    position = np.arange(len(users))
    starts_user = np.concatenate([[True], users[1:] != users[:-1]]) if len(users) else np.empty(0, bool)
    first = np.maximum.accumulate(np.where(starts_user, position, 0))  # [interactions]
    target = position[~starts_user]  # [rows]: all but each user's first
    length = np.minimum(target - first[target], length_limit)
    window = np.arange(length_limit)  # [max_len]
    source = torch.from_numpy((target - length)[:, None] + window)  # [rows, max_len]
    inside = torch.from_numpy(window < length[:, None])
    source = torch.where(inside, source, 0)

    rows = interactions[target]
    columns = {dataset.item_list_length_field: torch.from_numpy(length.astype(np.int64))}
    for field in list(interactions):
        if field != dataset.uid_field:
            column = _history(dataset, field, source, inside)
            columns[getattr(dataset, f"{field}_list_field")] = column
    rows.update(Interaction(columns | {position_column: torch.from_numpy(target)}))
    return rows


def _history(dataset: Any, field: str, source: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Gather one field of every history, shape [rows, max_len, ...]; zeros where there is none."""
    value = dataset.inter_feat[field]
    history = value[source]  # [rows, max_len, ...]
    is_float = dataset.field2type[field] in {FeatureType.FLOAT, FeatureType.FLOAT_SEQ}
    if is_float and field in dataset.config["numerical_features"] and history.dim() == source.dim():
        history = history.unsqueeze(-1).expand(*history.shape, 2)
    mask = inside.reshape(*inside.shape, *([1] * (history.dim() - 2)))
    return torch.where(mask, history, torch.zeros((), dtype=history.dtype))


def sequences_from_rows(
    dataset: Any, part_names: list[str], part_sizes: list[int]
) -> tuple[NDArray[np.int64], UserSequences, Split]:
    """Put together each user's sequence, the longest row, from rows ``user, history, target``.

    Beside it, where each row's target stands in it [rows], and the phases of the rows; interactions that are no row's
    target are context. Times are None: the rows are an order.
    """
    rows = dataset.inter_feat
    lengths = rows[dataset.item_list_length_field].numpy()
    histories = rows[dataset.item_id_list_field].numpy()  # [rows, longest]
    targets = rows[dataset.iid_field].numpy()
    users = rows[dataset.uid_field].numpy() - 1
    n_users = dataset.num(dataset.uid_field) - 1

    longest = np.zeros(n_users, dtype=np.int64)
    np.maximum.at(longest, users, lengths + 1)
    offsets = np.concatenate([[0], np.cumsum(longest)])
    items = np.zeros(offsets[-1], dtype=np.int64)
    for row in np.flatnonzero(lengths + 1 == longest[users]):
        start = offsets[users[row]]
        items[start : start + lengths[row]] = histories[row, : lengths[row]]
        items[start + lengths[row]] = targets[row]

    positions = offsets[users] + lengths
    column = np.arange(histories.shape[1])
    source = np.minimum(offsets[users][:, None] + column, len(items) - 1)
    same = ((items[source] == histories) | (column >= lengths[:, None])).all(1) & (
        items[positions] == targets
    )
    if not same.all():
        name = dataset.field2id_token[dataset.uid_field][users[same.argmin()] + 1]
        raise UserError(
            f"The benchmark files of '{dataset.dataset_name}' are not prefixes of one sequence per user (user {name}); "
            "give plain interactions instead of benchmark_filename."
        )
    kinds = np.repeat([_PHASES.get(name, TRAIN) for name in part_names], part_sizes)
    phase = _phases_of_rows(kinds, users, positions, offsets)
    names = [np.asarray(dataset.field2id_token[f], np.str_) for f in (dataset.uid_field, dataset.iid_field)]
    return (
        positions,
        UserSequences(items, offsets, None, names[0][1:], names[1]),
        Split(phase, "benchmark_files", "pre-split files: " + ", ".join(part_names)),
    )


def _phases_of_rows(
    kinds: NDArray[np.int64],
    users: NDArray[np.int64],
    positions: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> NDArray[np.int8]:
    """The phase of every interaction, [interactions], from the phases of the rows' targets at `positions`, [rows]."""
    phase = np.full(offsets[-1], UNUSED, dtype=np.int8)
    phase[positions] = kinds
    # What stands before a user's last training target was seen in training.
    last, trained = offsets[:-1].copy(), kinds == TRAIN
    np.maximum.at(last, users[trained], positions[trained])
    before = np.arange(len(phase)) < np.repeat(last, np.diff(offsets))
    phase[before & (phase == UNUSED)] = CONTEXT
    return phase
