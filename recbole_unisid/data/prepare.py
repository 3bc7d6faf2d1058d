"""Data sets by name: fetched, filtered, joined with their text and written as RecBole's atomic files."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from recbole_unisid.allocator import many_short_lived_rows
from recbole_unisid.data.atomic_files import ItemTexts, is_prepared, read_interactions, write_dataset
from recbole_unisid.data.disk import IN_RECBOLE, dataset_folder, folder_in_recbole, writing_to
from recbole_unisid.data.filters import Policy, checked_duplicates
from recbole_unisid.data.interactions import InteractionCollector
from recbole_unisid.data.sources.catalogue import CATALOGUE, KnownDataset
from recbole_unisid.data.sources.originals import FoundOriginal, find_originals
from recbole_unisid.data.summary import Summary
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.files import write_atomically


@many_short_lived_rows()
def prepare(
    name: str,
    data_path: str | Path,
    *,
    raw: str | Path | None = None,
    mirrors: Sequence[str] = (),
    core: int | None = None,
    duplicates: str | None = None,
    check_counts: bool = True,
    progress: bool = True,
) -> Summary:
    """Prepare a public data set, by RecBole's name of it, from its originals in ``data_path/name``.

    The names are those of the catalogue, such as ``amazon-beauty``, ``amazon-video-games-18`` or ``ml-1m``; ``yelp``
    needs the person's own download. With `raw`, a folder that has the originals already, nothing is fetched; otherwise
    the `mirrors`, addresses of folders, are tried before the known ones. Another `core` (the k of the k-core) or policy
    for `duplicates` (:data:`.Duplicates`) than the published set's is not checked against the published counts.

    Raises UserError: in one line: an unknown name, originals that cannot be had or read, other counts than published,
    a disk that refuses. The data set is then as it was before.
    """
    folder = dataset_folder(name, data_path)
    if name == IN_RECBOLE:
        return _copy_from_recbole(folder)
    known = _known(name, data_path)
    policy = Policy(
        duplicates=known.duplicates if duplicates is None else checked_duplicates(duplicates),
        core=known.core if core is None else core,
        since=known.since,
        until=known.until,
    )
    checked = check_counts and core is None and duplicates is None
    with _one_at_a_time(folder):
        raw = None if raw is None else Path(raw)
        found = find_originals(known, folder / "originals", raw=raw, mirrors=mirrors, progress=progress)
        return _build(known, folder, policy, found, checked, progress)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let a second process that prepares the same data set wait; a lock ends with its process."""
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".prepare.lock", is_singleton=True)  # so that it may be taken twice in a row
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(
    known: KnownDataset,
    folder: Path,
    policy: Policy,
    originals: Sequence[FoundOriginal],
    checked: bool,
    progress: bool,
) -> Summary:
    skipped, dropped, of_items = Counter[str](), Counter[str](), Counter[str]()
    collector = InteractionCollector(skipped)
    *interactions, items = (original.path for original in originals)
    for path in interactions:
        for columns in known.family.read_interactions(path, skipped, progress):
            collector.add(*columns)
    read = {"lines of interactions": skipped.pop("lines", 0)}
    if checked and known.lines not in (None, read["lines of interactions"]):
        raise _not_published(
            f"{known.interactions.file} has {read['lines of interactions']:,} lines", f"{known.lines:,}"
        )
    log = policy.apply(collector.collected(), dropped, skipped)
    if checked and known.published not in (None, log.counts):
        raise _not_published(
            "{} came out with {:,} users, {:,} items and {:,} interactions".format(known.name, *log.counts),
            "{:,}, {:,} and {:,}".format(*known.published),
        )
    rows = known.family.read_items(items, log.items_met, of_items, progress)
    note = {
        "originals": [original.as_json() for original in originals],
        "policy": {"core": policy.core, "duplicates": policy.duplicates},
        "counts": log.counts,
    }
    coverage = write_dataset(folder, log, ItemTexts(known.family.fields, rows), of_items, note)
    read["lines of items"] = of_items.pop("lines", 0)
    read["items without interactions"] = of_items.pop("without interactions", 0)
    missing = of_items.pop("not in the table", 0)
    notes = [f"{missing:,} of the items have no line in {items.name}: no text"] if missing else []
    if known.elsewhere and checked:
        notes.append(known.elsewhere)
    skipped.update({f"{reason} (items)": number for reason, number in of_items.items()})
    return Summary.of(folder, log, notes, read=read, skipped=skipped, dropped=dropped, coverage=coverage)


def _not_published(found: str, published: str) -> UserError:
    return UserError(
        f"{found}, published are {published}: the originals are not the published ones. Nothing was written; "
        "check_counts=False prepares them all the same."
    )


def _known(name: str, data_path: str | Path) -> KnownDataset:
    if name in CATALOGUE:
        return CATALOGUE[name]
    there = sorted(path.stem for path in Path(data_path).glob("*/*.inter") if path.stem == path.parent.name)
    raise UserError(
        f"Unknown data set {name!r}.{did_you_mean(name, [*CATALOGUE, IN_RECBOLE, *there])} "
        f"In {data_path} there {'are ' + ', '.join(there) if there else 'is no data set'}; "
        "your own tables become one with prepare and from_csv."
    )


def ensure_dataset(name: str, data_path: str | Path, *, progress: bool = True) -> Path:
    """Return a data set's folder, preparing the set first where it is missing.

    An unknown name that is not in `data_path` either, one that cannot be had and changed files are a ``UserError``.
    """
    folder = _existing(name, data_path)
    if folder is not None:
        return folder
    folder = dataset_folder(name, data_path)
    with _one_at_a_time(folder):
        if not is_prepared(folder):  # another process may have done it meanwhile
            prepare(name, data_path, progress=progress)
    return folder


def find_dataset(name: str, data_path: str | Path) -> Path:
    """As :func:`ensure_dataset`, but nothing is fetched: a ``UserError`` where the data set is not there."""
    folder = _existing(name, data_path)
    if folder is None:
        raise UserError(f"{name} is not in {data_path} yet: prepare it first.")
    return folder


def _existing(name: str, data_path: str | Path) -> Path | None:
    """Where a data set is; None for one that can be prepared by its name."""
    folder = dataset_folder(name, data_path)
    if is_prepared(folder):
        return folder
    if name == IN_RECBOLE:
        return folder_in_recbole()
    _known(name, data_path)
    return None


def _copy_from_recbole(folder: Path) -> Summary:
    """Copy ml-100k out of RecBole's package, ``.inter`` last, and give its account."""
    source = folder_in_recbole()
    with writing_to(folder):
        for path in sorted(source.glob(f"{IN_RECBOLE}.*"), key=lambda path: path.suffix == ".inter"):
            with write_atomically(folder / path.name) as part:
                shutil.copyfile(path, part)
    counts = Counter[str]()
    log = read_interactions(folder / f"{IN_RECBOLE}.inter", counts).in_order()
    read = {"lines of interactions": counts.pop("lines")}
    return Summary.of(folder, log, read=read, skipped=counts, dropped={}, coverage={})
