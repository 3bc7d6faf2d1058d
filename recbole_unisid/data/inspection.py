"""What a data set holds, and what in it will break a run or flatter a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.data.atomic_files import read_atomic, read_interactions
from recbole_unisid.data.atomic_text import MISSING_WORDS
from recbole_unisid.data.cases import SHARES, tail_threshold, tested, users_of_items
from recbole_unisid.data.dates import iso_date, with_dates
from recbole_unisid.data.interactions import Interactions
from recbole_unisid.data.leaks import LeakControls, TieFacts, leak_controls, tie_facts
from recbole_unisid.data.prepare import find_dataset
from recbole_unisid.data.sequences import UserSequences, group_by_user, had_before
from recbole_unisid.data.split import TEST, global_time, leave_one_out
from recbole_unisid.data.summary import aligned
from recbole_unisid.errors import UserError

_DAY_SECONDS, _MANY_TIES = 86_400, 0.05
# Share of higher names from which on the order of names is called a leak, given enough cases to tell.
_LEAKING_SHARE, _ENOUGH_CASES = 0.55, 200


@dataclass(frozen=True)
class TimeFacts:
    """The times of a data set."""

    kind: str  # order only, whole days or exact
    first: str  # ISO dates where the times are seconds since 1970, else the numbers as they are
    last: str
    tied: float  # share of adjacent interactions of a user with the same time, as written
    tied_float32: float  # and as RecBole keeps it


@dataclass(frozen=True)
class Inspection:
    """The facts about one data set."""

    name: str
    folder: str
    users: int
    items: int
    interactions: int
    lengths: dict[str, float]  # least, median, mean, 90th percentile and most interactions of a user
    popularity: dict[str, float]  # the same of an item
    length_histogram: list[list[float]]  # pairs of a number of interactions and how many users have it
    popularity_curve: list[list[float]]  # pairs of shares: of the items, most popular first; of interactions
    times: TimeFacts
    duplicates: dict[str, int]
    text: ItemFacts | None  # None without an .item file
    controls: LeakControls  # content-free rules on the leave-one-out test items
    repeated: float  # share of these items that their user had before
    ties: TieFacts | None  # what the order of ties is worth there; None without times
    calendar: (
        dict[str, Any] | None
    )  # :func:`.tested` of a global time split, with its ``description``; None where refused
    tail_below: int  # users from which an item is head among 100 negatives, unless another number is given
    warnings: tuple[str, ...]  # what will break a run, or flatter a model

    def as_json(self) -> dict[str, Any]:
        """All facts as JSON-like values."""
        return {**asdict(self), "warnings": list(self.warnings)}

    def as_table(self) -> str:
        """The facts as lines for a screen."""
        return aligned([*_screen_rows(self)])


def inspect_dataset(name: str, data_path: str | Path) -> Inspection:
    """Read a data set and describe it. ``UserError`` where it is not there or cannot be read."""
    folder = find_dataset(name, data_path)
    skipped = Counter[str]()
    log = read_interactions(folder / f"{name}.inter", skipped)
    skipped.pop("lines", None)
    if not len(log):
        raise UserError(f"{folder / f'{name}.inter'} has no interaction that can be used.")
    ordered = log.in_order()
    sequences = _sequences(ordered)
    split = leave_one_out(sequences)
    item_path = folder / f"{name}.item"
    names = frozenset(sequences.item_ids[1:].tolist())
    text = item_facts(item_path, names, sequences.n_items) if item_path.is_file() else None
    times = _time_facts(ordered)
    controls, ties = leak_controls(sequences, split), tie_facts(sequences, split)
    targets = split.targets(TEST)
    again = had_before(sequences)[targets]
    item_counts = np.bincount(sequences.items, minlength=sequences.n_items + 1)[1:]
    return Inspection(
        name=name,
        folder=str(folder),
        users=sequences.n_users,
        items=sequences.n_items,
        interactions=len(ordered),
        lengths=_spread(sequences.lengths),
        popularity=_spread(item_counts),
        length_histogram=np.stack(np.unique(sequences.lengths, return_counts=True), 1).astype(float).tolist(),
        popularity_curve=_concentration(item_counts),
        times=times,
        duplicates=_duplicates(ordered),
        text=text,
        controls=controls,
        repeated=float(again.mean()) if len(again) else 0.0,
        ties=ties,
        calendar=_calendar(sequences),
        tail_below=tail_threshold(users_of_items(sequences)),
        warnings=tuple(_warnings(sequences, times, text, controls, skipped)),
    )


def _calendar(sequences: UserSequences) -> dict[str, Any] | None:
    """What a global time split tests; None where the data has no times, or too few for one."""
    try:
        split = global_time(sequences)
    except UserError:
        return None
    return {"description": split.description, **tested(sequences, split)}


def _sequences(log: Interactions) -> UserSequences:
    """The interactions as sequences; names without a row left out."""
    users, user_rows = np.unique(log.users, return_inverse=True)
    items, item_rows = np.unique(log.items, return_inverse=True)
    return group_by_user(
        user_rows.astype(np.int64),
        item_rows.astype(np.int64) + 1,
        log.times if log.timed else None,
        np.array([log.user_ids[user] for user in users.tolist()]),
        np.array(["[PAD]", *(log.item_ids[item] for item in items.tolist())]),
    )


def _time_facts(log: Interactions) -> TimeFacts:
    if not log.timed or bool((log.times == log.positions).all()):
        return TimeFacts("order only", "", "", 0.0, 0.0)
    kind = "whole days" if (log.times % _DAY_SECONDS == 0).all() else "exact"
    tied_float32 = replace(log, times=log.times.astype(np.float32).astype(np.float64)).tied_share
    first, last = float(log.times.min()), float(log.times.max())
    return TimeFacts(kind, iso_date(first), iso_date(last), log.tied_share, tied_float32)


def _spread(counts: NDArray[np.int64]) -> dict[str, float]:
    return {
        "least": float(counts.min()),
        "median": float(np.median(counts)),
        "mean": float(counts.mean()),
        "90th percentile": float(np.percentile(counts, 90)),
        "most": float(counts.max()),
    }


def _concentration(counts: NDArray[np.int64]) -> list[list[float]]:
    """Share of the interactions that the most popular items have, at every 5 % of the items."""
    descending = np.sort(counts)[::-1]
    reached = np.concatenate([[0.0], np.cumsum(descending) / descending.sum()])
    shares = np.linspace(0, 1, 21)
    return [[float(share), float(reached[round(share * len(counts))])] for share in shares]


def _duplicates(log: Interactions) -> dict[str, int]:
    order = np.lexsort((log.times, log.items, log.users))
    users, items, times = log.users[order], log.items[order], log.times[order]
    pairs = (users[1:] == users[:-1]) & (items[1:] == items[:-1])
    in_a_row = (log.users[1:] == log.users[:-1]) & (log.items[1:] == log.items[:-1])
    return {
        "same user, item and time": int((pairs & (times[1:] == times[:-1])).sum()),
        "same user and item": int(pairs.sum()),
        "same item twice in a row": int(in_a_row.sum()),
    }


def _warnings(
    sequences: UserSequences,
    times: TimeFacts,
    text: ItemFacts | None,
    controls: LeakControls,
    skipped: Counter[str],
) -> Iterator[str]:
    for reason, number in skipped.items():
        yield f".inter: {number:,} rows skipped ({reason})"
    short = int((sequences.lengths < 3).sum())
    if short:
        yield f"{short:,} users have fewer than 3 interactions: never tested"
    if times.kind == "order only":
        yield "no times: tie shuffling and time splits are refused"
    elif times.tied > _MANY_TIES:
        yield f"{times.tied:.0%} of the steps tie: shuffle ties before you trust the order of events"
    if times.tied_float32 > times.tied + 0.001:
        yield f"RecBole's float32 times tie {times.tied_float32:.0%} of the steps, not {times.tied:.0%}"
    if not controls.ids_from_source:
        yield "items are numbered by first appearance: next-by-ID and previous-by-ID mean nothing here"
    elif controls.cases >= _ENOUGH_CASES and controls.next_higher > _LEAKING_SHARE:
        yield (
            f"{controls.next_higher:.0%} of the test items have the higher name: the order of ties leaks, "
            "and a model may learn it"
        )
    if text is None:
        yield "no .item file: models that need text will not run"
        return
    if text.missing:
        yield f"{text.missing:,} items are not in the .item file: they have no text"
    if text.surplus:
        yield f"{text.surplus:,} items of the .item file are in no interaction: no run reads them"
    if text.without_text > text.missing:
        yield f"{text.without_text - text.missing:,} items of the .item file have no text at all"
    for trouble, number in text.troubles.items():
        yield f".item: {trouble}, {number:,} times"


def _screen_rows(facts: Inspection) -> Iterator[tuple[str, str]]:
    yield "data set", f"{facts.name} in {facts.folder}"
    yield (
        "users / items / interactions",
        f"{facts.users:,} / {facts.items:,} / {facts.interactions:,} "
        f"({facts.interactions / facts.users / facts.items:.4%} of all pairs)",
    )
    for label, spread in (("per user", facts.lengths), ("per item", facts.popularity)):
        yield label, ", ".join(f"{what} {round(value, 1):,.10g}" for what, value in spread.items())
    times = facts.times
    if times.kind == "order only":
        yield "times", "order only"
    else:
        yield "times", f"{times.kind}, {times.first} to {times.last}"
        yield "same time as the one before", f"{times.tied:.1%} ({times.tied_float32:.1%} in float32)"
    yield "repeats", ", ".join(f"{what}: {number:,}" for what, number in facts.duplicates.items())
    for field in facts.text.fields if facts.text else ():
        yield f"text: {field.name}", f"{field.coverage:.2%} of items, {field.words:.1f} words"
    controls = facts.controls
    yield (
        f"R@10 of rules, {controls.cases:,} cases",
        f"popularity {controls.popularity:.4f}, next ID {controls.next_id:.4f}, "
        f"previous ID {controls.previous_id:.4f}, repeat last {controls.repeat_last:.4f}",
    )
    yield "test item has the higher name", f"{controls.next_higher:.1%} (50 % expected)"
    yield "test item was had before", f"{facts.repeated:.1%}"
    if facts.ties is not None and controls.cases:
        yield (
            "test item at the time before",
            f"{facts.ties.cases / controls.cases:.1%}: any of them may be last",
        )
        yield from _tie_plot(facts.ties)
    if facts.calendar is not None:
        yield from _calendar_plot(facts.calendar)
    yield (
        "tail among 100 negatives",
        f"targets that fewer than {facts.tail_below:,} users have, unless tail_below is given",
    )
    for warning in facts.warnings:
        yield "warning", warning


#: The orders that are drawn: of the item that comes last at a test item's time, and of all ties by chance.
_ORDERS = {
    "worst": "least favourable last",
    "file": "the file's order",
    "best": "most favourable last",
    "shuffled": "shuffled ties",
}
_PLOT_WIDTH = 40


def _tie_plot(ties: TieFacts) -> Iterator[tuple[str, str]]:
    """A bar for each order and rule, all of one scale."""
    rules = {"next ID": ties.next_id, "previous ID": ties.previous_id}
    scale = _PLOT_WIDTH / max(1e-9, *(rule["best"] for rule in rules.values()))
    for name, rule in rules.items():
        yield f"R@10 of {name} by order of ties", "any item of the time last: " + f"{rule['mean']:.4f}"
        for order, words in _ORDERS.items():
            yield f"  {words}", f"{rule[order]:.4f} {'█' * round(rule[order] * scale)}"


def _calendar_plot(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The windows of the global time split, and a bar for each share of its targets."""
    windows = with_dates(facts["description"]).removeprefix("global time: ")
    yield "global time split", windows
    yield "  tested", f"{facts['test_cases']:,} targets of {facts['test_users']:,} users"
    for key, words in SHARES.items():
        yield f"  {words}", f"{facts[key]:.1%} {'█' * round(facts[key] * _PLOT_WIDTH)}".rstrip()


