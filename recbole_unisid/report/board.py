"""A static site of any finished runs: what stands beside what, which model to use, and every run to download."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml

from recbole_unisid.config.settings import place_keys
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.files import fingerprint, write_atomically, write_text
from recbole_unisid.report import markup
from recbole_unisid.report.choice import advice, training
from recbole_unisid.report.frame import as_frame
from recbole_unisid.report.gather import Report, gather_report
from recbole_unisid.report.leaderboard import Run, comparable
from recbole_unisid.report.markup import Markup, join, note, section, tag
from recbole_unisid.report.page import standalone, write_report
from recbole_unisid.report.run_files import find_runs, load_runs, read_result
from recbole_unisid.report.sections.quality import LEGEND, cells
from recbole_unisid.report.wording import column_name, count, counted, split_told, tested

#: What can be downloaded of a run; the settings without places.
_SETTINGS = "config.yaml"
_DOWNLOADS = ("result.json", "ranks.npz", _SETTINGS)
_REPORT = "Slices, differences, controls and curves of these runs"


@dataclass(frozen=True)
class Group:
    """The runs of one data set and protocol, on the same test cases."""

    report: Report
    superseded: int  # runs that a newer one of the same model and seed replaces

    @property
    def slug(self) -> str:
        """Its folder on the site, and its name for links."""
        name = re.sub(r"[^\w.-]+", "-", self.report.board.dataset)
        cases = self.report.runs[self.report.labels[0]][0].ranks
        return f"{name}-{fingerprint(self.report.board.protocol_hash, cases.user, cases.target)[:8]}"

    def place(self, run: Run) -> str:
        """A run's folder on the site."""
        return f"{self.slug}/{run.folder.parent.name}/{run.folder.name}"


