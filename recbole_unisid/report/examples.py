"""``examples.json`` of a run: some people with what the model recommends them, some items with neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from recbole_unisid.errors import UserError
from recbole_unisid.files import write_json

#: The same people for every run of a data set: belongs to the protocol, not to the run.
_CHOICE_SEED = 12345
_LONGEST_TITLE = 300


@dataclass(frozen=True)
class Person:
    """One test case and what a model recommends."""

    user: str
    history: list[str]  # the last items before the target, oldest first
    history_length: int  # of the whole history
    target: str  # the item that came next
    rank: int  # of the target as measured, among all items but those seen
    recommended: list[str]  # the best items that the user had not seen, best first


@dataclass(frozen=True)
class Neighbours:
    """One item's nearest others, by each way to represent it (``unified``, ``tokens``, ``text``, ``ID``)."""

    item: str
    by: dict[str, list[str]]


@dataclass(frozen=True)
class Examples:
    """What ``examples.json`` holds; titles of every item that it names, where there are any."""

    people: list[Person]
    neighbours: list[Neighbours]
    titles: dict[str, str]


def choose_examples(n: int, count: int = 6) -> NDArray[np.int64]:
    """Choose some of `n` test cases or items, the same for every run; sorted rows from 0."""
    chosen = np.random.default_rng(_CHOICE_SEED).choice(n, size=min(n, count), replace=False)
    return np.sort(chosen).astype(np.int64)


def people_examples(
    users: Sequence[str],
    histories: Sequence[NDArray[np.int64]],
    targets: Sequence[int],
    ranks: Sequence[int],
    item_ids: Sequence[str],
    scores: NDArray[np.float32],
    k: int = 10,
    shown: int = 8,
) -> list[Person]:
    """What a model recommends to some people, by its scores [people, n_items + 1]; -inf is an item not listed.

    Histories have the item numbers before each target, oldest first; the last `shown` are kept. The ranks are as the
    evaluation found them. Scores of another shape, NaN or +inf are a ValueError.
    """
    scores = np.array(scores, dtype=np.float64)
    if scores.shape != (len(users), len(item_ids)) or not (scores[:, 1:] < np.inf).all():
        raise ValueError(f"scores must be numbers of shape {(len(users), len(item_ids))}, not {scores.shape}")
    people = []
    for user, history, target, rank, row in zip(users, histories, targets, ranks, scores, strict=True):
        seen = history[history != target]
        row[0] = row[seen] = -np.inf
        best = np.argsort(-row, kind="stable")[: min(k, int(np.isfinite(row).sum()))]
        names = [str(item_ids[item]) for item in history[-shown:]]
        recommended = [str(item_ids[item]) for item in best]
        people.append(Person(str(user), names, len(history), str(item_ids[target]), rank, recommended))
    return people


def neighbour_examples(
    items: Sequence[int], vectors: Mapping[str, NDArray[np.float32]], item_ids: Sequence[str], k: int = 6
) -> list[Neighbours]:
    """Find the `k` items nearest by cosine to some items, numbered from 1.

    `vectors` [n_items + 1, width] go by the name of the representation; row 0 is padding.
    """
    found: list[dict[str, list[str]]] = [{} for _ in items]
    for name, table in vectors.items():
        units = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        likeness = units[np.asarray(items)] @ units.T  # [items, n_items + 1]
        likeness[:, 0] = likeness[np.arange(len(items)), items] = -np.inf
        for one, row in zip(found, likeness, strict=True):
            one[name] = [str(item_ids[item]) for item in np.argsort(-row, kind="stable")[:k]]
    return [Neighbours(str(item_ids[item]), by) for item, by in zip(items, found, strict=True)]


def write_examples(
    path: str | Path,
    people: Sequence[Person],
    neighbours: Sequence[Neighbours] = (),
    titles: Mapping[str, str] | None = None,
) -> None:
    """Write ``examples.json``, atomically; of `titles` only those of items named here."""
    named = {item for one in people for item in (*one.history, one.target, *one.recommended)}
    named |= {item for one in neighbours for item in (one.item, *chain.from_iterable(one.by.values()))}
    known = titles or {}
    shown = {item: known[item][:_LONGEST_TITLE] for item in sorted(named) if known.get(item)}
    write_json(path, {"schema": 1, **asdict(Examples(list(people), list(neighbours), shown))})


def read_examples(path: str | Path) -> Examples | None:
    """Read ``examples.json``; None where there is none, a UserError where it is damaged."""
    try:
        return TypeAdapter(Examples).validate_json(Path(path).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        place = " ".join(map(str, error.errors()[0]["loc"]))
        raise UserError(f"{path} cannot be read as examples ({place}): delete it, or run again") from None
