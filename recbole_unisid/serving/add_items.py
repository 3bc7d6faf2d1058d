"""New items into a trained model without retraining: text to tokens, the rest by items like them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recbole_unisid.data.columns import column_for, existing_column, field_name, name_in
from recbole_unisid.data.sources.tables import Table, open_table
from recbole_unisid.data.sources.values import text_in
from recbole_unisid.embeddings.text_recipe import TextRecipe
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.plugins.loading import is_reference
from recbole_unisid.recbole_adapter.item_text import cache_folder
from recbole_unisid.runs.stored import Version, write_version
from recbole_unisid.serving.loaded import LoadedRun, load
from recbole_unisid.text.item_file import ItemTable, read_item_file
from recbole_unisid.text.item_text import item_texts, item_titles, text_columns


class Added(NamedTuple):
    """What :func:`add_items` has done."""

    path: Path
    version: Version
    items: NewItems
    wordless: int  # items of which the encoder knows nothing: their vector is zero


def add_items(
    run_dir: str | Path,
    items: str | Path,
    columns: Mapping[str, str] | None = None,
    vectors: str | None = None,
    show_progress: bool = True,
) -> Added:
    """Give a run's catalogue a new version with further items; nothing is trained, nothing old is changed.

    Their text is encoded by the run's encoder, their codes come from the run's fitted tokenizer
    (``encode``, no refit); their vectors are means over trained items of nearest text, or hold the mean ID
    (:mod:`recbole_unisid.items.new_items`). The table `items` is one of :func:`read_new_items`, `columns` names its
    columns by fields of the run; `vectors` is a file of the new items' vectors, for runs whose vectors came from one.

    Raises UserError: when the model knows items by number alone, the table cannot be used, or the encoder is another.
    """
    run = load(run_dir)
    recipe = _recipe(run)
    id_field, separator = str(run.config["ITEM_ID_FIELD"]), str(run.config["field_separator"])
    encoding = str(run.config["encoding"] or "utf-8")
    new = read_new_items(Path(items), recipe, run.item_ids, columns or {}, id_field, separator, encoding)
    corpus, cache = run.stored.corpus, cache_folder(run.config) / "embeddings"
    size = int(run.config["text_batch_size"])
    found = recipe.encode(new.texts, new.item_ids, corpus, cache, vectors, size, show_progress)
    number = run.version.number + 1  # refused where another command has taken it meanwhile
    catalogue = run.items.extended(new.item_ids, new.titles, new.texts)
    content = found if run.tokenization is None else run.tokenization.encode(found)  # what the model reads
    both = run.tokenization is not None and run.stored.compares_texts
    beside = np.concatenate([run.version.text_vectors, found]) if both else None
    version = Version(number, catalogue, np.concatenate([run.version.added, content]), beside)
    path = write_version(run.stored, version)
    return Added(path, version, new, int((~found.any(axis=1)).sum()))


def _recipe(run: LoadedRun) -> TextRecipe:
    """The run's way from text to vectors, if its model can take in items at all."""
    name, model = run.config["model"], run.model
    vectors = getattr(model, "scores_by_vectors", False)
    semantic = model.items.semantic if vectors else None
    if semantic is not None and semantic.grows and run.stored.recipe is not None:
        return run.stored.recipe
    part = str(run.stored.settings.get("semantics"))
    if vectors and run.stored.recipe is not None and is_reference(part):
        raise UserError(
            f"{name} cannot take in new items: its semantic part {part} has no `append`. Write that method and set "
            "`grows = True` (docs/extending.md), or add the items to the data set and train again."
        )
    reason = (
        "knows items by number alone, so it can say nothing of one that it was not trained on"
        if run.stored.recipe is None or (vectors and model.items.semantic is None)
        else f"of the recipe '{run.stored.result.get('recipe')}' has no place for items that it was not trained on"
    )
    raise UserError(f"{name} {reason}; UniSID, SemanticID and DenseText of the default recipe do.")


class NewItems(NamedTuple):
    """Items that are to be added."""

    item_ids: list[str]
    titles: list[str]  # the identifier where there is none
    texts: list[str]  # '' where vectors are given
    absent: list[str]  # columns that the run reads and their table has not


