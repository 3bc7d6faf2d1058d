"""The originals of a data set: where they lie on this machine, or fetched from mirrors, and whether they are whole."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from recbole_unisid.data.disk import writing_to
from recbole_unisid.data.sources.catalogue import KnownDataset, Original
from recbole_unisid.data.sources.lines import bar_of_bytes
from recbole_unisid.errors import UserError
from recbole_unisid.files import require_space, sha256_of, write_json

#: File beside the originals that holds their sizes and checksums, as first seen.
CHECKSUMS = "checksums.json"

_BLOCK = 1 << 20
_TRIES_PER_MIRROR = 3
_TIMEOUT_SECONDS = 30.0


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
    """Find the files of interactions, in several parts or one, and last that of items; fetch what is missing.

    Fetched originals are kept in `folder`, with their checksums. In `raw`, a person's own folder, they must be,
    packed or unpacked; nothing is written there. `mirrors` are addresses of folders to try before the known ones. A
    ``UserError`` says which file to put where, or that one is not what was first seen.
    """
    originals = known.interactions, known.items
    if raw is not None:
        return [found for original in originals for found in _in_raw(known, original, raw)]
    return [_fetched(known, original, folder, mirrors, progress) for original in originals]


def _present(folder: Path, file: str) -> Path | None:
    """The file in a folder, packed or unpacked."""
    paths = folder / file, folder / file.removesuffix(".gz")
    return next((path for path in paths if path.is_file()), None)


def _in_raw(known: KnownDataset, original: Original, raw: Path) -> list[FoundOriginal]:
    for files in filter(None, ((original.file,), original.parts)):
        paths = [_present(raw, file) or _present(raw / known.name, file) for file in files]
        found = [path for path in paths if path is not None]
        if len(found) == len(files):
            return [FoundOriginal.at(path, "by hand") for path in found]
        if found:
            missing = ", ".join(file for file, path in zip(files, paths, strict=True) if path is None)
            raise UserError(f"{missing} is not in {raw}, beside {found[0].name}.")
    raise UserError(f"{original.file} is not in {raw}{_how_to_get(known, original)}.")


def _fetched(
    known: KnownDataset, original: Original, folder: Path, mirrors: Sequence[str], progress: bool
) -> FoundOriginal:
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
    return f" (it is at {original.urls[0]})" if original.urls else f" ({known.by_hand})"


def _read_checksums(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / CHECKSUMS
    try:
        recorded = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"Cannot read {path} ({error}): delete it and the files beside it.") from error
    if not isinstance(recorded, dict) or not all(isinstance(entry, dict) for entry in recorded.values()):
        raise UserError(f"{path} is not a record of checksums: delete it and the files beside it.")
    return recorded


class _MirrorError(Exception):
    """One mirror did not deliver; the next one may."""


def download(
    urls: Sequence[str], target: Path, *, expected_sha256: str | None = None, progress: bool = True
) -> str:
    """Fetch a file from the first of these addresses that delivers it whole, and return that address.

    Until the file is whole and checked, ``<target>.part`` holds what has come; a later call, or the next mirror,
    goes on from there. Without a checksum, gzip and zip files prove themselves by their own. Where all mirrors fail, a
    ``UserError`` names every failure.
    """
    part = target.with_name(target.name + ".part")
    failures: list[str] = []
    with writing_to(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    for url in urls:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise UserError(f"{url!r} is no http(s) address of a mirror.")
        try:
            _fetch_checked(url, part, expected_sha256, progress)
        except _MirrorError as error:
            failures.append(f"{urllib.parse.urlsplit(url).netloc}: {error}")
            continue
        with writing_to(target):
            os.replace(part, target)
        return url
    raise UserError(f"{target.name} could not be fetched ({'; '.join(failures) or 'no mirror is known'}).")


def _fetch_checked(url: str, part: Path, expected_sha256: str | None, progress: bool) -> None:
    """Fetch what is missing of `part`; a damaged file is dropped."""
    resumed = _size(part) > 0
    _fetch_whole(url, part, progress)
    trouble = _trouble_with(part, expected_sha256)
    if trouble:
        with writing_to(part):
            part.unlink(missing_ok=True)
        if not resumed:
            raise _MirrorError(trouble)
        # Its beginning may have been another mirror's file.
        _fetch_checked(url, part, expected_sha256, progress)


def _fetch_whole(url: str, part: Path, progress: bool) -> None:
    """Go on with `part` until it has the announced length."""
    for attempt in range(_TRIES_PER_MIRROR):
        have = _size(part)
        try:
            _fetch_rest(url, part, progress)
            return
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # all of it is there, or more than this mirror has: the check will tell
            raise _MirrorError(f"HTTP {error.code} {error.reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            # A mirror that still sends something is asked again; one that is silent is left.
            if attempt + 1 == _TRIES_PER_MIRROR or _size(part) <= have:
                reason = error.reason if isinstance(error, urllib.error.URLError) else error
                cut_off = isinstance(error, http.client.IncompleteRead)
                raise _MirrorError("cut off" if cut_off else str(reason) or type(error).__name__) from error


def _fetch_rest(url: str, part: Path, progress: bool) -> None:
    have = _size(part)
    headers = {"User-Agent": "recbole-unisid", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        total = response.headers.get("Content-Length", "")
        if response.status == http.client.PARTIAL_CONTENT:
            span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
            if span.partition("-")[0] != str(have):
                raise _MirrorError("answers with another range than asked for")
        else:
            have = 0  # it sends all of the file
        _append(response, part, have, int(total) if total.isdigit() else None, progress)


def _append(
    response: http.client.HTTPResponse, part: Path, have: int, total: int | None, progress: bool
) -> None:
    """Write the answer behind the first `have` bytes of `part`; one that is too short is an ``IncompleteRead``."""
    with writing_to(part):
        require_space(part.with_suffix(""), (total or have) - have)
        stream = part.open("ab" if have else "wb")
    with stream, bar_of_bytes(total, part.stem, progress, initial=have) as bar:
        while True:
            try:
                block = response.read1(_BLOCK)
            except http.client.IncompleteRead as error:
                block = error.partial
            if not block:
                break
            with writing_to(part):
                stream.write(block)
                stream.flush()
            have += len(block)
            bar.update(len(block))
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _trouble_with(part: Path, expected_sha256: str | None) -> str:
    """Why a file that has come cannot be believed; empty where it can."""
    try:
        if expected_sha256 is not None:
            return "" if sha256_of(part) == expected_sha256 else "wrong SHA-256"
        if part.stem.endswith(".gz"):
            with gzip.open(part, "rb") as stream:
                while stream.read(_BLOCK):
                    pass
        elif part.stem.endswith(".zip"):
            if not zipfile.is_zipfile(part):
                return "no zip file"
            with zipfile.ZipFile(part) as archive:
                damaged = archive.testzip()
                return f"damaged file, {damaged}" if damaged else ""
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        return f"damaged file, {error}"
    return ""
