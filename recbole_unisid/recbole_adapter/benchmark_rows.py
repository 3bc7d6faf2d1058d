"""User sequences out of pre-split prefix rows (RecBole's ``benchmark_filename``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import CONTEXT, TEST, TRAIN, UNUSED, VALID, Split
from recbole_unisid.errors import UserError

_PHASES = {"train": TRAIN, "valid": VALID, "validation": VALID, "dev": VALID, "test": TEST}


def sequences_from_rows(
    dataset: Any, part_names: list[str], part_sizes: list[int]
) -> tuple[NDArray[np.int64], UserSequences, Split]:
    """Put together each user's sequence from rows ``user, history, target``.

    Parameters
    ----------
    dataset : SequentialDataset
        Loaded from benchmark files; columns of `inter_feat` as RecBole makes them.
    part_names : list of str
        ``train``, ``valid`` and ``test``, in the order of the files.
    part_sizes : list of int
        Rows of each file.

    Returns
    -------
    positions : ndarray of int64, shape [rows]
        Where each row's target stands in the sequences.
    sequences : UserSequences
        The longest row of each user; times are None, the rows are an order.
    split : Split
        Phases of the rows; interactions that are no row's target are context.

    Raises
    ------
    UserError
        When a user's rows are not prefixes of one sequence.
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
    whole = lengths + 1 == longest[users]
    for row in np.flatnonzero(whole):
        start = offsets[users[row]]
        items[start : start + lengths[row]] = histories[row, : lengths[row]]
        items[start + lengths[row]] = targets[row]

    positions = offsets[users] + lengths
    column = np.arange(histories.shape[1])
    source = np.minimum(offsets[users][:, None] + column, len(items) - 1)
    same = (items[source] == histories) | (column >= lengths[:, None])
    if not (same.all() and (items[positions] == targets).all()):
        name = dataset.field2id_token[dataset.uid_field][users[np.flatnonzero(~same.all(1))[:1]] + 1]
        raise UserError(
            f"The benchmark files of '{dataset.dataset_name}' are not prefixes of one sequence per user "
            f"(user {', '.join(map(str, name)) or '?'}); give plain interactions instead of benchmark_filename."
        )
    phase = np.full(len(items), UNUSED, dtype=np.int8)
    kinds = np.repeat([_PHASES.get(name, TRAIN) for name in part_names], part_sizes)
    phase[positions] = kinds
    phase[_before_last_training(positions, kinds, offsets, users) & (phase == UNUSED)] = CONTEXT
    names = [np.asarray(dataset.field2id_token[f], np.str_) for f in (dataset.uid_field, dataset.iid_field)]
    return (
        positions,
        UserSequences(items, offsets, None, names[0][1:], names[1]),
        Split(phase, "benchmark_files", "pre-split files: " + ", ".join(part_names)),
    )


def _before_last_training(
    positions: NDArray[np.int64], kinds: NDArray[Any], offsets: NDArray[np.int64], users: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Mark what stands before a user's last training target: it was seen in training."""
    last = offsets[:-1].copy()
    trained = kinds == TRAIN
    np.maximum.at(last, users[trained], positions[trained])
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    marked: NDArray[np.bool_] = np.arange(offsets[-1]) < last[owner]
    return marked
