"""A person's own tables turned into a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from recbole_unisid.data.assemble import Policy, apply_policy, counts_of, items_in, summarise
from recbole_unisid.data.atomic_files import ItemTexts, measure_coverage, write_dataset
from recbole_unisid.data.columns import (
    check_roles,
    column_for,
    existing_column,
    field_name,
    name_in,
    rating_in,
    time_in,
)
from recbole_unisid.data.disk import IN_RECBOLE, dataset_folder
from recbole_unisid.data.filters import checked_duplicates
from recbole_unisid.data.interactions import InteractionCollector, Interactions
from recbole_unisid.data.sources.tables import Table, open_table
from recbole_unisid.data.sources.values import text_field
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
    progress: bool = True,
) -> Summary:
    """Prepare a data set from a table of interactions and, if there is one, a table of items.

    Parameters
    ----------
    interactions : str or Path
        CSV, JSON lines or Parquet (:func:`~recbole_unisid.data.sources.tables.open_table`).
    items : str or Path or None
        The same for the items' text; None where there is none.
    columns : mapping of str to str
        Column by role (:func:`parse_columns`); `USUAL_NAMES` are tried for what is not given. Without
        ``text``, every other column of the items is text. Times are numbers, kept as they are, or ISO dates,
        which become seconds since 1970 (UTC where they name no zone); without a time column the order of
        the rows is the order in time.
    name : str
        Name of the data set to be.
    data_path : str or Path
        Folder of all data sets.
    dry_run : bool
        Read and count everything, write nothing.
    core : int
        k of the k-core; 1 keeps every user and item.
    duplicates : str
        Policy for repeats (:data:`~recbole_unisid.data.filters.Duplicates`).
    progress : bool
        Show bars.

    Returns
    -------
    Summary
        What was read, left out and why, and written.

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
    table = open_table(Path(interactions))
    log_columns = _LogColumns.of(table, columns)
    text_columns = (
        None if items is None else _TextColumns.of(open_table(Path(items)), log_columns.item, columns)
    )

    skipped, dropped, of_items = Counter[str](), Counter[str](), Counter[str]()
    collected = log_columns.collect(table, skipped, progress)
    read = {"rows of interactions": skipped.pop("lines", 0)}
    log = apply_policy(collected, policy, dropped, skipped)
    texts = None if text_columns is None else text_columns.texts_of(log, of_items, progress)
    if dry_run:
        coverage = {} if texts is None else measure_coverage(log, texts, of_items)
    else:
        note = {"policy": {"core": core, "duplicates": duplicates}, "counts": counts_of(log)}
        coverage = write_dataset(folder, log, texts, of_items, note)
    if texts is not None:
        read["rows of items"] = of_items.pop("lines", 0)
        read["items without interactions"] = of_items.pop("without interactions", 0)
    skipped.update({f"{reason} (items)": number for reason, number in of_items.items()})
    return summarise(
        folder, log, read=read, skipped=skipped, dropped=dropped, coverage=coverage, dry_run=dry_run
    )


@dataclass(frozen=True)
class _LogColumns:
    """The columns of the table of interactions; None for what it does not have."""

    user: str
    item: str
    time: str | None
    rating: str | None

    @classmethod
    def of(cls, table: Table, columns: Mapping[str, str]) -> _LogColumns:
        """Find them."""
        user, item = column_for(table, columns, "user"), column_for(table, columns, "item")
        if user is None or item is None:
            missing = "user" if user is None else "item"
            raise UserError(
                f"{table.path} has no column that is plainly the {missing}: say {missing}=... in columns; it "
                f"has {table.shown_columns}."
            )
        return cls(user, item, column_for(table, columns, "time"), column_for(table, columns, "rating"))

    def collect(self, table: Table, counts: Counter[str], progress: bool) -> Interactions:
        """Read the interactions."""
        collector = InteractionCollector(counts, timed=self.time is not None)
        used = [column for column in (self.user, self.item, self.time, self.rating) if column is not None]
        for row in table.rows(counts, used, progress):
            collector.add(
                name_in(row.get(self.user)),
                name_in(row.get(self.item)),
                None if self.time is None else time_in(row.get(self.time)),
                None if self.rating is None else rating_in(row.get(self.rating)),
            )
        return collector.collected()


@dataclass(frozen=True)
class _TextColumns:
    """The table of items: its item column and its text columns."""

    table: Table
    key: str
    texts: tuple[str, ...]

    @classmethod
    def of(cls, table: Table, item: str, columns: Mapping[str, str]) -> _TextColumns:
        """Find them; the item's column has a role of its own, `item`'s name, or a usual one."""
        key = _item_column(table, item, columns)
        if "text" in columns:
            texts = [existing_column(table, column.strip()) for column in columns["text"].split("+")]
        else:
            texts = [column for column in table.columns if column != key and column]
        if not texts:
            raise UserError(f"{table.path} has no column but {key!r}: text columns are needed.")
        return cls(table, key, tuple(texts))

    def texts_of(self, log: Interactions, counts: Counter[str], progress: bool) -> ItemTexts:
        """The texts of the items that occur in the interactions."""
        fields = dict.fromkeys(f"{field_name(column)}:token_seq" for column in self.texts)
        if len(fields) < len(self.texts):
            raise UserError(f"Text columns of {self.table.path} have names that differ in punctuation alone.")
        return ItemTexts(tuple(fields), self._rows(items_in(log), counts, progress))

    def _rows(
        self, wanted: Container[str], counts: Counter[str], progress: bool
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        for row in self.table.rows(counts, (self.key, *self.texts), progress):
            item = name_in(row.get(self.key))
            if not isinstance(item, str):
                counts["no item"] += 1
            elif item not in wanted:
                counts["without interactions"] += 1
            else:
                yield item, tuple(_text_in(row.get(column)) for column in self.texts)


def _item_column(table: Table, item: str, columns: Mapping[str, str]) -> str:
    """The column of the table of items that names the item."""
    if "item_in_items" in columns:
        return existing_column(table, columns["item_in_items"])
    if item in table.columns:
        return item
    usual = column_for(table, {}, "item")
    if usual is None:
        raise UserError(
            f"{table.path} has no column that is plainly the item: say item_in_items=... in columns; it has "
            f"{table.shown_columns}."
        )
    return usual


def _text_in(cell: object) -> str:
    """A cell as clean text; numbers are written out."""
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return text_field(str(cell))
    return text_field(cell)
