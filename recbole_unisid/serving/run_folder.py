"""The files of a finished run, read and checked before anything is built from them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

import recbole_unisid
from recbole_unisid.array_file import DamagedFileError, load_arrays, save_arrays
from recbole_unisid.config.defaults import read_yaml
from recbole_unisid.embeddings.text_recipe import TextRecipe
from recbole_unisid.errors import UserError
from recbole_unisid.files import scratch_folder
from recbole_unisid.items.catalogue import CATALOGUE_FILE, Catalogue
from recbole_unisid.recbole_adapter.semantics import ItemSemantics
from recbole_unisid.runs.manifest import MANIFEST_FILE, read_manifest, write_manifest
from recbole_unisid.tokens.registry import load_tokenizer
from recbole_unisid.tokens.tokenization import Tokenization
from recbole_unisid.tokens.tokens_file import read_codes, write_tokens_tsv

RESULT_SCHEMA = 1


@dataclass(frozen=True)
class StoredRun:
    """A run's files as they lie, none of them pickled.

    Attributes
    ----------
    path : Path
        The run's folder.
    result, settings, manifest : dict
        ``result.json``, ``config.yaml`` and ``serving.json``.
    catalogue : Catalogue
        The items as trained.
    weights : dict of Tensor
        ``model.safetensors``.
    tokenization : Tokenization or None
        Codes and the fitted tokenizer.
    recipe : TextRecipe or None
        How text became vectors.
    """

    path: Path
    result: dict[str, Any]
    settings: dict[str, Any]
    manifest: dict[str, Any]
    catalogue: Catalogue
    weights: dict[str, torch.Tensor]
    tokenization: Tokenization | None
    recipe: TextRecipe | None

    def semantics(self) -> ItemSemantics | None:
        """What the model was built from: its tokens, and its text vectors where the weights hold them."""
        if self.recipe is None:
            return None
        held = next((w for name, w in self.weights.items() if name.endswith("semantic.vectors")), None)
        shape = (self.catalogue.n_items, self.recipe.width)
        vectors = np.zeros(shape, dtype=np.float32) if held is None else held[1:].float().numpy()
        return ItemSemantics(vectors, self.catalogue.titles[1:], self.tokenization, {})


def read_run(folder: Path) -> StoredRun:
    """Read a finished run.

    Parameters
    ----------
    folder : Path
        The run's folder.

    Raises
    ------
    UserError
        When the run is not finished, was made by a version that does not fit, or a file is missing,
        damaged or not what was written. Nothing in any file is executed.
    """
    result = _result(folder)
    _check_versions(folder, result)
    manifest = read_manifest(folder)
    catalogue = Catalogue.load(folder / CATALOGUE_FILE)
    text = manifest.get("text")
    return StoredRun(
        folder,
        result,
        _settings(folder, result),
        manifest,
        catalogue,
        _weights(folder / "model.safetensors"),
        _tokenization(folder, manifest, catalogue, result),
        None if text is None else TextRecipe.from_json(text),
    )


def _result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    if not folder.is_dir():
        raise UserError(f"There is no run folder {folder}.")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} is no finished run: it has no result.json. Finish it first.") from None
    except (OSError, ValueError):
        raise UserError(f"{path} is damaged; delete it and give the run's command again.") from None
    if not isinstance(result, dict) or result.get("status") != "complete":
        raise UserError(f"{folder} is no finished run: its result.json is not complete. Finish it first.")
    return result


def _settings(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    settings = read_yaml(folder / "config.yaml")
    for key in ("model", "dataset", "seed"):
        if settings.get(key) != result.get(key):
            raise UserError(
                f"{folder / 'config.yaml'} has {key} {settings.get(key)}, result.json has {result.get(key)}: the files "
                "are not of one run."
            )
    return settings


def _check_versions(folder: Path, result: dict[str, Any]) -> None:
    """Refuse what another version means otherwise: the schema, this package's minor version, torch's major."""
    if result.get("schema") != RESULT_SCHEMA:
        raise UserError(
            f"{folder}/result.json has schema {result.get('schema')}, this version of recbole_unisid reads "
            f"{RESULT_SCHEMA}: use the version that made it."
        )
    made = result.get("versions") or {}
    here = {"recbole_unisid": recbole_unisid.__version__, "torch": torch.__version__}
    for package, parts in (("recbole_unisid", 2), ("torch", 1)):
        then, now = str(made.get(package, "")), here[package]
        if then.split(".")[:parts] != now.split(".")[:parts]:
            agree = "first two numbers" if parts == 2 else "first number"
            raise UserError(
                f"{folder} was made by {package} {then or 'unknown'}, here is {now}: the {agree} must agree. Install "
                "that version, or run again."
            )


def _weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as weights ({str(error).splitlines()[0]}).") from None


def _tokenization(
    folder: Path, manifest: dict[str, Any], catalogue: Catalogue, result: dict[str, Any]
) -> Tokenization | None:
    tokens = manifest.get("tokens")
    if tokens is None:
        return None
    tokenizer = load_tokenizer(folder)
    codebooks, sizes = list(tokenizer.codebooks), list(tokens["codebook_sizes"])
    if len(sizes) > len(codebooks):  # a level that only tells equal tuples apart
        codebooks.append(np.zeros((sizes[-1], codebooks[0].shape[1]), dtype=np.float32))
    codes = read_item_codes(folder / "tokens.tsv", catalogue)
    health = result.get("tokenizer") or {}
    return Tokenization(catalogue.item_ids[1:], codes, codebooks, tokenizer, health, tokens["collisions"])


def read_item_codes(path: Path, catalogue: Catalogue) -> NDArray[np.int64]:
    """Read ``tokens.tsv`` of a catalogue.

    Returns
    -------
    ndarray of int64, shape [n_items, levels]
        Item 1 first.

    Raises
    ------
    UserError
        When the file is damaged or names other items.
    """
    table = read_codes(path)
    if table.item_ids != catalogue.item_ids[1:]:
        raise UserError(f"{path} and {path.with_name(CATALOGUE_FILE)} do not have the same items.")
    return table.codes


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
    if manifest.get("weights") != _weights_digest(stored):
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
    try:
        with scratch_folder(final) as scratch:
            part = scratch / final.name
            part.mkdir()
            version.catalogue.save(part / CATALOGUE_FILE)
            names = [CATALOGUE_FILE]
            if stored.tokenization is not None:
                codes = np.concatenate([stored.tokenization.codes, version.added])
                write_tokens_tsv(part / "tokens.tsv", version.catalogue.item_ids[1:], codes)
                names.append("tokens.tsv")
            else:
                save_arrays(part / VECTORS_FILE, {"vectors": version.added})
                names.append(VECTORS_FILE)
            weights = _weights_digest(stored)
            write_manifest(
                part, names, {"catalogue": version.number, "added": len(version.added), "weights": weights}
            )
            os.rename(part, final)  # refused where the folder is there and has files
    except OSError as error:
        if (final / MANIFEST_FILE).is_file():
            raise UserError(f"{final} was made by another process meanwhile; add the items again.") from None
        raise UserError(f"{final} cannot be written: {error.strerror or error}.") from error
    return final


def _weights_digest(stored: StoredRun) -> str:
    return str(stored.manifest["files"]["model.safetensors"])
