"""Versions of a run's catalogue: ``catalogue/2/``, ``catalogue/3/``, each whole, none ever changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.array_file import DamagedFileError, load_arrays, save_arrays
from recbole_unisid.errors import UserError
from recbole_unisid.items.catalogue import CATALOGUE_FILE, Catalogue
from recbole_unisid.runs.manifest import MANIFEST_FILE, read_manifest, write_manifest
from recbole_unisid.serving.run_folder import StoredRun, read_item_codes
from recbole_unisid.tokens.tokens_file import write_tokens_tsv

FOLDER = "catalogue"
VECTORS_FILE = "vectors.safetensors"


@dataclass(frozen=True)
class Version:
    """A catalogue that has grown since training.

    Attributes
    ----------
    number : int
        2 or more.
    catalogue : Catalogue
        All items, those of the training first.
    added : ndarray, shape [added items, levels] of int64 or [added items, text width] of float32
        Codes or text vectors of all items since training.
    """

    number: int
    catalogue: Catalogue
    added: NDArray[np.int64] | NDArray[np.float32]


def version_numbers(run: Path) -> list[int]:
    """Versions of a run's catalogue, ascending; 1 is the one that it was trained with."""
    folder = run / FOLDER
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return [1, *sorted(int(name) for name in names if name.isdecimal() and int(name) > 1)]


def read_version(stored: StoredRun, number: int | None) -> Version | None:
    """Read a version of a run's catalogue.

    Parameters
    ----------
    stored : StoredRun
        The run.
    number : int or None
        Which; None for the newest.

    Returns
    -------
    Version or None
        None for 1: the catalogue as trained.

    Raises
    ------
    UserError
        When there is no such version, it is damaged, or it belongs to other weights.
    """
    numbers = version_numbers(stored.path)
    number = numbers[-1] if number is None else number
    if number not in numbers:
        known = ", ".join(map(str, numbers))
        raise UserError(f"{stored.path} has no catalogue {number}; it has: {known}.")
    if number == 1:
        return None
    folder = stored.path / FOLDER / str(number)
    manifest = read_manifest(folder)
    if manifest.get("weights") != _weights(stored):
        raise UserError(f"{folder} belongs to other weights than {stored.path}: add its items again.")
    catalogue = Catalogue.load(folder / CATALOGUE_FILE)
    trained = stored.catalogue.n_items
    if catalogue.item_ids[: trained + 1] != stored.catalogue.item_ids:
        raise UserError(f"{folder} does not begin with the items of {stored.path}: add its items again.")
    if stored.tokenization is not None:
        return Version(number, catalogue, read_item_codes(folder / "tokens.tsv", catalogue)[trained:])
    try:
        vectors = load_arrays(folder / VECTORS_FILE)[0]["vectors"]
    except (DamagedFileError, OSError, KeyError) as error:
        raise UserError(f"{folder / VECTORS_FILE} cannot be read ({error}).") from None
    return Version(number, catalogue, vectors)


def write_version(stored: StoredRun, version: Version) -> Path:
    """Write a version, whole or not at all.

    Parameters
    ----------
    stored : StoredRun
        The run.
    version : Version
        With a number that is not taken.

    Returns
    -------
    Path
        Its folder.

    Raises
    ------
    UserError
        When somebody else took the number meanwhile.
    """
    final = stored.path / FOLDER / str(version.number)
    final.parent.mkdir(exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}."))
    try:
        version.catalogue.save(part / CATALOGUE_FILE)
        names = [CATALOGUE_FILE]
        if stored.tokenization is not None:
            codes = np.concatenate([stored.tokenization.codes, version.added])
            write_tokens_tsv(part / "tokens.tsv", version.catalogue.item_ids[1:], codes)
            names.append("tokens.tsv")
        else:
            save_arrays(part / VECTORS_FILE, {"vectors": version.added})
            names.append(VECTORS_FILE)
        about = {"catalogue": version.number, "added": len(version.added), "weights": _weights(stored)}
        write_manifest(part, names, about)
        part.chmod(0o755)
        os.rename(part, final)  # refused where the folder is there and has files
    except OSError as error:
        if (final / MANIFEST_FILE).is_file():
            raise UserError(f"{final} was made by another process meanwhile; add the items again.") from None
        raise UserError(f"{final} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def _weights(stored: StoredRun) -> str:
    return str(stored.manifest["files"]["model.safetensors"])
