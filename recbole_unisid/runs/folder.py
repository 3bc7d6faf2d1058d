"""The folder of a run: found by a hash of what decides its figures, complete when it says so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from tqdm import tqdm

from recbole_unisid import distributed
from recbole_unisid.data.disk import writing_to
from recbole_unisid.errors import UserError
from recbole_unisid.files import fingerprint, remove_left_overs, sealed, sha256_of, write_json, write_text
from recbole_unisid.plugins.loading import short_name
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.from_recbole import RemoveColorFilter
from recbole_unisid.report.run_files import read_result

LOG = logging.getLogger("recbole_unisid")


def data_fingerprint(folder: Path, dataset: str) -> str:
    """Hash the contents of a data set's files; a changed title or interaction gives another hash."""
    files = sorted(path for path in folder.glob(f"{dataset}.*") if path.is_file())
    return fingerprint([[path.name, sha256_of(path)] for path in files])


@contextmanager
def owned(folder: Path, verbose: bool) -> Iterator[None]:
    """Make a folder and be the only command at work in it; another one is waited for, and ends with its process."""
    lock = FileLock(folder / ".lock")
    with writing_to(folder, "name another folder with --output_dir=DIR"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if verbose:
                print(f"Another command is at work in {folder}; this one waits for it.")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


class _LogFile(logging.FileHandler):
    """A log that is given up where the disk is full, instead of a traceback a line."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave the record out."""


class _BarHandler(logging.Handler):
    """Print records above progress bars instead of through them."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record))


class RunFolder:
    """``<output_dir>/<dataset>/<model>/<seed>-<hash>/``; the settings' ``checkpoint_dir`` is set to its own."""

    def __init__(self, config: UniSIDConfig) -> None:
        data = data_fingerprint(Path(config["data_path"]), config["dataset"])
        self.hash = fingerprint(config.hashed(), data)[:12]
        self.config = config
        runs = Path(config["output_dir"]) / config["dataset"] / short_name(config["model"])
        self.path = runs / f"{config['seed']}-{self.hash}"
        config["checkpoint_dir"] = str(self.path / "checkpoint")

    def result(self) -> dict[str, Any] | None:
        """The result of a complete run; None while there is none, or it is damaged."""
        try:
            result = read_result(self.path)
        except UserError:
            return None
        return result if result.get("status") == "complete" else None

    def begin(self) -> None:
        """Write the settings, and remove what a killed process left (one of several processes does)."""
        if distributed.is_writer():
            checkpoint = self.path / "checkpoint"
            checkpoint.mkdir(exist_ok=True)
            remove_left_overs(checkpoint)
            settings = yaml.safe_dump(self.config.resolved(), sort_keys=True, allow_unicode=True)
            write_text(self.path / "config.yaml", settings)
        distributed.wait_for_all()

    @contextmanager
    def owned(self, verbose: bool) -> Iterator[None]:
        """Make the folder and be the only command at work in it; see :func:`owned`."""
        with owned(self.path, verbose) if distributed.is_writer() else nullcontext():
            distributed.wait_for_all()
            yield

    @contextmanager
    def logging(self, verbose: bool) -> Iterator[None]:
        """Send RecBole's log and ours to ``log.txt``, and ours to the screen where wanted."""
        if not distributed.is_writer():
            logging.getLogger().handlers = [logging.NullHandler()]
            yield
            return
        to_file = _LogFile(self.path / "log.txt", encoding="utf-8")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s  %(message)s"))
        to_file.addFilter(RemoveColorFilter())
        to_screen = _BarHandler()
        root, before = logging.getLogger(), (logging.getLogger().level, logging.getLogger().handlers[:])
        root.handlers, root.level = [to_file], logging.INFO
        LOG.setLevel(logging.INFO)
        if verbose:
            LOG.addHandler(to_screen)
        try:
            yield
        finally:
            LOG.removeHandler(to_screen)
            root.level, root.handlers = before
            to_file.close()

    def finish(self, result: dict[str, Any]) -> None:
        """Write ``result.json``; from here on the run is complete."""
        if distributed.is_writer():
            finish_run(self.path, result)
        distributed.wait_for_all()


def finish_run(folder: Path, result: dict[str, Any]) -> None:
    """Seal a result, with the digest of the ranks that it follows from, and write ``result.json``."""
    result |= sealed({**result, "files": {"ranks.npz": sha256_of(folder / "ranks.npz")}})
    write_json(folder / "result.json", result)
