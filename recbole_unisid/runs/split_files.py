"""A data set's split as files, for models that are trained elsewhere, and the protocol that makes it again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from recbole_unisid.config.given import parsed
from recbole_unisid.config.settings import place_keys, split_keys
from recbole_unisid.data.disk import writing_to
from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TEST, TRAIN, UNUSED, VALID, Split
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.files import fingerprint, seal_broken, sealed, sha256_of, write_atomically, write_json
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.runs.result import protocol_of

PROTOCOL_FILE = "protocol.json"
_SCHEMA = 1
#: What of a protocol chooses a model or is RecBole's own.
_OF_CHOICE = {"valid_metric", "valid_candidates", "metrics", "topk", "metric_decimal_place"}
#: An ID-only model of ours reads the interactions alone, and every split.
_READER = "ItemID"


@dataclass(frozen=True)
class LoadedSplit:
    """A data set under a protocol."""

    config: UniSIDConfig
    dataset: Any

    @property
    def sequences(self) -> UserSequences:
        """Every user's interactions in the order of the protocol."""
        found: UserSequences = self.dataset.sequences
        return found

    @property
    def split(self) -> Split:
        """What each interaction is for."""
        found: Split = self.dataset.split
        return found

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that a split depends on, and where the data is, as plain values."""
        left_out = (place_keys() - {"data_path"}) | _OF_CHOICE
        kept = split_keys() - left_out
        return {key: value for key, value in self.config.resolved().items() if key in kept}

    @property
    def hash(self) -> str:
        """Of everything that a figure under this protocol depends on, but for the model."""
        sampled = [self.config["candidates"], int(self.config["protocol_seed"])]
        return fingerprint(self.sequences.fingerprint(), self.split.phase, sampled)


def load_split(dataset: str, given: Mapping[str, Any]) -> LoadedSplit:
    """Split a data set as a run with these settings does.

    Raises UserError: for settings of models, and where nothing is tested.
    """
    known = split_keys()
    for key in given:
        if key not in known:
            raise UserError(
                f"A split does not depend on {key}: leave it out, or name a setting of the protocol or the data."
                f"{did_you_mean(key, known)}"
            )
    config = UniSIDConfig(_READER, dataset, {"show_progress": False, **given})
    loaded = load_dataset(config)
    loaded.build_sequences()
    if not len(loaded.split.targets(TEST)):
        raise UserError(
            f"No interaction of '{dataset}' is a test target of this split: users need 3 items or more, files that are "
            "split already a test part."
        )
    return LoadedSplit(config, loaded)


def split(dataset: str, to: str | Path, config_dict: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write the parts of a split into the folder `to`, the catalogue, and ``protocol.json``, which comes back.

    All stand there as Parquet and as CSV. Rows go by user, and in the order of the user's history: `position` counts
    from 0. Ids are text. A part is ``train``, ``valid``, ``test`` or ``unused``: what is in histories alone. The
    settings are those of the protocol and the data; another is a UserError.
    """
    given = parsed(config_dict or {})
    loaded, folder = load_split(dataset, given), Path(to)
    sequences, phase = loaded.sequences, loaded.split.phase
    parts = {"train": phase <= TRAIN, "valid": phase == VALID, "test": phase == TEST}
    parts["unused"] = phase == UNUSED
    scaled = loaded.config["normalize_all"] or loaded.config["normalize_field"]
    unscaled = {"normalize_all": False, "normalize_field": None}
    table = _as_table(load_split(dataset, given | unscaled).sequences if scaled else sequences)
    tables = {name: table.filter(pa.array(kept)) for name, kept in parts.items() if kept.any()}
    counts = loaded.split.training_counts(sequences)[1:]
    tables["items"] = pa.table({"item": pa.array(sequences.item_ids[1:]), "training_count": counts})
    with writing_to(folder, "name another folder with --to=DIR"):
        folder.mkdir(parents=True, exist_ok=True)
        earlier = _files_of(folder / PROTOCOL_FILE)
        # The last to be written: the folder is whole, or has none.
        (folder / PROTOCOL_FILE).unlink(missing_ok=True)
        digests = {}
        for name, part in tables.items():
            for ending, write in (("parquet", parquet.write_table), ("csv", csv.write_csv)):
                with write_atomically(folder / f"{name}.{ending}") as file:
                    write(part, file)
                digests[f"{name}.{ending}"] = sha256_of(folder / f"{name}.{ending}")
        for left in earlier - digests.keys():  # such as the validation of a split that had one
            (folder / left).unlink(missing_ok=True)
        protocol = sealed(
            {
                "schema": _SCHEMA,
                "dataset": dataset,
                "hash": loaded.hash,
                "protocol": protocol_of(loaded.config, loaded.dataset),
                "settings": {key: value for key, value in given.items() if key not in place_keys()},
                "rows": {name: part.num_rows for name, part in tables.items()},
                "files": digests,
            }
        )
        write_json(folder / PROTOCOL_FILE, protocol)
    return protocol


def _files_of(path: Path) -> set[str]:
    """The parts that an earlier split has left beside its protocol; none where there was no split."""
    with suppress(UserError):
        files = read_protocol(path).get("files") or {}
        return {name for name in files if re.fullmatch(r"(train|valid|test|unused)\.(parquet|csv)", name)}
    return set()


def _as_table(sequences: UserSequences) -> pa.Table:
    """Every interaction; times as whole numbers where they are."""
    owners = sequences.users
    columns = {
        "user": pa.array(sequences.user_ids[owners]),
        "item": pa.array(sequences.item_ids[sequences.items]),
        "position": np.arange(len(owners)) - sequences.offsets[owners],
    }
    times = sequences.times
    if times is not None:
        whole = bool(np.all((times == np.rint(times)) & (np.abs(times) < 2**53)))
        columns["time"] = times.astype(np.int64) if whole else times
    return pa.table(columns)


def read_protocol(path: Path) -> dict[str, Any]:
    """Read ``protocol.json`` of :func:`split`; a UserError where it is missing, changed or no such file."""
    try:
        protocol = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(protocol, dict) or seal_broken(protocol) or protocol["schema"] != _SCHEMA:
            raise ValueError
        if not {"dataset", "hash", "settings", "fingerprint"} <= protocol.keys():
            raise ValueError
    except FileNotFoundError:
        raise UserError(f"There is no {path}: write it with recbole-unisid split DATASET --to=DIR.") from None
    except (OSError, ValueError, KeyError, RecursionError):
        raise UserError(
            f"{path} is no protocol, or has been changed: write it anew with recbole-unisid split DATASET --to=DIR."
        ) from None
    return protocol