def gather_groups(places: Sequence[str | Path]) -> list[Group]:
    """Read runs and put those together that may share a table; of a model and seed the newest run counts."""
    alike: dict[tuple[str, ...], dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for folder in find_runs(places):
        key, chosen_by = comparable(read_result(folder))
        cases = RankTable.load(folder / "ranks.npz")
        alike[(*key, fingerprint(cases.user, cases.target))][chosen_by].append(folder)
    groups = []
    for by_choice in alike.values():
        elsewhere = by_choice.pop("", [])  # models that were trained elsewhere stand beside the first
        first, *others = by_choice.values() if by_choice else [[]]
        groups += [_group(folders) for folders in ([*first, *elsewhere], *others)]
    return sorted(groups, key=lambda group: (group.report.board.dataset, group.slug))


def _group(folders: Sequence[Path]) -> Group:
    ordered = sorted(folders, key=_made)
    named = {(folder.parent.name, folder.name): folder for folder in ordered}  # one run, made twice
    runs = sorted(load_runs([*named.values()]), key=lambda run: _made(run.folder))
    newest = {(run.label, int(run.result["seed"])): run for run in runs}
    kept = sorted(run.folder for run in newest.values())
    return Group(gather_report(kept), len(folders) - len(kept))


def _made(folder: Path) -> int:
    return (folder / "result.json").stat().st_mtime_ns


def write_board(places: Sequence[str | Path], folder: Path, small: bool = False) -> Path:
    """Write ``index.html``, whose path comes back, a report a group, the runs' files and ``runs.csv``.

    Every file is whole or absent. A `small` board has neither reports nor ``ranks.npz``. Raises UserError: no run, or
    a damaged one.
    """
    groups = gather_groups(places)
    names = [name for name in _DOWNLOADS if not (small and name == "ranks.npz")]
    for group in groups:
        if not small:
            write_report(group.report, folder / group.slug)
        for run in (run for runs in group.report.runs.values() for run in runs):
            _copy(run, folder / group.place(run), names)
    runs = {group.place(run): run for group in groups for runs in group.report.runs.values() for run in runs}
    write_text(folder / "runs.csv", as_frame(runs).to_csv(index=False))
    write_text(folder / "index.html", draw_board(groups, names))
    return folder / "index.html"


def _copy(run: Run, folder: Path, names: Sequence[str]) -> None:
    for name in (name for name in names if name != _SETTINGS):
        with write_atomically(folder / name) as part:
            shutil.copyfile(run.folder / name, part)
    settings = {key: value for key, value in run.settings.items() if key not in place_keys()}
    write_text(folder / _SETTINGS, yaml.safe_dump(settings, sort_keys=True, allow_unicode=True))


def draw_board(groups: Sequence[Group], names: Sequence[str] = _DOWNLOADS) -> str:
    """Draw the first page: it needs no other file, and links to the runs' files of these names and to the reports."""
    runs = sum(len(runs) for group in groups for runs in group.report.runs.values())
    datasets = list(dict.fromkeys(group.report.board.dataset for group in groups))
    return standalone(
        "board.html",
        ["page.css", "board.css"],
        ["page.js", "board.js"],
        title="Which model should I use?",
        facts=join(
            [f"{counted(runs, 'run')} of {counted(len(datasets), 'data set')}: {', '.join(datasets)}"]
        ),
        datasets=join(tag("option", name) for name in datasets),
        sections=join(Markup(_section(group, names) + "\n") for group in groups),
    )


def _section(group: Group, names: Sequence[str]) -> Markup:
    report, board = group.report, group.report.board
    told = [
        split_told(board.protocol),
        *([f"data filtered by {board.protocol['filters']}"] if board.protocol.get("filters") else []),
        f"ties {board.protocol.get('ties')}",
    ]
    head = ["Model", "Seeds", *map(column_name, board.columns), "Training", "CPU minutes", "Parameters"]
    rows = [
        [
            *cells(report, row),
            training(report, row.model),
            report.figure(row.model, _minutes, "cpu_seconds", "training"),
            report.figure(row.model, count, "parameters", "training"),
        ]
        for row in board.rows
    ]
    reference = "" if board.reference is None else f" Reference: {board.reference}."
    replaced = (
        f" Left out: {counted(group.superseded, 'older run')} of the same models and seeds."
        if group.superseded
        else ""
    )
    drawn = section(
        group.slug,
        board.dataset,
        note(f"{board.sizes}; {'; '.join(told)}; protocol {board.protocol_hash}.{replaced}"),
        note(f"Tested on {about}.") if (about := tested(board.data)) else None,
        advice(report),
        markup.table(head, rows, f"Models on {board.dataset}", wide=True),
        note(LEGEND + reference),
        _downloads(group, names),
        *(tag("p", one, class_="note") for one in board.notes),
        tag("p", tag("a", _REPORT, href=f"{group.slug}/report.html")) if "ranks.npz" in names else None,
    )
    return tag("div", drawn.html, class_="group", data_dataset=board.dataset)


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 60:.1f}"


def _downloads(group: Group, names: Sequence[str]) -> Markup:
    """Every run's command and files, folded away."""
    rows = [
        [label, str(run.result["seed"]), tag("code", _command(run)), join(_links(group.place(run), names))]
        for label, runs in group.report.runs.items()
        for run in runs
    ]
    grid = markup.table(["Model", "Seed", "Command", "Files"], rows, "Commands and files")
    return tag("details", tag("summary", "Commands and files to download"), grid)


def _links(place: str, names: Sequence[str]) -> list[Markup]:
    return [
        join([tag("a", name, href=quote(f"{place}/{name}"), download=_saved_as(place, name)), " "])
        for name in names
    ]


def _saved_as(place: str, name: str) -> str:
    return f"{Path(place).name}-{name}"


def _command(run: Run) -> str:
    """What runs it again: the settings of a run are a file of settings."""
    given: Mapping[str, object] = run.result.get("predictions") or {}
    if given:
        return str(given.get("command") or "trained elsewhere")
    return f"recbole-unisid run --config_files={_saved_as(str(run.folder), 'config.yaml')}"
