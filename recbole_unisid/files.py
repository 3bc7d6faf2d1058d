"""Files that are either whole or absent, and digests that tell when something changed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block ends well.

    A reader, or a later run after a crash, sees the old file or the new one, never a part.

    Parameters
    ----------
    path : str or Path
        The final place. Missing folders are made.

    Yields
    ------
    Path
        Where to write. It is removed when the block raises.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.chmod(0o644)
        os.replace(part, final)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with write_atomically(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinities are refused.

    Raises
    ------
    ValueError
        When `value` holds a float that JSON has no name for.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(*parts: Any) -> str:
    """Hash values and arrays to 16 hexadecimal digits, the same in every process.

    Parameters
    ----------
    *parts : bytes, str, numpy.ndarray or JSON-like values
        What the hash must depend on. Every part is delimited, so ("ab", "c") differs from ("a", "bc").

    Returns
    -------
    str
        The first 16 hexadecimal digits of a SHA-256.

    Examples
    --------
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