_LONGEST_CELL = 131_072  # the csv module's limit, which pandas' python engine has


@dataclass(frozen=True)
class FieldFacts:
    """One column of the ``.item`` file."""

    name: str
    type: str  # of RecBole
    coverage: float  # share of the items in the interactions with a value that is not blank
    words: float  # mean number of words of those values


@dataclass(frozen=True)
class ItemFacts:
    """The ``.item`` file as a whole, beside the items of the interactions."""

    fields: tuple[FieldFacts, ...]
    missing: int  # items of the interactions that are not in the file
    surplus: int  # items of the file that are not in the interactions
    without_text: int  # items of the interactions with no text in any column of type token or token_seq
    troubles: dict[str, int]  # rows and cells that RecBole would misread, by reason


def item_facts(path: Path, items: Container[str], n_items: int) -> ItemFacts:
    """Describe an ``.item`` file (:func:`.read_atomic`) beside the `n_items` items that occur in the interactions."""
    troubles, faults, filled, words = (Counter[str]() for _ in range(4))
    seen: set[str] = set()
    surplus = with_text = 0
    types, read = read_atomic(path, ["item_id"])
    for rows in read:
        faults.update({reason: len(lines) for reason, lines in rows.faults.items()})
        for row in rows.cells.to_pylist():
            _count_troubles(list(row.values()), troubles)
            item = row.pop("item_id")
            if item in seen:
                troubles["item met twice"] += 1
                continue
            seen.add(item)
            if item not in items:
                surplus += 1
                continue
            with_text += any(cell.strip() for name, cell in row.items() if types[name].startswith("token"))
            filled.update(name for name, cell in row.items() if cell.strip())
            words.update({name: len(cell.split()) for name, cell in row.items()})
    return ItemFacts(
        fields=tuple(
            FieldFacts(name, kind, filled[name] / max(n_items, 1), words[name] / max(filled[name], 1))
            for name, kind in types.items()
            if name != "item_id"
        ),
        missing=n_items - (len(seen) - surplus),
        surplus=surplus,
        without_text=n_items - with_text,
        troubles=dict(troubles + faults),
    )


def _count_troubles(cells: list[str], troubles: Counter[str]) -> None:
    """Count the cells of one row that pandas' reader takes for something else."""
    for cell in cells:
        if cell.startswith('"'):
            troubles['field beginning with " (swallows lines)'] += 1
        elif cell and cell in MISSING_WORDS:
            troubles["text such as NA or None (read as missing)"] += 1
        elif len(cell) > _LONGEST_CELL:
            troubles["field longer than 131,072 characters (stops the reader)"] += 1
