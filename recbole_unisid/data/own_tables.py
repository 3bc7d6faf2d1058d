"""A person's own tables turned into a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recbole_unisid.allocator import many_short_lived_rows
from recbole_unisid.data.atomic_files import TEXT_FIELDS, ItemTexts, measure_coverage, write_dataset
from recbole_unisid.data.atomic_text import ItemRows, form_of
from recbole_unisid.data.columns import (
    FIELDS,
    check_roles,
    column_for,
    day_first_in,
    existing_column,
    field_name,
    name_in,
    needed_column,
    plain_names,
    plain_numbers,
    rating_in,
    time_in,
)
from recbole_unisid.data.disk import IN_RECBOLE, dataset_folder
from recbole_unisid.data.filters import Policy, checked_duplicates
from recbole_unisid.data.interactions import (
    Column,
    InteractionCollector,
    Interactions,
    storable_name,
    storable_number,
)
from recbole_unisid.data.sources.records import as_list
from recbole_unisid.data.sources.tables import Table, open_table
from recbole_unisid.data.sources.values import price_in, text_in
from recbole_unisid.data.summary import Summary
from recbole_unisid.errors import UserError

#: Texts of a column that are remembered at a time.
_REMEMBERED = 1 << 17


@many_short_lived_rows()
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

    Without `items` there is no text, or it stands in the interactions. A dry run reads and counts everything and writes
    nothing. The `core` is the k of a k-core; 1 keeps every user and item. For the others see :data:`.Duplicates`,
    :func:`.open_table` (`encoding`, `quotes`) and :func:`.day_first_in` (`dates`). After an error nothing is written.

    `columns` go by role (:func:`.parse_columns`); `USUAL_NAMES` are tried for what is not given. Where no role of text
    is given, every other column of the items is text. Times are numbers, kept as they are, or dates, which become
    seconds since 1970 (UTC where they name no zone); without a time column the order of the rows is the order in time.
    """
    folder = dataset_folder(name, data_path)
    if name == IN_RECBOLE:
        raise UserError(f"RecBole takes {name} out of its own package: choose another name for your data.")
    check_roles(columns)
    policy = Policy(checked_duplicates(duplicates), core)
    table = open_table(Path(interactions), encoding, quotes)
    item_table = None if items is None else open_table(Path(items), encoding, quotes)
    found = _columns_by_role(table, columns)
    day_first = day_first_in(table, found["time"], dates) if "time" in found else None
    text_columns = _TextColumns.of(table, item_table, found["item"], columns)

    skipped, dropped, of_items = Counter[str](), Counter[str](), Counter[str]()
    notes = [one.note for one in (table, item_table) if one is not None and one.note]
    collected = _collect(table, found, day_first, skipped, notes, progress)
    read = {"rows of interactions": skipped.pop("lines", 0)}
    log = policy.apply(collected, dropped, skipped, notes)
    texts = None if text_columns is None else text_columns.texts_of(log.items_met, of_items, progress)
    if dry_run:
        coverage = {} if texts is None else measure_coverage(log, texts, of_items)
    else:
        note = {"policy": {"core": core, "duplicates": duplicates}, "counts": log.counts}
        if text_columns is not None and "text" in columns:
            note[TEXT_FIELDS] = text_columns.names()
        coverage = write_dataset(folder, log, texts, of_items, note)
    if text_columns is not None:
        notes += text_columns.notes_on(log.items_met, of_items)
        read |= text_columns.rows_read(of_items)
    else:
        notes += _note_on_unused(table, found)
    skipped.update({f"{reason} (items)": number for reason, number in of_items.items()})
    return Summary.of(
        folder, log, notes, dry_run, read=read, skipped=skipped, dropped=dropped, coverage=coverage
    )


