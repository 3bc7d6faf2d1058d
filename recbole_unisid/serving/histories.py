"""What a person types as a history, as item numbers: titles may hold commas."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.serving.names import ItemLookup

#: Commas that a title may have.
_COMMAS = 12


def parse_history(text: str, names: ItemLookup) -> NDArray[np.int64]:
    """Read ``title or id, title or id``, oldest first.

    Commas part the items, and a title with commas in it is found all the same where it is written out: the
    longest stretch that is exactly an identifier or a title is one item. With a ``;`` anywhere, semicolons
    part the items instead; a JSON list of strings leaves nothing to guess.

    Parameters
    ----------
    text : str
        What was typed.
    names : ItemLookup
        The catalogue.

    Returns
    -------
    ndarray of int64, shape [items]
        Item numbers.

    Raises
    ------
    UserError
        When a part is no item or several, or there is none.
    """
    parts = list(_parts(text.strip(), names))
    if not parts:
        raise UserError("The history is empty: name at least one item, by its title or id.")
    return np.array(parts, dtype=np.int64)


def _parts(text: str, names: ItemLookup) -> Iterator[int]:
    if text.startswith("["):
        yield from map(names.number_of, _json_list(text))
        return
    whole = names.exact(text)
    if whole is not None:
        yield whole
    elif ";" in text:
        yield from (names.number_of(part.strip()) for part in text.split(";") if part.strip())
    else:
        yield from _between_commas(text, names)


def _json_list(text: str) -> list[str]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"The history begins with '[' but is no JSON list ({error}).") from None
    if not all(isinstance(value, (str, int)) and not isinstance(value, bool) for value in values):
        raise UserError('The history is no JSON list of titles or ids, such as ["Fargo", "Toy Story"].')
    return [str(value) for value in values]


def _between_commas(text: str, names: ItemLookup) -> Iterator[int]:
    pieces = text.split(",")
    at = 0
    while at < len(pieces):
        for end in range(min(len(pieces), at + _COMMAS), at, -1):
            number = names.exact(",".join(pieces[at:end]).strip())
            if number is not None:
                break
        else:
            end, number = at + 1, _one(pieces[at].strip(), names)
        if number is not None:
            yield number
        at = end


def _one(piece: str, names: ItemLookup) -> int | None:
    if not piece:
        return None
    try:
        return names.number_of(piece)
    except UserError as error:
        hint = "Part items with ';' where a title has commas."
        raise UserError(f"{error} {hint}") from None
