"""A person's own tables turned into a data set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recbole_unisid.data.atomic_files import ItemTexts, measure_coverage, write_dataset
from recbole_unisid.data.columns import (
    FIELDS,
    check_roles,
    column_for,
    day_first_in,
    existing_column,
    field_name,
    name_in,
    needed_column,
    rating_in,
    time_in,
)
from recbole_unisid.data.disk import IN_RECBOLE, dataset_folder
from recbole_unisid.data.filters import Policy, checked_duplicates
from recbole_unisid.data.identifiers import form_of
from recbole_unisid.data.interactions import (
    InteractionCollector,
    Interactions,
    storable_name,
    storable_number,
)
from recbole_unisid.data.sources.tables import Table, open_table
from recbole_unisid.data.sources.values import price_in, text_field
from recbole_unisid.data.summary import Summary
from recbole_unisid.errors import UserError


def prepare_from_tables(
    interactions: str | Path,
    items: str | Path | None,
    columns: Mapping[str, str],
    name: str,
    data_path: str | Path,
    *,
    dry_run: bool = False,
    core: int = 1,
    duplicates: str = "exact",
    encoding: str | None = None,
    dates: str | None = None,
    quotes: str | None = None,
    progress: bool = True,
) -> Summary:
    """Prepare a data set from a table of interactions and, if there is one, a table of items.

    Parameters
    ----------
    items : str or Path or None
        None where there is no text, or where it stands in the interactions.
    columns : mapping of str to str
        Column by role (:func:`.parse_columns`); `USUAL_NAMES` are tried for what is not given. Where no role of
        text is given, every other column of the items is text. Times are numbers, kept as they are, or dates,
        which become seconds since 1970 (UTC where they name no zone); without a time column the order of
        the rows is the order in time.
    dry_run : bool
        Read and count everything, write nothing.
    core : int
        k of the k-core; 1 keeps every user and item.
    duplicates : str
        Policy for repeats (:data:`.Duplicates`).
    encoding : str, optional
        Of CSV; None finds it out.
    dates : str, optional
        ``day-first`` or ``month-first``, where the dates themselves do not tell.
    quotes : str, optional
        Of CSV; see :func:`.open_table`.

    Raises
    ------
    UserError
        In one line; nothing is written then.
    """
    folder = dataset_folder(name, data_path)
    if name == IN_RECBOLE:
        raise UserError(f"RecBole takes {name} out of its own package: choose another name for your data.")
    check_roles(columns)
    policy = Policy(checked_duplicates(duplicates), core)
    table = open_table(Path(interactions), encoding, quotes)
    item_table = None if items is None else open_table(Path(items), encoding, quotes)
    log_columns = _LogColumns.of(table, columns, dates)
    text_columns = _TextColumns.of(table, item_table, log_columns.item, columns)

    skipped, dropped, of_items = Counter[str](), Counter[str](), Counter[str]()
    notes = [table.note] if table.note else []
    collected = log_columns.collect(table, skipped, notes, progress)
    read = {"rows of interactions": skipped.pop("lines", 0)}
    log = policy.apply(collected, dropped, skipped, notes)
    texts = None if text_columns is None else text_columns.texts_of(log.items_met, of_items, progress)
    if dry_run:
        coverage = {} if texts is None else measure_coverage(log, texts, of_items)
    else:
        note = {"policy": {"core": core, "duplicates": duplicates}, "counts": log.counts}
        coverage = write_dataset(folder, log, texts, of_items, note)
    if text_columns is not None:
        notes += text_columns.notes_on(log.items_met, of_items)
        if text_columns.many:  # the rows are the interactions', counted there
            of_items.clear()
        else:
            read["rows of items"] = of_items.pop("lines", 0)
            read["items without interactions"] = of_items.pop("without interactions", 0)
    elif unused := [column for column in table.columns if column and column not in log_columns.used]:
        shown = ", ".join(unused[:5]) + (", ..." if len(unused) > 5 else "")
        notes.append(
            f"no item text: {shown} of the interactions are not used; name them with --columns=text=COLUMN"
        )
    skipped.update({f"{reason} (items)": number for reason, number in of_items.items()})
    tallies = {"read": read, "skipped": skipped, "dropped": dropped}
    return Summary.of(folder, log, **tallies, coverage=coverage, dry_run=dry_run, notes=notes)


class _LogColumns(NamedTuple):
    """The columns of the table of interactions; None for what it does not have."""

    user: str
    item: str
    time: str | None
    rating: str | None
    day_first: bool | None

    @classmethod
    def of(cls, table: Table, columns: Mapping[str, str], dates: str | None) -> _LogColumns:
        """Find them."""
        user, item = (needed_column(table, columns, role) for role in ("user", "item"))
        time = column_for(table, columns, "time")
        day_first = None if time is None else day_first_in(table, time, dates)
        return cls(user, item, time, column_for(table, columns, "rating"), day_first)

    @property
    def used(self) -> list[str]:
        """The columns that the table has."""
        return [column for column in (self.user, self.item, self.time, self.rating) if column is not None]

    def collect(self, table: Table, counts: Counter[str], notes: list[str], progress: bool) -> Interactions:
        """Read the interactions; say where the first time stands that is none."""
        collector = InteractionCollector(counts, timed=self.time is not None)
        comma = table.decimal_comma
        name = _remembered(lambda cell: storable_name(name_in(cell)), pa.string())
        moment = _remembered(lambda cell: storable_number(time_in(cell, self.day_first, comma)), pa.float64())
        rating = _remembered(lambda cell: rating_in(cell, comma), pa.float64())
        noted = False
        measured = [column for column in (self.time, self.rating) if column is not None]
        for batch in table.batches(counts, self.used, measured, progress):
            cells = batch.columns
            times = None if self.time is None else moment(cells[self.time])
            if self.time is not None and times is not None and not noted:
                wrong = np.flatnonzero(np.isnan(times.fill_null(0.0)))
                if len(wrong):
                    row, noted = int(wrong[0]), True
                    cell = str(cells[self.time][row])[:40]
                    notes.append(f"{table.path.name}, line {batch.lines[row]:,}: {cell!r} is no time")
            ratings = None if self.rating is None else rating(cells[self.rating])
            collector.add(name(cells[self.user]), name(cells[self.item]), times, ratings)
        return collector.collected()


def _remembered(make: Callable[[Any], Any], kind: pa.DataType) -> Callable[[list[Any]], pa.Array]:
    """What makes an Arrow column of values, of those that come again but once."""
    found: dict[type, dict[Any, Any]] = defaultdict(dict)  # by type: 1, 1.0 and True are different names

    def made(values: list[Any]) -> pa.Array:
        types = {*map(type, values)} - {type(None)}
        if len(types) != 1 or types & {list, dict}:
            return pa.array(map(make, values), kind)
        known = found[types.pop()]
        if len(known) > 1 << 20:
            known.clear()
        known.update((value, make(value)) for value in {*values} - known.keys())
        return pa.array(map(known.__getitem__, values), kind)

    return made


@dataclass(frozen=True)
class _TextColumns:
    """A table with the items' text: the item's column, and the column of each field of the ``.item`` file."""

    table: Table
    key: str
    fields: dict[str, str]
    many: bool  # whether an item may have many rows, as in interactions; its first value in each field counts
    #: names of items without interactions, by what is left of a name without its form (:func:`.form_of`)
    forms: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, log: Table, items: Table | None, log_item: str, columns: Mapping[str, str]
    ) -> _TextColumns | None:
        """Find them; the item's column has a role of its own, the name that the log has for it, or a usual one."""
        named = {FIELDS[role]: columns[role] for role in FIELDS if role in columns}
        texts = [column.strip() for column in columns["text"].split("+")] if "text" in columns else []
        if items is None and not named and not texts:
            return None
        table = items or log
        key = log_item if items is None else _item_column(table, log_item, columns)
        if not texts and (not named or list(named) == [FIELDS["price"]]):
            texts = [column for column in table.columns if column and column not in (key, *named.values())]
            if items is None:
                texts = []
            elif not texts:
                raise UserError(f"{table.path} has no column but {key!r}: text columns are needed.")
        pairs = [(f"{field_name(column)}:token_seq", column) for column in texts] + list(named.items())
        if len({name.partition(":")[0] for name, _ in pairs}) < len(pairs):
            raise UserError(f"Text columns of {table.path} have names that differ in punctuation alone.")
        return cls(
            table, key, {name: existing_column(table, column) for name, column in pairs}, items is None
        )

    def texts_of(self, wanted: Container[str], counts: Counter[str], progress: bool) -> ItemTexts:
        """The texts of these items."""
        rows = self._rows(wanted, counts, progress)
        return ItemTexts(tuple(self.fields), _first_values(rows) if self.many else rows)

    def _rows(
        self, wanted: Container[str], counts: Counter[str], progress: bool
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        price = partial(price_in, decimal_comma=self.table.decimal_comma)
        makers = [
            (column, price if name == FIELDS["price"] else _text_in) for name, column in self.fields.items()
        ]
        columns = list(dict.fromkeys((self.key, *self.fields.values())))
        for row in self.table.rows(counts, columns, progress):
            item = name_in(row[self.key])
            if not isinstance(item, str):
                counts["no item"] += 1
            elif item not in wanted:
                counts["without interactions"] += 1
                self.forms.setdefault(form_of(item), item)
            else:
                yield item, tuple(make(row[column]) for column, make in makers)

    def notes_on(self, met: Collection[str], counts: Counter[str]) -> Iterator[str]:
        """Items of the interactions that the table has not, or has under a name of another form."""
        missing = counts.pop("not in the table", 0)
        if missing:
            yield f"{missing:,} of the items in the interactions are not in {self.table.path.name}: they have no text"
        alike = [(item, self.forms[form_of(item)]) for item in sorted(met) if form_of(item) in self.forms]
        if alike and missing:
            yield (
                f"{len(alike):,} items are written otherwise in {self.table.path.name}, such as {alike[0][0]!r} in the "
                f"interactions and {alike[0][1]!r} there: write them alike, or they are different items"
            )


def _first_values(rows: Iterator[tuple[str, tuple[str, ...]]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """One row for each item, with the first value that is not empty in each field."""
    found: dict[str, tuple[str, ...]] = {}
    for item, fields in rows:
        known = found.get(item, fields)
        found[item] = tuple(old or new for old, new in zip(known, fields, strict=True))
    yield from found.items()


def _item_column(table: Table, item: str, columns: Mapping[str, str]) -> str:
    """The column of the table of items that names the item."""
    if "item_in_items" in columns:
        return existing_column(table, columns["item_in_items"])
    if item in table.columns:
        return item
    return needed_column(table, {}, "item", "item_in_items")


def _text_in(cell: object) -> str:
    """A cell as clean text; numbers are written out."""
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return text_field(str(cell))
    return text_field(cell)
