"""The folder of a run: found by a hash of what decides its figures, complete when it says so."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from recbole_unisid import distributed
from recbole_unisid.files import fingerprint, sha256_of, write_json, write_text
from recbole_unisid.plugins.loading import short_name
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.from_recbole import RemoveColorFilter

LOG = logging.getLogger("recbole_unisid")


def data_fingerprint(folder: Path, dataset: str) -> str:
    """Hash the contents of a data set's files; a changed title or interaction gives another hash."""
    parts = []
    for path in sorted(folder.glob(f"{dataset}.*")):
        if path.is_file():
            parts.append([path.name, sha256_of(path)])
    return fingerprint(parts)


class _BarHandler(logging.Handler):
    """Print records above progress bars instead of through them."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record))


class RunFolder:
    """``<output_dir>/<dataset>/<model>/<seed>-<hash>/``.

    Parameters
    ----------
    config : UniSIDConfig
        The run's settings; its ``checkpoint_dir`` is set to the folder's.
    """

    def __init__(self, config: UniSIDConfig) -> None:
        data = data_fingerprint(Path(config["data_path"]), config["dataset"])
        self.hash = fingerprint(config.hashed(), data)[:12]
        self.config = config
        runs = Path(config["output_dir"]) / config["dataset"] / short_name(config["model"])
        self.path = runs / f"{config['seed']}-{self.hash}"
        config["checkpoint_dir"] = str(self.path / "checkpoint")

    def result(self) -> dict[str, Any] | None:
        """The result of a complete run; None while there is none."""
        try:
            result = json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return result if isinstance(result, dict) and result.get("status") == "complete" else None

    def begin(self) -> None:
        """Make the folder and write the settings (one of several processes does)."""
        if distributed.is_writer():
            (self.path / "checkpoint").mkdir(parents=True, exist_ok=True)
            settings = yaml.safe_dump(self.config.resolved(), sort_keys=True, allow_unicode=True)
            write_text(self.path / "config.yaml", settings)
        distributed.wait_for_all()

    @contextmanager
    def logging(self, verbose: bool) -> Iterator[None]:
        """Send RecBole's log and ours to ``log.txt``, and ours to the screen where wanted."""
        if not distributed.is_writer():
            logging.getLogger().handlers = [logging.NullHandler()]
            yield
            return
        to_file = logging.FileHandler(self.path / "log.txt", encoding="utf-8")
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
            write_json(self.path / "result.json", result)
        distributed.wait_for_all()
