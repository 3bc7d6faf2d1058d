"""Files that are either whole or absent, and digests that tell when something changed."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from recbole_unisid.errors import UserError

#: How the name of an unfinished folder ends.
_PART = ".part"


@contextmanager
def write_atomically(path: str | Path, size: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block ends well.

    A reader, or a later run after a crash, sees the old file or the new one, never a part. Missing folders
    are made, and what the block leaves is removed when it raises. Where the file's `size` in bytes is known, a disk
    that has less left is a UserError before anything is written.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    require_space(final, size)
    with scratch_folder(final) as scratch:
        part = scratch / f"{final.name}{_PART}"
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.chmod(0o644)
        os.replace(part, final)


def replace_folder(new: Path, final: Path) -> None:
    """Put a folder in the place of `final`, whose earlier content is in `new` then or gone; a reader sees one whole.

    Linux exchanges the two in one step. Where the system or its file system cannot, `final` is absent for a moment.
    """
    if not final.exists():
        try:
            new.rename(final)
        except OSError:
            if not final.is_dir():  # else another command put its own there meanwhile
                raise
        else:
            return
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    at, flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if exchange is None or exchange(at, os.fsencode(new), at, os.fsencode(final), flag):
        final.rename(new.with_name(f"{new.name}.earlier"))
        new.rename(final)


def require_space(file: Path, size: int) -> None:
    """Refuse to begin a file of `size` bytes where the disk has less left; some file systems do not tell (0 of 0)."""
    disk = shutil.disk_usage(file.parent)
    if disk.total and disk.free < size:
        raise UserError(
            f"{file.parent} lacks the space for {file.name}: {size:,} bytes are to come, {disk.free:,} are left; free "
            "some space, then the same command goes on."
        )


@contextmanager
def scratch_folder(final: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `final` for what is to become it; it goes when the block ends.

    The folder is locked as long as this process lives. What killed processes left beside `final` is told by
    having no owner, and goes first.
    """
    remove_left_overs(final.parent)
    while True:
        scratch = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.", suffix=_PART))
        with suppress(FileNotFoundError):  # another process took it for a left-over before it was locked
            lock = os.open(scratch, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks: nothing is taken for one there
                fcntl.flock(lock, fcntl.LOCK_EX)
            if scratch.is_dir():
                break
            os.close(lock)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def remove_left_overs(folder: Path, dry_run: bool = False) -> list[tuple[Path, int]]:
    """Remove what :func:`write_atomically` and :func:`scratch_folder` of killed processes left in a folder.

    Each is told with its size in bytes; `dry_run` removes none.
    """
    found = []
    # In a run's checkpoint also what safetensors was writing in earlier versions.
    in_run = folder.name == "checkpoint" and folder.with_name("config.yaml").is_file()
    for pattern in [f".*.????????{_PART}"] + [".tmp??????"] * in_run:
        for left_over in folder.glob(pattern):
            with suppress(OSError):  # its owner lives, or has just finished
                lock = os.open(left_over, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    parts = [left_over, *left_over.rglob("*")]
                    size = sum(part.lstat().st_size for part in parts if not part.is_dir())
                    if not dry_run:
                        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
                    found.append((left_over, size))
                finally:
                    os.close(lock)
    return found


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with write_atomically(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinities are a ValueError."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON-like values, and their own :func:`fingerprint` beside them."""
    return {**values, "fingerprint": fingerprint(json.loads(json.dumps(values)))}


def seal_broken(values: Mapping[str, Any]) -> bool:
    """Whether :func:`sealed` values have changed; never where there is no seal, as in files of earlier versions."""
    return "fingerprint" in values and sealed({k: values[k] for k in values if k != "fingerprint"}) != values


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(*parts: Any) -> str:
    """The first 16 hexadecimal digits of a SHA-256 of bytes, arrays and JSON-like values, each part delimited.

    >>> fingerprint("ab", "c") == fingerprint("a", "bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"array {part.dtype.str} {part.shape}:".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, bytes):
            digest.update(f"bytes {len(part)}:".encode() + part)
        else:
            text = json.dumps(part, sort_keys=True, ensure_ascii=False, default=str).encode()
            digest.update(f"json {len(text)}:".encode() + text)
    return digest.hexdigest()[:16]
