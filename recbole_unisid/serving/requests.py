"""Whom to recommend to: users of the data set, histories that were typed, or a file of either."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from recbole_unisid.serving.loaded import LoadedRun

#: Beyond so many users, near names would take longer than the recommendation.
_MANY = 100_000
#: Names in a message.
_SHOWN = 4
#: Commas that a title may have.
_COMMAS = 12


class Request(NamedTuple):
    """A user's name in the data set, None for a history that was typed; and item numbers, oldest first."""

    user: str | None
    history: NDArray[np.int64]


class Requests:
    """Makes requests out of text; the run's data set is read when a user is first named.

    `leave_out` of a user's last items are taken off: 1 gives the history that the test of a leave-one-out run saw.
    """

    def __init__(self, run: LoadedRun, leave_out: int = 0) -> None:
        self.run, self.leave_out = run, leave_out

    @cached_property
    def _rows(self) -> dict[str, int]:
        if self.run.sequences is None:
            raise UserError(
                f"The data set '{self.run.config['dataset']}' is not at hand, so users have no history here: name its "
                "place with --data_path=..., or give --history."
            )
        return {name: row for row, name in enumerate(self.run.sequences.user_ids.tolist())}

    def of_user(self, user: str) -> Request:
        """A user of the data set; refused where that is not at hand, has no such user, or no item is left."""
        row = self._rows.get(user)
        if row is None or self.run.sequences is None:
            near = did_you_mean(user, self._rows) if len(self._rows) <= _MANY else ""
            raise UserError(f"There is no user '{user}' in '{self.run.config['dataset']}'.{near}")
        items = self.run.sequences.of(row)
        history = items[: max(0, len(items) - self.leave_out)]
        if not len(history):
            raise UserError(
                f"The history of user '{user}' is {len(items)} long; --leave_out={self.leave_out} leaves none of it."
            )
        return Request(user, history)

    def of_everyone(self) -> Iterator[Request]:
        """All users of the data set that have an item left, in its order."""
        for user, row in self._rows.items():
            if self.run.sequences is not None and len(self.run.sequences.of(row)) > self.leave_out:
                yield self.of_user(user)

    def of_history(self, text: str) -> Request:
        """A typed history (:func:`parse_history`)."""
        return Request(None, parse_history(text, self.run.names))

    def of_lines(self, lines: Iterable[str], name: str) -> Iterator[Request]:
        """One request a line, as they are read: a user's name, or a JSON list of items."""
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            if not text:
                continue
            try:
                yield self.of_history(text) if text.startswith("[") else self.of_user(text)
            except UserError as error:
                raise UserError(f"{name}, line {number}: {error}") from None


class ItemLookup:
    """Items by what a person types: an identifier, a title, or a part of one; entry 0 of both lists is padding."""

    def __init__(self, item_ids: Sequence[str], titles: Sequence[str]) -> None:
        self.item_ids, self.titles = item_ids, titles

    def exact(self, name: str) -> int | None:
        """The item with exactly this identifier, else exactly this title; several of that title are refused."""
        if name in self._number_of_id:
            return self._number_of_id[name]
        numbers = self._numbers_of_title.get(name, [])
        if len(numbers) > 1:
            shown = _listed([self.item_ids[number] for number in numbers])
            raise UserError(f"{len(numbers)} items have the title '{name}': name one by its id, {shown}.")
        return numbers[0] if numbers else None

    def number_of(self, name: str) -> int:
        """The item that a person means by an identifier, a title, or a part of one title alone, in any case."""
        found = self.exact(name)
        if found is not None:
            return found
        part = name.strip().casefold()
        numbers = [n for n, title in enumerate(self._folded) if n and part in title] if part else []
        if len(numbers) == 1:
            return numbers[0]
        if numbers:
            shown = _listed([f"'{self.titles[number]}'" for number in numbers])
            raise UserError(f"'{name}' is part of {len(numbers)} titles: {shown}; write more of it.")
        near = did_you_mean(name, self.titles[1:]) or did_you_mean(name, self.item_ids[1:])
        raise UserError(f"There is no item with the id or title '{name}'.{near}")

    @cached_property
    def _number_of_id(self) -> dict[str, int]:
        return {item: number for number, item in enumerate(self.item_ids) if number}

    @cached_property
    def _numbers_of_title(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number, title in enumerate(self.titles[1:], start=1):
            found.setdefault(title, []).append(number)
        return found

    @cached_property
    def _folded(self) -> list[str]:
        return [title.casefold() for title in self.titles]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def parse_history(text: str, names: ItemLookup) -> NDArray[np.int64]:
    """Read ``title or id, title or id``, oldest first, as item numbers.

    Commas part the items, and a title with commas in it is found all the same where it is written out: the
    longest stretch that is exactly an identifier or a title is one item. With a ``;`` anywhere, semicolons
    part the items instead; a JSON list of strings leaves nothing to guess.
    """
    text = text.strip()
    if text.startswith("["):
        parts = [names.number_of(item) for item in _json_list(text)]
    elif (whole := names.exact(text)) is not None:
        parts = [whole]
    elif ";" in text:
        parts = [names.number_of(part.strip()) for part in text.split(";") if part.strip()]
    else:
        parts = list(_between_commas(text.split(","), names))
    if not parts:
        raise UserError("The history is empty: name at least one item, by its title or id.")
    return np.array(parts, dtype=np.int64)


def _json_list(text: str) -> list[str]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"The history begins with '[' but is no JSON list ({error}).") from None
    if not all(isinstance(value, (str, int)) and not isinstance(value, bool) for value in values):
        raise UserError('The history is no JSON list of titles or ids, such as ["Fargo", "Toy Story"].')
    return [str(value) for value in values]


def _between_commas(pieces: Sequence[str], names: ItemLookup) -> Iterator[int]:
    at = 0
    while at < len(pieces):
        for end in range(min(len(pieces), at + _COMMAS), at, -1):
            number = names.exact(",".join(pieces[at:end]).strip())
            if number is not None:
                yield number
                break
        else:
            end = at + 1
            if piece := pieces[at].strip():
                try:
                    yield names.number_of(piece)
                except UserError as error:
                    raise UserError(f"{error} Part items with ';' where a title has commas.") from None
        at = end
