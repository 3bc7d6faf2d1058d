"""``serving.json``: what a folder holds for serving, and that it is still what was written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_unisid.errors import UserError
from recbole_unisid.files import sha256_of, write_json

MANIFEST_FILE = "serving.json"
SCHEMA = 1
_MEND = "delete the run's result.json and give its command again; nothing is trained twice."


def write_manifest(folder: Path, files: Iterable[str], about: Mapping[str, Any]) -> None:
    """Write the manifest of a folder whose `files` are complete, with what else there is to know `about` it."""
    digests = {name: sha256_of(folder / name) for name in files}
    write_json(folder / MANIFEST_FILE, {"schema": SCHEMA, "files": digests, **about})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a run, or of one of its catalogue versions, and check every file that it vouches for.

    Raises
    ------
    UserError
        When the manifest is missing, damaged or of another schema, or a file is missing or has changed.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = dict(json.loads(path.read_text(encoding="utf-8")))
        files, schema = dict(manifest["files"]), manifest["schema"]
    except FileNotFoundError:
        raise UserError(
            f"{folder} has no {MANIFEST_FILE}: the run was made before runs could be loaded, or was cut off; {_MEND}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; {_MEND}") from None
    if schema != SCHEMA:
        raise UserError(
            f"{path} has schema {schema}, this version of recbole_unisid reads {SCHEMA}: use the version that made it."
        )
    for name, digest in files.items():
        _check(folder / Path(name).name, digest)
    return manifest


def _check(path: Path, digest: str) -> None:
    try:
        same = sha256_of(path) == digest
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {_MEND}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from None
    if not same:
        raise UserError(f"{path} is damaged: it has changed since it was written; {_MEND}")
