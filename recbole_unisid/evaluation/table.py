"""The ranks of one run, case by case, and their file ``ranks.npz``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.cases import users_of_items
from recbole_unisid.data.sequences import UserSequences, order_only
from recbole_unisid.data.split import Split
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.candidates import history_lengths, repeated
from recbole_unisid.files import write_atomically

_PREFIX = "rank_"
_FURTHER = ("same_time", "target_users", "repeated")


@dataclass(frozen=True)
class RankTable:
    """What every test figure follows from; one entry a case."""

    user: NDArray[np.str_]  # names of the users and of their target items, as the files have them
    target: NDArray[np.str_]
    ranks: dict[
        str, NDArray[np.int64]
    ]  # 1-based, by candidate set: full, full_unfiltered, sampled99 or sampled100
    history_length: NDArray[np.int64]  # interactions before each target
    target_popularity: NDArray[np.int64]  # training interactions of each target
    #: 1 where the target has the time of the item before it, else 0; None where the data has no times.
    same_time: NDArray[np.int64] | None = None
    target_users: NDArray[np.int64] | None = (
        None  # users of each target in all of the data; with sampled100 alone
    )
    repeated: NDArray[np.int64] | None = (
        None  # 1 where the user had the target before; None where that never is
    )

    @staticmethod
    def of_cases(
        sequences: UserSequences,
        split: Split,
        positions: NDArray[np.int64],
        ranks: dict[str, NDArray[np.int64]],
    ) -> RankTable:
        """Put names, history lengths and training popularity beside the ranks of targets at flat positions."""
        targets, lengths = sequences.items[positions], history_lengths(sequences, positions)
        same_time, again = None, repeated(sequences, positions)
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
            users_of_items(sequences)[targets] if "sampled100" in ranks else None,
            again.astype(np.int64) if again.any() else None,
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
        columns |= self._further()
        with write_atomically(path) as part, part.open("wb") as out:
            np.savez_compressed(out, **columns)  # type: ignore[arg-type]

    def _further(self) -> dict[str, NDArray[np.int64]]:
        """The columns that not every table has."""
        columns = {name: getattr(self, name) for name in _FURTHER}
        return {name: column for name, column in columns.items() if column is not None}

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
                *(columns.pop(name, None) for name in _FURTHER),
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
        columns = [
            self.history_length,
            self.target_popularity,
            *self.ranks.values(),
            *self._further().values(),
        ]
        kinds = {column.dtype.kind for column in columns} | {self.user.dtype.kind, self.target.dtype.kind}
        if {column.shape for column in (*columns, self.user, self.target)} != {(len(self.user),)}:
            raise ValueError("columns of different lengths")
        if not kinds <= {"i", "U"} or any(column.min(initial=0) < 0 for column in columns):
            raise ValueError("a column of another kind")
        if not all(name.startswith(_PREFIX) for name in others):
            raise ValueError("a column of another name")
