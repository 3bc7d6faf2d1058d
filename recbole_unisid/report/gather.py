"""Everything that a report shows, gathered from run folders before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from recbole_unisid.data.disk import folder_in_recbole
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.notes import notes_on
from recbole_unisid.evaluation.statistics import Interval, bootstrap_mean, metric_over_seeds
from recbole_unisid.items.catalogue import CATALOGUE_FILE, Catalogue
from recbole_unisid.report.examples import Examples, read_examples
from recbole_unisid.report.leaderboard import (
    Column,
    Leaderboard,
    Row,
    Run,
    make_leaderboard,
    ranker_note,
    ties_and_seed,
)
from recbole_unisid.report.markup import Markup
from recbole_unisid.report.run_files import differing_settings, load_runs
from recbole_unisid.report.token_groups import TokenView
from recbole_unisid.report.wording import command as command_line
from recbole_unisid.report.wording import decimal, figure
from recbole_unisid.text.item_file import read_item_file
from recbole_unisid.text.item_text import item_categories, item_titles
from recbole_unisid.tokens.tokens_file import read_codes

#: Bootstrap samples of the intervals of means; those of differences take more.
_RESAMPLES = 1000
#: Different codes that are drawn; the figures of all models are in the table of token health.
_MOST_TOKENS = 4


@dataclass(frozen=True)
class ItemNames:
    """What a reader knows items by: titles and the broadest categories, by item; both may be empty."""

    titles: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What a page is drawn from."""

    board: Leaderboard
    runs: dict[str, list[Run]]  # by label in the order of the board, seeds ascending
    intervals: dict[str, dict[Column, Interval]]  # by label: of means over seeds, 95 % over users
    items: ItemNames  # empty where the item file is not at hand
    tokens: list[TokenView]  # of the first seeds of models that have tokens; no more than four different ones
    examples: dict[str, Examples]  # by label, of the first seed; absent without ``examples.json``
    command: str

    @property
    def labels(self) -> list[str]:
        """Names of the models, best first."""
        return list(self.runs)

    def colour(self, label: str) -> int:
        """The number of a model's colour."""
        return self.labels.index(label)

    def colour_class(self, label: str) -> str:
        """A model's colour as the style sheet names it."""
        return f"c{self.colour(label) % 8}"

    def mean(self, label: str, *keys: str | int) -> float | None:
        """Average a figure of ``result.json`` over a model's seeds; None where a seed lacks it."""
        values = [run.find(*keys) for run in self.runs[label]]
        if any(not isinstance(value, (int, float)) for value in values):
            return None
        return float(np.mean(values))

    def figure(self, label: str, write: Callable[[Any], str], *keys: str | int) -> Markup:
        """A figure of ``result.json``, mean over a model's seeds, with where it comes from."""
        value = self.mean(label, *keys)
        return figure(write(value), value, label, " ".join(map(str, keys)))

    def training(self, label: str) -> float | None:
        """Seconds of training, mean over a model's seeds; None where a seed's are not known."""
        seconds = [run.training_seconds for run in self.runs[label]]
        return None if None in seconds else float(np.mean(np.array(seconds, dtype=np.float64)))

    def metric(self, row: Row, column: Column) -> Markup:
        """The mean of a metric over a model's seeds, with where it comes from."""
        mean = row.spreads[column].mean
        return figure(decimal(mean), mean, row.model, f"test {' '.join(column)}")

    def differing(self) -> list[tuple[str, list[Any]]]:
        """Settings in which the models differ, with each model's value."""
        settings = [group[0].settings for group in self.runs.values()]
        keys = [key for key in differing_settings(settings) if key not in ("model", "recipe")]
        return [(key, [one.get(key) for one in settings]) for key in keys]