def _columns_by_role(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    """The columns of a table of interactions by role: user and item, and those of time and rating that it has."""
    needed = {role: needed_column(table, columns, role) for role in ("user", "item")}
    others = {role: column_for(table, columns, role) for role in ("time", "rating")}
    return needed | {role: column for role, column in others.items() if column is not None}


def _note_on_unused(table: Table, found: Mapping[str, str]) -> Iterator[str]:
    """Columns of the interactions that may be text, where no item has any."""
    if unused := [column for column in table.columns if column and column not in found.values()]:
        shown = ", ".join(unused[:5]) + (", ..." if len(unused) > 5 else "")
        yield f"no item text: {shown} of the interactions are not used; name them with --columns=text=COLUMN"


def _collect(
    table: Table,
    found: Mapping[str, str],
    day_first: bool | None,
    counts: Counter[str],
    notes: list[str],
    progress: bool,
) -> Interactions:
    """Read the interactions; note where the first time stands that is none."""
    collector, comma = InteractionCollector(counts, timed="time" in found), table.decimal_comma
    name = _made(lambda cell: storable_name(name_in(cell)), pa.string(), plain_names)
    make = {
        "user": name,
        "item": name,
        "time": _made(
            lambda cell: storable_number(time_in(cell, day_first, comma)), pa.float64(), plain_numbers
        ),
        "rating": _made(lambda cell: rating_in(cell, comma), pa.float64(), plain_numbers),
    }
    measured = [column for role, column in found.items() if role in ("time", "rating")]
    noted = False
    for batch in table.batches(counts, list(found.values()), measured, progress):
        made = {role: make[role](batch.columns[column]) for role, column in found.items()}
        if "time" in made and not noted:
            wrong = np.flatnonzero(np.isnan(made["time"].fill_null(0.0).to_numpy()))
            for row in wrong[:1].tolist():
                cell, noted = str(as_list(batch.columns[found["time"]])[row])[:40], True
                notes.append(f"{table.path.name}, line {batch.lines[row]:,}: {cell!r} is no time")
        collector.add(made["user"], made["item"], made.get("time"), made.get("rating"))
    return collector.collected()


def _made(
    make: Callable[[Any], Any],
    kind: pa.DataType,
    at_once: Callable[[pa.ChunkedArray], pa.ChunkedArray | None],
) -> Callable[[Column], pa.ChunkedArray]:
    """What makes an Arrow column of values: texts that come again but once, Arrow's at once where they are plain."""
    cached = lru_cache(maxsize=_REMEMBERED)(make)

    def remembered(value: Any) -> Any:
        return cached(value) if type(value) is str else make(value)

    def made(column: Column) -> pa.ChunkedArray:
        found = None if isinstance(column, list) else at_once(column)
        return (
            pa.chunked_array([pa.array(map(remembered, as_list(column)), kind)]) if found is None else found
        )

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
        own = {"item": columns["item_in_items"]} if "item_in_items" in columns else {}
        key = log_item
        if items is not None and (own or log_item not in items.columns):
            key = needed_column(items, own, "item", "item_in_items")
        if items is not None and not texts and (not named or list(named) == [FIELDS["price"]]):
            texts = [column for column in table.columns if column and column not in (key, *named.values())]
            if not texts:
                raise UserError(f"{table.path} has no column but {key!r}: text columns are needed.")
        pairs = [(f"{field_name(column)}:token_seq", column) for column in texts] + list(named.items())
        if len({name.partition(":")[0] for name, _ in pairs}) < len(pairs):
            raise UserError(f"Text columns of {table.path} have names that differ in punctuation alone.")
        fields = {name: existing_column(table, column) for name, column in pairs}
        return cls(table, key, fields, items is None)

    def names(self) -> list[str]:
        """The columns of the ``.item`` file, the title first."""
        names = [name.partition(":")[0] for name in self.fields]
        return sorted(names, key=lambda name: name != "title")

    def texts_of(self, wanted: Container[str], counts: Counter[str], progress: bool) -> ItemTexts:
        rows = self._rows(wanted, counts, progress)
        return ItemTexts(tuple(self.fields), _first_values(rows) if self.many else rows)

    def _rows(self, wanted: Container[str], counts: Counter[str], progress: bool) -> ItemRows:
        price = partial(price_in, decimal_comma=self.table.decimal_comma)
        makers = [
            (column, price if name == FIELDS["price"] else text_in) for name, column in self.fields.items()
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

    def rows_read(self, counts: Counter[str]) -> dict[str, int]:
        """Take out of the counts how many rows were read; those of interactions are counted there."""
        if self.many:
            counts.clear()
            return {}
        return {
            "rows of items": counts.pop("lines", 0),
            "items without interactions": counts.pop("without interactions", 0),
        }

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


def _first_values(rows: ItemRows) -> ItemRows:
    """One row for each item, with the first value that is not empty in each field."""
    found: dict[str, tuple[str, ...]] = {}
    for item, fields in rows:
        known = found.get(item, fields)
        found[item] = tuple(old or new for old, new in zip(known, fields, strict=True))
    yield from found.items()
