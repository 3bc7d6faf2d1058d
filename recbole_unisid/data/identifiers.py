"""What the items' names tell: their order, whether it comes from the source, and names that differ in form alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.sequences import UserSequences

#: Share of new items that must be named above all earlier ones for the names to be a numbering.
#: Names that come from elsewhere set records with a frequency that falls to 0 (1 / n at item n).
_RENUMBERED = 0.9


def identifier_places(item_ids: NDArray[np.str_]) -> NDArray[np.int64]:
    """Place 1 .. n_items of each item in the order of their names, 0 for padding; both shapes are [n_items + 1].

    Names that are one common prefix and a whole number (``17``, ``i17``) are ordered by the number,
    all others as text.

    Examples
    --------
    >>> identifier_places(np.array(["[PAD]", "i10", "i9", "i11"]))
    array([0, 2, 1, 3])
    """
    names = item_ids[1:].tolist()
    parts = [re.fullmatch(r"(\D*)(\d+)", name) for name in names]
    numbered = [(part[1], int(part[2])) for part in parts if part is not None]
    if len(numbered) == len(names) and len({prefix for prefix, _ in numbered}) == 1:
        order = np.argsort(np.array([number for _, number in numbered]), kind="stable")
    else:
        order = np.argsort(item_ids[1:], kind="stable")
    places = np.zeros(len(item_ids), dtype=np.int64)
    places[order + 1] = np.arange(1, len(item_ids))
    return places


def numbered_by_appearance(sequences: UserSequences) -> str | None:
    """Why next-by-ID and previous-by-ID mean nothing here: the names only repeat the order in which items appear.

    None where the names come from the source, so that these controls can show a leak.
    """
    places = identifier_places(sequences.item_ids)
    orders = [sequences.items]
    if sequences.times is not None:
        orders.append(sequences.items[np.argsort(sequences.times, kind="stable")])
    for items in orders:
        first = np.full(len(places), len(items))
        first[items[::-1]] = np.arange(len(items))[::-1]  # of equal indices the last one written stays
        appearing = places[items[np.sort(first[first < len(items)])]]  # [items that occur]
        records = appearing == np.maximum.accumulate(appearing)
        if len(records) > 1 and records.mean() > _RENUMBERED:
            return (
                "the items were numbered by first appearance, so next-by-ID and previous-by-ID "
                "say nothing about this data set's order"
            )
    return None


def form_of(name: str) -> str:
    """What is left of a name without zeros before a number, ``.0`` after it, case and blanks."""
    return re.sub(r"^0+(?=\d)|\.0+$|\s", "", name).casefold()


def alike(names: Iterable[str], table: Iterable[str]) -> list[tuple[str, str]]:
    """Names that a table lacks and has in another form, each with the table's.

    Examples
    --------
    >>> alike(["18.0", "19", "21"], ["18", "19", "20"])
    [('18.0', '18')]
    """
    listed, used = dict.fromkeys(table), dict.fromkeys(names)
    forms = {form_of(name): name for name in listed if name not in used}
    missing = [name for name in used if name not in listed]
    return [(name, forms[form_of(name)]) for name in missing if forms and form_of(name) in forms]