def gather_report(
    run_dirs: Sequence[str | Path],
    reference: str | None = None,
    item_file: str | Path | None = None,
    command: str | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """Read finished runs and work out what a report says of them.

    The others are compared with the model labelled `reference`, by default the best ID-only one. The ``.item`` file is
    by default where the runs read it, if it is still there; the `command` is one with the runs' models, data set and
    seeds. `notes` are warnings to print with the tables, beside those of the runs themselves.

    Raises UserError: no run, an unfinished or damaged one, or runs that cannot share a table.
    """
    loaded = load_runs(run_dirs)
    given = [*notes, *(str(one.find("order_note") or "") for one in loaded)]
    of_recbole = chain.from_iterable(notes_on(one.result) for one in loaded)
    warnings = dict.fromkeys([*given, *(ranker_note(one) for one in loaded), *of_recbole])
    board = make_leaderboard(loaded, reference, [note for note in warnings if note])
    loaded.sort(key=ties_and_seed)
    runs = {row.model: [one for one in loaded if one.label == row.model] for row in board.rows}
    firsts = {label: group[0] for label, group in runs.items()}
    examples = {label: read_examples(one.folder / "examples.json") for label, one in firsts.items()}
    return Report(
        board,
        runs,
        {label: _intervals(group, board) for label, group in runs.items()},
        _item_names(list(firsts.values()), board.dataset, item_file),
        _token_views(firsts),
        {label: found for label, found in examples.items() if found is not None},
        command or _command(runs, board.dataset),
    )


def _intervals(group: Sequence[Run], board: Leaderboard) -> dict[Column, Interval]:
    tables = [one.ranks for one in group]
    found = {}
    for candidates, metric in board.columns:
        if candidates in tables[0].ranks:
            values, _ = metric_over_seeds(tables, candidates, metric, board.across_orders)
            found[candidates, metric] = bootstrap_mean(values, tables[0].user, _RESAMPLES)
    return found


def _item_names(firsts: Sequence[Run], dataset: str, given: str | Path | None) -> ItemNames:
    """Titles as the runs keep them and categories of the data set's item file; both of the file that is named."""
    settings = [one.settings for one in firsts]
    kept = next((found for one in firsts if (found := one.folder / CATALOGUE_FILE).is_file()), None)
    path = Path(given) if given is not None else _find_item_file(settings, dataset)
    try:
        of_file = ItemNames() if path is None else _read_item_names(path, settings)
    except UserError:
        if given is not None or kept is None:
            raise
        of_file = ItemNames()  # the file has changed since the runs
    if given is not None or kept is None:
        return of_file
    catalogue = Catalogue.load(kept)
    return ItemNames(dict(zip(catalogue.item_ids[1:], catalogue.titles[1:], strict=True)), of_file.categories)


def _find_item_file(settings: Sequence[Mapping[str, Any]], dataset: str) -> Path | None:
    """The item file that some run has read: its ``data_path`` counts from the current folder."""
    roots = [Path(str(one["data_path"])) for one in settings if one.get("data_path")]
    candidates = [root / dataset / f"{dataset}.item" for root in (*roots, folder_in_recbole().parent)]
    return next((path for path in candidates if path.is_file()), None)


def _read_item_names(path: Path, settings: Sequence[Mapping[str, Any]]) -> ItemNames:
    """Titles and categories of an item file, read as the runs did."""
    how = {"field_separator": "\t", "encoding": "utf-8", "ITEM_ID_FIELD": "item_id"}
    table = read_item_file(
        path, *(next((one[key] for one in settings if one.get(key)), usual) for key, usual in how.items())
    )
    titles, categories = item_titles(table, table.ids), item_categories(table, table.ids)
    return ItemNames(dict(zip(table.ids, titles, strict=True)), dict(zip(table.ids, categories, strict=True)))


def _token_views(firsts: Mapping[str, Run]) -> list[TokenView]:
    """Codes of the models that have some; equal codes once."""
    views: list[TokenView] = []
    for label, one in firsts.items():
        if len(views) == _MOST_TOKENS:
            break
        health = one.result.get("tokenizer")
        if health is None or not (one.folder / "tokens.tsv").is_file():
            continue
        table = read_codes(one.folder / "tokens.tsv")
        for view in views:
            if np.array_equal(view.codes, table.codes):
                view.labels.append(label)
                break
        else:
            views.append(TokenView([label], int(one.result["seed"]), table.item_ids, table.codes, health))
    return views


def _command(runs: Mapping[str, Sequence[Run]], dataset: str) -> str:
    """The plainest command that runs these models and seeds."""
    results = [one.result for group in runs.values() for one in group]
    models = ",".join(dict.fromkeys(str(result["model"]) for result in results))
    seeds = ",".join(map(str, sorted({int(result["seed"]) for result in results})))
    recipes = {str(result.get("recipe") or "default") for result in results} - {"default"}
    recipe = f" --recipe={recipes.pop()}" if len(recipes) == 1 else ""
    return command_line("run", f"--model={models} --dataset={dataset} --seeds={seeds}{recipe}")
