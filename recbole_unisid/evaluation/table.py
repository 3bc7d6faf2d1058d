"""The ranks of one run, case by case, and their file ``ranks.npz``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences, order_only
from recbole_unisid.data.split import Split
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.candidates import history_lengths
from recbole_unisid.files import write_atomically

_PREFIX = "rank_"


@dataclass(frozen=True)
class RankTable:
    """What every test figure follows from; one entry a case."""

    user: NDArray[np.str_]  # names of the users and of their target items, as the files have them
    target: NDArray[np.str_]
    ranks: dict[str, NDArray[np.int64]]  # 1-based, by candidate set: full, full_unfiltered, sampled99
    history_length: NDArray[np.int64]  # interactions before each target
    target_popularity: NDArray[np.int64]  # training interactions of each target
    #: 1 where the target has the time of the item before it, else 0; None where the data has no times.
    same_time: NDArray[np.int64] | None = None

    @staticmethod
    def of_cases(
        sequences: UserSequences,
        split: Split,
        positions: NDArray[np.int64],
        ranks: dict[str, NDArray[np.int64]],
    ) -> RankTable:
        """Put names, history lengths and training popularity beside the ranks of targets at flat positions."""
        targets, lengths = sequences.items[positions], history_lengths(sequences, positions)
        same_time = None
        if sequences.times is not None and order_only(sequences) is None:
            same = sequences.times[positions] == sequences.times[positions - 1]
            same_time = (same & (lengths > 0)).astype(np.int64)
        return RankTable(
            sequences.user_ids[sequences.owners(positions)],
            sequences.item_ids[targets],
            ranks,
            lengths,
            split.training_counts(sequences)[targets],
            same_time,
        )

    def save(self, path: str | Path) -> None:
        """Write ``ranks.npz``, atomically and without pickles; the same table gives the same bytes."""
        columns = {
            "user": self.user,
            "target": self.target,
            **{_PREFIX + name: ranks for name, ranks in self.ranks.items()},
            "history_length": self.history_length,
            "target_popularity": self.target_popularity,
        }
        if self.same_time is not None:
            columns["same_time"] = self.same_time
        with write_atomically(path) as part, part.open("wb") as out:
            np.savez_compressed(out, **columns)  # type: ignore[arg-type]

    @staticmethod
    def load(path: str | Path) -> RankTable:
        """Read ``ranks.npz``, a UserError where it is absent or damaged; a set of zeros alone (no rank) is absent."""
        try:
            with np.load(path, allow_pickle=False) as file:
                columns = {name: file[name] for name in file.files}
            user, target = columns.pop("user"), columns.pop("target")
            about = (
                columns.pop("history_length"),
                columns.pop("target_popularity"),
                columns.pop("same_time", None),
            )
            ranks = {name.removeprefix(_PREFIX): column for name, column in columns.items() if column.any()}
            table = RankTable(user, target, ranks, *about)
            table._require_columns(columns)
        # A damaged zip raises errors of zipfile, zlib, struct, tokenize and others.
        except Exception as error:
            raise UserError(
                f"{path} cannot be read as ranks ({type(error).__name__}): delete its folder and run again"
            ) from error
        return table

    def _require_columns(self, others: Iterable[str]) -> None:
        """Refuse columns of another kind, length or name than :meth:`save` writes."""
        columns = [self.history_length, self.target_popularity, *self.ranks.values()]
        columns += [] if self.same_time is None else [self.same_time]
        kinds = {column.dtype.kind for column in columns} | {self.user.dtype.kind, self.target.dtype.kind}
        if {column.shape for column in (*columns, self.user, self.target)} != {(len(self.user),)}:
            raise ValueError("columns of different lengths")
        if not kinds <= {"i", "U"} or any(column.min(initial=0) < 0 for column in columns):
            raise ValueError("a column of another kind")
        if not all(name.startswith(_PREFIX) for name in others):
            raise ValueError("a column of another name")
