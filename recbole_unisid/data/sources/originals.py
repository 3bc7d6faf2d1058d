"""Where the originals of a data set lie on this machine, and whether they are what was first fetched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from recbole_unisid.data.disk import writing_to
from recbole_unisid.data.sources.catalogue import KnownDataset, Original
from recbole_unisid.data.sources.download import download
from recbole_unisid.errors import UserError
from recbole_unisid.files import sha256_of, write_json

#: File beside the originals that holds their sizes and checksums, as first seen.
CHECKSUMS = "checksums.json"


@dataclass(frozen=True)
class FoundOriginal:
    """One original on this machine."""

    path: Path
    bytes: int
    sha256: str
    origin: str  # the address it came from, or ``by hand``
    seen: str  # when it was first seen, in ISO 8601, UTC

    @classmethod
    def at(cls, path: Path, origin: str) -> FoundOriginal:
        """The file as it is."""
        try:
            size, checksum = path.stat().st_size, sha256_of(path)
        except OSError as error:
            raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
        return cls(path, size, checksum, origin, datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def as_json(self) -> dict[str, str | int]:
        """Everything but the folder, which differs from machine to machine."""
        return {**asdict(self), "path": self.path.name}


def find_originals(
    known: KnownDataset,
    folder: Path,
    *,
    raw: Path | None = None,
    mirrors: Sequence[str] = (),
    progress: bool = True,
) -> list[FoundOriginal]:
    """Find the files of interactions and of items; fetch what is missing.

    Fetched originals are kept in `folder`, with their checksums. In `raw`, a person's own folder, they must be,
    packed or unpacked; nothing is written there. `mirrors` are addresses of folders to try before the known ones.
    A file that is missing and cannot be fetched (saying which to put where), or is not what was first seen, is a
    ``UserError``.
    """
    originals = known.interactions, known.items
    if raw is not None:
        return [_in_raw(known, original, raw) for original in originals]
    return [_fetched(known, original, folder, mirrors, progress) for original in originals]


def _present(folder: Path, file: str) -> Path | None:
    """The file in a folder, packed or unpacked."""
    paths = folder / file, folder / file.removesuffix(".gz")
    return next((path for path in paths if path.is_file()), None)


def _in_raw(known: KnownDataset, original: Original, raw: Path) -> FoundOriginal:
    path = _present(raw, original.file) or _present(raw / known.name, original.file)
    if path is None:
        raise UserError(f"{original.file} is not in {raw}{_how_to_get(known, original)}.")
    return FoundOriginal.at(path, "by hand")


def _fetched(
    known: KnownDataset, original: Original, folder: Path, mirrors: Sequence[str], progress: bool
) -> FoundOriginal:
    """Find one file in the folder of originals, or fetch it."""
    checksums = _read_checksums(folder)
    path, origin = _present(folder, original.file), "by hand"
    expected = checksums.get((path or Path(original.file)).name, {}).get("sha256")
    if path is None:
        urls = [f"{mirror.rstrip('/')}/{original.file}" for mirror in mirrors] + list(original.urls)
        path = folder / original.file
        try:
            origin = download(urls, path, expected_sha256=expected, progress=progress)
        except UserError as error:
            raise UserError(
                f"{error} Put {original.file} into {folder}{_how_to_get(known, original)}, or name the "
                "folder that has it with raw, or an address with mirror."
            ) from error
    found = FoundOriginal.at(path, origin)
    if path.name not in checksums:
        with writing_to(folder):
            write_json(folder / CHECKSUMS, {**checksums, path.name: found.as_json()})
    elif expected != found.sha256:
        raise UserError(
            f"{path} is not the file that was first seen there (SHA-256 {found.sha256[:12]}..., "
            f"recorded {str(expected)[:12]}...): delete it to fetch it again, "
            f"or delete {CHECKSUMS} beside it to accept it."
        )
    return found


def _how_to_get(known: KnownDataset, original: Original) -> str:
    """Where a person gets one file."""
    return f" (it is at {original.urls[0]})" if original.urls else f" ({known.by_hand})"


def _read_checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """What was recorded of each file when it was first seen."""
    path = folder / CHECKSUMS
    try:
        recorded = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {path} ({error}): delete it and the files beside it.") from error
    if not isinstance(recorded, dict) or not all(isinstance(entry, dict) for entry in recorded.values()):
        raise UserError(f"{path} is not a record of checksums: delete it and the files beside it.")
    return recorded
