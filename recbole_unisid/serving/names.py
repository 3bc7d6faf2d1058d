"""Items by what a person types: an identifier, a title, or a part of one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from recbole_unisid.errors import UserError, did_you_mean

_SHOWN = 4


class ItemLookup:
    """Looks up item numbers.

    Parameters
    ----------
    item_ids, titles : sequence of str, each n_items + 1 long
        By item number; entry 0 is padding.
    """

    def __init__(self, item_ids: Sequence[str], titles: Sequence[str]) -> None:
        self.item_ids, self.titles = item_ids, titles

    def exact(self, name: str) -> int | None:
        """The item with exactly this identifier, else exactly this title; None where there is none.

        Raises
        ------
        UserError
            When several items have the title.
        """
        if name in self._number_of_id:
            return self._number_of_id[name]
        numbers = self._numbers_of_title.get(name, [])
        if len(numbers) > 1:
            raise UserError(
                f"{len(numbers)} items have the title '{name}': name one by its id, {self._ids(numbers)}."
            )
        return numbers[0] if numbers else None

    def number_of(self, name: str) -> int:
        """The item that a person means.

        Parameters
        ----------
        name : str
            An identifier, a title, or a part of one title alone, in any case.

        Raises
        ------
        UserError
            When no item or several items are meant, with those that are near.
        """
        found = self.exact(name)
        if found is not None:
            return found
        part = name.strip().casefold()
        numbers = [n for n, title in enumerate(self._folded) if n and part in title] if part else []
        if len(numbers) == 1:
            return numbers[0]
        if numbers:
            raise UserError(
                f"'{name}' is part of {len(numbers)} titles: {self._examples(numbers)}; write more of it."
            )
        near = did_you_mean(name, self.titles[1:]) or did_you_mean(name, self.item_ids[1:])
        raise UserError(f"There is no item with the id or title '{name}'.{near}")

    @cached_property
    def _number_of_id(self) -> dict[str, int]:
        return {item: number for number, item in enumerate(self.item_ids) if number}

    @cached_property
    def _numbers_of_title(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number, title in enumerate(self.titles):
            if number:
                found.setdefault(title, []).append(number)
        return found

    @cached_property
    def _folded(self) -> list[str]:
        return [title.casefold() for title in self.titles]

    def _ids(self, numbers: Sequence[int]) -> str:
        more = ", ..." if len(numbers) > _SHOWN else ""
        return ", ".join(self.item_ids[number] for number in numbers[:_SHOWN]) + more

    def _examples(self, numbers: Sequence[int]) -> str:
        more = ", ..." if len(numbers) > _SHOWN else ""
        return ", ".join(f"'{self.titles[number]}'" for number in numbers[:_SHOWN]) + more
