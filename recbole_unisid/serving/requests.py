"""Whom to recommend to: users of the data set, histories that were typed, or a file of either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.serving.histories import parse_history
from recbole_unisid.serving.loaded import LoadedRun

#: Beyond so many users, near names would take longer than the recommendation.
_MANY = 100_000


@dataclass(frozen=True)
class Request:
    """Somebody who wants recommendations.

    Attributes
    ----------
    user : str or None
        Name in the data set; None for a history that was typed.
    history : ndarray of int64, shape [items]
        Item numbers, oldest first.
    """

    user: str | None
    history: NDArray[np.int64]


class Requests:
    """Makes requests out of text.

    Parameters
    ----------
    run : LoadedRun
        The model; its data set is read when a user is first named.
    leave_out : int
        So many of a user's last items are taken off: 1 is the history that the test of a leave-one-out
        run saw.
    """

    def __init__(self, run: LoadedRun, leave_out: int = 0) -> None:
        self.run, self.leave_out = run, leave_out
        self._rows: dict[str, int] | None = None

    def of_history(self, text: str) -> Request:
        """A typed history (:func:`parse_history`)."""
        return Request(None, parse_history(text, self.run.names))

    def of_user(self, user: str) -> Request:
        """A user of the data set.

        Raises
        ------
        UserError
            When the data set is not at hand, the user is not in it, or no item is left.
        """
        sequences = self._sequences()
        if self._rows is None:
            self._rows = {name: row for row, name in enumerate(sequences.user_ids.tolist())}
        row = self._rows.get(user)
        if row is None:
            near = did_you_mean(user, self._rows) if len(self._rows) <= _MANY else ""
            raise UserError(f"There is no user '{user}' in '{self.run.config['dataset']}'.{near}")
        items = sequences.of(row)
        history = items[: len(items) - self.leave_out]
        if not len(history):
            raise UserError(
                f"User '{user}' has {len(items)} items; --leave_out={self.leave_out} leaves none."
            )
        return Request(user, history)

    def of_lines(self, lines: Iterable[str], name: str) -> Iterator[Request]:
        """One request a line, as they are read: a user's name, or a JSON list of items.

        Raises
        ------
        UserError
            At the first line that is neither, with its number.
        """
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            if not text:
                continue
            try:
                yield self.of_history(text) if text.startswith("[") else self.of_user(text)
            except UserError as error:
                raise UserError(f"{name}, line {number}: {error}") from None

    def _sequences(self) -> UserSequences:
        sequences = self.run.sequences
        if sequences is None:
            raise UserError(
                f"The data set '{self.run.config['dataset']}' is not at hand, so users have no history here: name its "
                "place with --data_path=..., or give --history."
            )
        return sequences
