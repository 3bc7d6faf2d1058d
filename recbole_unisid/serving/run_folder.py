"""The files of a finished run, read and checked before anything is built from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

import recbole_unisid
from recbole_unisid.config.defaults import read_yaml
from recbole_unisid.embeddings.text_recipe import TextRecipe
from recbole_unisid.errors import UserError
from recbole_unisid.items.catalogue import CATALOGUE_FILE, Catalogue
from recbole_unisid.recbole_adapter.semantics import ItemSemantics
from recbole_unisid.runs.manifest import read_manifest
from recbole_unisid.tokens.registry import load_tokenizer
from recbole_unisid.tokens.tokenization import Tokenization
from recbole_unisid.tokens.tokens_file import read_codes

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
