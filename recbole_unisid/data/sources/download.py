"""Fetching one file: mirrors in order, resumed where it was cut off, checked before it is believed."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from recbole_unisid.data.disk import writing_to
from recbole_unisid.errors import UserError
from recbole_unisid.files import sha256_of, write_json

_BLOCK = 1 << 20
_TRIES_PER_MIRROR = 3
_TIMEOUT_SECONDS = 30.0


class _MirrorError(Exception):
    """One mirror did not deliver; the next one may."""


def download(
    urls: Sequence[str], target: Path, *, expected_sha256: str | None = None, progress: bool = True
) -> str:
    """Fetch a file from the first mirror that delivers it whole.

    Parameters
    ----------
    urls : sequence of str
        The same file at several places, in the order to try.
    target : Path
        Where it goes, once it is whole and checked. Until then ``<target>.part`` holds what has come; a
        later call, or the next mirror, goes on from there.
    expected_sha256 : str or None
        Its checksum where it is known; without one, gzip and zip files prove themselves by their own.
    progress : bool
        Show a bar.

    Raises
    ------
    UserError
        With every mirror's failure in one line, or when the disk refuses.
    """
    part = target.with_name(target.name + ".part")
    failures: list[str] = []
    with writing_to(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    for url in urls:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise UserError(f"{url!r} is no http(s) address of a mirror.")
        try:
            _fetch_whole(url, part, progress)
            _check(part, target.name, expected_sha256)
        except _MirrorError as error:
            failures.append(f"{urllib.parse.urlsplit(url).netloc}: {error}")
            continue
        with writing_to(target):
            os.replace(part, target)
            _length_note(part).unlink(missing_ok=True)
        return url
    raise UserError(f"{target.name} could not be fetched ({'; '.join(failures) or 'no mirror is known'}).")


def _fetch_whole(url: str, part: Path, progress: bool) -> None:
    """Go on with `part` until it has the announced length."""
    for attempt in range(_TRIES_PER_MIRROR):
        have = _size(part)
        try:
            _fetch_rest(url, part, progress)
            return
        except urllib.error.HTTPError as error:
            raise _MirrorError(f"HTTP {error.code} {error.reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            # A mirror that still sends something is asked again; one that is silent is left.
            if attempt + 1 == _TRIES_PER_MIRROR or _size(part) <= have:
                reason = error.reason if isinstance(error, urllib.error.URLError) else error
                cut_off = isinstance(error, http.client.IncompleteRead)
                raise _MirrorError("cut off" if cut_off else str(reason) or type(error).__name__) from error


def _fetch_rest(url: str, part: Path, progress: bool) -> None:
    """Ask for what is missing of `part` and append it.

    Raises
    ------
    http.client.IncompleteRead
        When the server stops before the announced length.
    """
    have = _size(part)
    request = urllib.request.Request(
        url, headers={"User-Agent": "recbole-unisid", "Accept-Encoding": "identity"}
    )
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        if have == _noted_length(part):
            return None  # it was all there
        _start_over(part)  # what is there is longer than this mirror's file
        return _fetch_rest(url, part, progress)
    with response:
        start, total = _announced(response, have)
        if have and (start == 0 or total != _noted_length(part)):
            # The mirror sends all of it, or has another file: what came before is of no use.
            _start_over(part)
            if start:
                return _fetch_rest(url, part, progress)
        _append(response, part, total, progress)


def _announced(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """First byte of the answer, and length of the whole file where the server tells it."""
    if response.status != http.client.PARTIAL_CONTENT:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    if span.partition("-")[0] != str(have):
        raise _MirrorError("answers with another range than asked for")
    return have, int(total) if total.isdigit() else None


def _append(response: http.client.HTTPResponse, part: Path, total: int | None, progress: bool) -> None:
    """Write the answer to the end of `part`."""
    with writing_to(part):
        have = _size(part)
        missing = (total or have) - have
        if missing > shutil.disk_usage(part.parent).free:
            raise UserError(f"{part.parent} lacks the space for {part.stem}: {missing:,} bytes are to come.")
        write_json(_length_note(part), {"bytes": total})
        stream = part.open("ab")
    with (
        stream,
        tqdm(
            total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=not progress
        ) as bar,
    ):
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


def _length_note(part: Path) -> Path:
    """The note that says how long the file will be, so that two mirrors' files are never mixed up."""
    return part.with_name(part.name + ".json")


def _noted_length(part: Path) -> int | None:
    try:
        length = json.loads(_length_note(part).read_text(encoding="utf-8"))["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return length if isinstance(length, int) else None


def _start_over(part: Path) -> None:
    with writing_to(part):
        part.unlink(missing_ok=True)


def _check(part: Path, name: str, expected_sha256: str | None) -> None:
    """Refuse, and drop, a file with the wrong checksum."""
    try:
        if expected_sha256 is not None:
            intact, reason = sha256_of(part) == expected_sha256, "wrong SHA-256"
        elif name.endswith(".gz"):
            intact, reason = True, ""
            with gzip.open(part, "rb") as stream:
                while stream.read(_BLOCK):
                    pass
        else:
            intact, reason = not name.endswith(".zip") or zipfile.is_zipfile(part), "no zip file"
    except (OSError, EOFError, zlib.error) as error:
        intact, reason = False, f"damaged file, {error}"
    if not intact:
        _start_over(part)
        raise _MirrorError(reason)
