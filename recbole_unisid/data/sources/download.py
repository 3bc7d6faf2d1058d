"""Fetching one file: mirrors in order, resumed where it was cut off, checked before it is believed."""

from __future__ import annotations

import gzip
import http.client
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from recbole_unisid.data.disk import writing_to
from recbole_unisid.data.sources.lines import bar_of_bytes
from recbole_unisid.errors import UserError
from recbole_unisid.files import sha256_of

_BLOCK = 1 << 20
_TRIES_PER_MIRROR = 3
_TIMEOUT_SECONDS = 30.0


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
        _fetch_checked(
            url, part, expected_sha256, progress
        )  # its beginning may have been another mirror's file


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
    """Ask for what is missing of `part` and append it."""
    have = _size(part)
    headers = {"User-Agent": "recbole-unisid", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_SECONDS
        )
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()  # all of it is there, or more than this mirror has: the check will tell
        return
    with response:
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
        missing = (total or have) - have
        if missing > shutil.disk_usage(part.parent).free:
            raise UserError(f"{part.parent} lacks the space for {part.stem}: {missing:,} bytes are to come.")
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