def read_new_items(
    path: Path,
    recipe: TextRecipe,
    known: Collection[str],
    columns: Mapping[str, str],
    id_field: str = "item_id",
    separator: str = "\t",
    encoding: str = "utf-8",
) -> NewItems:
    """Read new items as the run's own were read; their identifiers must not be `known`.

    The table is CSV, TSV, JSON lines or Parquet with the columns of the data set's item file, by the names that
    `columns` gives to fields of the run, or an ``.item`` file, for which `separator` and `encoding` are meant.
    """
    if path.suffix == ".item":
        table = read_item_file(path, separator, encoding, id_field)
    else:
        table = _item_table(open_table(path), recipe, columns, id_field)
    _check_ids(path, table.ids, known)
    titles = item_titles(table, table.ids)
    titles = [title or item for title, item in zip(titles, table.ids, strict=True)]
    if recipe.key is None:
        return NewItems(table.ids, titles, [""] * len(titles), [])
    absent = [name for name in recipe.fields if name not in table.columns]
    texts = _texts(path, table, recipe, absent)
    return NewItems(table.ids, titles, texts, absent)


def _item_table(table: Table, recipe: TextRecipe, columns: Mapping[str, str], id_field: str) -> ItemTable:
    """A person's table under the names that the run's item file has."""
    by_field = {field_name(column): column for column in reversed(table.columns) if column}
    for field, column in columns.items():
        if field != id_field and recipe.key is not None and field not in recipe.fields:
            known = [id_field, *recipe.fields]
            raise UserError(
                f"The run reads no field '{field}'; it reads {', '.join(known)}.{did_you_mean(field, known)}"
            )
        by_field[field] = existing_column(table, column)
    key = by_field.pop(id_field, None) or column_for(table, {}, "item")
    if key is None:
        raise UserError(
            f"{table.path} has no column '{id_field}'; it has {table.shown_columns}. Name it with "
            f"--columns={id_field}=COLUMN."
        )
    kept = {field: column for field, column in by_field.items() if column != key}
    counts: Counter[str] = Counter()
    ids: list[str] = []
    cells: dict[str, list[str]] = {field: [] for field in kept}
    for row in table.rows(counts, list(dict.fromkeys([key, *kept.values()])), False):
        name = name_in(row.get(key))
        ids.append(name if isinstance(name, str) else "")
        for field, column in kept.items():
            cells[field].append(text_in(row.get(column)))
    for reason, count in counts.items():
        if reason != "lines" and count > 0:
            raise UserError(
                f"{table.path} has {count} rows that cannot be used ({reason}); mend or remove them."
            )
    if not ids:
        raise UserError(f"{table.path} has no item below its first line.")
    return ItemTable(ids, cells, dict.fromkeys(cells, "token_seq"))


def _check_ids(path: Path, ids: Sequence[str], known: Collection[str]) -> None:
    taken = set(known)
    first: dict[str, int] = {}
    for row, item in enumerate(ids, start=1):
        if not item or any(character in item for character in "\t\r\n"):
            raise UserError(f"{path}, item {row}: its identifier is missing or holds a tab or a line break.")
        if item in first:
            raise UserError(f"{path}: item '{item}' stands twice (items {first[item]} and {row}); keep one.")
        if item in taken:
            raise UserError(f"{path}, item {row}: '{item}' is in the catalogue already; leave it out.")
        first[item] = row


def _texts(path: Path, table: ItemTable, recipe: TextRecipe, absent: list[str]) -> list[str]:
    """Texts by the run's recipe; a column that the table has not is empty for all."""
    others = [name for name in table.columns if name not in recipe.fields]
    for name in absent:
        if recipe.template is not None or len(absent) == len(recipe.fields) or did_you_mean(name, others):
            raise UserError(
                f"{path} has no column '{name}', which the run reads as text (it reads {', '.join(recipe.fields)}; the "
                f"file has {', '.join(table.columns) or 'no other column'}).{did_you_mean(name, others)} Say "
                f"--columns={name}=COLUMN."
            )
    blank = [""] * len(table.ids)
    filled = ItemTable(table.ids, table.columns | dict.fromkeys(absent, blank), table.types)
    names = text_columns(filled, recipe.fields, recipe.template)
    texts = item_texts(filled, table.ids, names, recipe.template, recipe.roots)
    for row, text in enumerate(texts, start=1):
        if not text.strip():
            item, columns = table.ids[row - 1], ", ".join(names)
            raise UserError(
                f"{path}, item {row} ('{item}') has no text in {columns}: nothing is known of it."
            )
    return texts
