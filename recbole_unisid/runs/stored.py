"""The files of a finished run, read and checked before anything is built from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pydantic import TypeAdapter
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
from recbole_unisid.report.run_files import read_result
from recbole_unisid.runs.manifest import CORPUS_FILE, MANIFEST_FILE, read_manifest, write_manifest
from recbole_unisid.tokens.registry import load_tokenizer
from recbole_unisid.tokens.tokenization import Tokenization
from recbole_unisid.tokens.tokens_file import read_codes, write_tokens_tsv

RESULT_SCHEMA = 1
FOLDER = "catalogue"
VECTORS_FILE = "vectors.safetensors"
#: Bounds of what a stranger's run folder may make us do: bytes of a description, repeated parts of its YAML, sizes
#: and layers of a model that need no weights to show for them, codes of a level, and users.
_LARGEST_TEXT, _MOST_ALIASES, _SMALL, _SMALL_LAYERS, _LARGEST_LEVEL = 1 << 26, 20, 1024, 16, 1 << 24
_MOST_USERS = 10**9
_YamlParser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StoredRun(NamedTuple):
    """A run's files as they lie, none of them pickled."""

    path: Path
    result: dict[str, Any]  # ``result.json``
    settings: dict[str, Any]  # ``config.yaml``
    manifest: dict[str, Any]  # ``serving.json``
    catalogue: Catalogue  # the items as trained
    weights: dict[str, torch.Tensor]
    tokenization: Tokenization | None
    recipe: TextRecipe | None  # how text became vectors

    @property
    def corpus(self) -> list[str]:
        """The texts from which an encoder that learns has learned."""
        if CORPUS_FILE not in self.manifest["files"]:
            return self.catalogue.texts[1:]
        return (self.path / CORPUS_FILE).read_text(encoding="utf-8").split("\n")

    @property
    def compares_texts(self) -> bool:
        """Whether the model has a score term that reads text vectors."""
        return "terms.text.vectors" in self.weights

    def semantics(self) -> ItemSemantics | None:
        """What the model was built from: its tokens, and its text vectors where the weights hold them."""
        if self.recipe is None:
            return None
        held = next((w for name, w in self.weights.items() if name.endswith("semantic.vectors")), None)
        shape = (self.catalogue.n_items, self.recipe.width)
        vectors = np.zeros(shape, dtype=np.float32) if held is None else held[1:].float().numpy()
        return ItemSemantics(vectors, self.catalogue.titles[1:], self.tokenization, {})


def read_run(folder: Path) -> StoredRun:
    """Read a finished run of a version that fits; nothing in any file is executed."""
    if not folder.is_dir():
        raise UserError(f"There is no run folder {folder}.")
    _refuse_other_than_files(folder)
    result = _result(folder)
    manifest = read_manifest(folder)
    catalogue = Catalogue.load(folder / CATALOGUE_FILE)
    weights = _weights(folder / "model.safetensors")
    settings = _settings(folder, result, weights)
    tokenization = _tokenization(folder, manifest, catalogue, result)
    text = manifest.get("text")
    recipe = None if text is None else TypeAdapter(TextRecipe).validate_python(text)
    return StoredRun(folder, result, settings, manifest, catalogue, weights, tokenization, recipe)


def _refuse_other_than_files(folder: Path) -> None:
    """Refuse pipes, devices and links to them, which would be read for ever, and descriptions of any size."""
    for path in folder.iterdir():
        if not path.is_file() and not path.is_dir():
            raise UserError(f"{path} is neither a file nor a folder; remove it.")
        if path.suffix in {".json", ".yaml"} and path.stat().st_size > _LARGEST_TEXT:
            raise UserError(f"{path} is too large to be what a run writes; run again.")


def _result(folder: Path) -> dict[str, Any]:
    if not (folder / "result.json").exists():
        raise UserError(f"{folder} is no finished run: it has no result.json. Finish it first.")
    result = read_result(folder, lambda found: _refuse_unfit(folder, found))
    if not 0 <= result["data"]["users"] <= _MOST_USERS:
        raise UserError(f"{folder}/result.json is damaged at data users: delete its folder and run again")
    return result


def _settings(folder: Path, result: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    path = folder / "config.yaml"
    try:
        events = yaml.parse(path.read_text(encoding="utf-8", errors="replace"), Loader=_YamlParser)
        aliases = sum(isinstance(event, yaml.AliasEvent) for event in events)
    except (OSError, yaml.YAMLError):
        aliases = 0  # told by what reads it next
    if aliases > _MOST_ALIASES:
        raise UserError(
            f"{path} repeats itself {aliases} times (YAML aliases), which no run writes; run again."
        )
    settings = read_yaml(path)
    for key in ("model", "dataset", "seed"):
        if settings.get(key) != result.get(key):
            told = f"{key} {settings.get(key)}, result.json has {result.get(key)}"
            raise UserError(f"{path} has {told}: the files are not of one run.")
    _refuse_sizes_beyond(weights, path, settings)
    return settings


def _refuse_sizes_beyond(weights: dict[str, torch.Tensor], path: Path, settings: dict[str, Any]) -> None:
    """Refuse a model that is to be built much larger than its weights are."""
    shapes = [tensor.shape for tensor in weights.values() if tensor.ndim]
    width, length = max([_SMALL, *map(min, shapes)]), max([10 * _SMALL, *map(max, shapes)])
    layers = max(_SMALL_LAYERS, len(shapes))
    most = {"MAX_ITEM_LIST_LENGTH": length} | dict.fromkeys(("n_layers", "num_layers"), layers)
    most |= {key: width for key in settings if key.endswith(("_size", "_dim")) and "batch" not in key}
    for key, bound in most.items():
        value = settings.get(key)
        if isinstance(value, (int, float)) and not value <= bound:
            raise UserError(
                f"{path}: {key}={value} does not fit the run's weights (at most {bound}); run again."
            )


def _refuse_unfit(folder: Path, result: dict[str, Any]) -> None:
    """Refuse an unfinished run, and one of another schema, minor version of this package or major version of torch."""
    if result.get("status") != "complete":
        raise UserError(f"{folder} is no finished run: its result.json is not complete. Finish it first.")
    if result.get("schema") != RESULT_SCHEMA:
        raise UserError(
            f"{folder}/result.json has schema {result.get('schema')}, this version of recbole_unisid reads "
            f"{RESULT_SCHEMA}: use the version that made it."
        )
    made = result.get("versions")
    made = made if isinstance(made, dict) else {}
    versions = ("recbole_unisid", recbole_unisid.__version__, 2), ("torch", torch.__version__, 1)
    for package, now, parts in versions:
        then = str(made.get(package, ""))
        if then.split(".")[:parts] != now.split(".")[:parts]:
            agree = "first two numbers" if parts == 2 else "first number"
            raise UserError(
                f"{folder} was made by {package} {then or 'unknown'}, here is {now}: the {agree} must agree. Install "
                "that version, or run again."
            )


def _weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read as weights ({str(error).splitlines()[0]}).") from None
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            said = "not numbers" if tensor.isnan().any() else "not finite"
            raise UserError(f"{path}: {name} has values that are {said}; run again.")
    return weights


def _tokenization(
    folder: Path, manifest: dict[str, Any], catalogue: Catalogue, result: dict[str, Any]
) -> Tokenization | None:
    tokens = manifest.get("tokens")
    if tokens is None:
        return None
    tokenizer = load_tokenizer(folder)
    codebooks, sizes = list(tokenizer.codebooks), list(tokens["codebook_sizes"])
    codes = read_item_codes(folder / "tokens.tsv", catalogue)
    if codes.shape[1] != len(sizes) or not all(0 < size <= _LARGEST_LEVEL for size in sizes):
        raise UserError(f"{folder / MANIFEST_FILE} and tokens.tsv do not have the same tokens; run again.")
    if (codes >= np.array(sizes)).any():
        raise UserError(f"{folder / 'tokens.tsv'} has codes beyond the {sizes} of its levels; run again.")
    if len(sizes) > len(codebooks):  # a level that only tells equal tuples apart
        codebooks.append(np.zeros((sizes[-1], codebooks[0].shape[1]), dtype=np.float32))
    health = result.get("tokenizer") or {}
    return Tokenization(catalogue.item_ids[1:], codes, codebooks, tokenizer, health, tokens["collisions"])


def read_item_codes(path: Path, catalogue: Catalogue) -> NDArray[np.int64]:
    """Read ``tokens.tsv``, [n_items, levels], item 1 first; refused where it names other items than a catalogue."""
    table = read_codes(path)
    if table.item_ids != catalogue.item_ids[1:]:
        raise UserError(f"{path} and {path.with_name(CATALOGUE_FILE)} do not have the same items.")
    return table.codes


class Version(NamedTuple):
    """A run's catalogue, as trained or with further items."""

    number: int  # 1 as trained
    catalogue: Catalogue  # all items, those of the training first
    #: codes [added items, levels] or text vectors [added items, width] of all items since training
    added: NDArray[np.int64] | NDArray[np.float32]
    vectors: NDArray[np.float32] | None = None  # text vectors beside codes, where texts are compared too

    @property
    def text_vectors(self) -> NDArray[np.float32]:
        """Text vectors of the added items, where the model reads them."""
        found = self.added if self.vectors is None else self.vectors
        return found.astype(np.float32)


def version_numbers(run: Path) -> list[int]:
    """Versions of a run's catalogue, ascending; 1 is the one that it was trained with."""
    folder = run / FOLDER
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return [1, *sorted(int(name) for name in names if name.isdecimal() and int(name) > 1)]


def read_version(stored: StoredRun, number: int | None) -> Version:
    """Read a version of a run's catalogue, the newest where none is named."""
    numbers = version_numbers(stored.path)
    number = numbers[-1] if number is None else number
    if number not in numbers:
        known = ", ".join(map(str, numbers))
        raise UserError(f"{stored.path} has no catalogue {number}; it has: {known}.")
    tokens, width = stored.tokenization, 0 if stored.recipe is None else stored.recipe.width
    if number == 1:
        nothing = np.zeros((0, width), dtype=np.float32)
        return Version(1, stored.catalogue, nothing if tokens is None else tokens.codes[:0], nothing)
    folder = stored.path / FOLDER / str(number)
    _refuse_other_than_files(folder)
    manifest = read_manifest(folder)
    if manifest.get("weights") != _weights_digest(stored):
        raise UserError(f"{folder} belongs to other weights than {stored.path}: add its items again.")
    catalogue = Catalogue.load(folder / CATALOGUE_FILE)
    trained = stored.catalogue.n_items
    if catalogue.item_ids[: trained + 1] != stored.catalogue.item_ids:
        raise UserError(f"{folder} does not begin with the items of {stored.path}: add its items again.")
    shape = (catalogue.n_items - trained, width)
    if tokens is None:
        return Version(number, catalogue, _read_vectors(folder / VECTORS_FILE, shape))
    codes = read_item_codes(folder / "tokens.tsv", catalogue)[trained:]
    vectors = _read_vectors(folder / VECTORS_FILE, shape) if stored.compares_texts else None
    return Version(number, catalogue, codes, vectors)


def _read_vectors(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Text vectors of the items that a version added."""
    try:
        vectors: NDArray[np.float32] = load_arrays(path)[0]["vectors"]
        if vectors.shape != shape or not np.isfinite(vectors).all():
            raise DamagedFileError("its vectors are not those of the added items")
    except (DamagedFileError, OSError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from None
    return vectors


def write_version(stored: StoredRun, version: Version) -> Path:
    """Write a version, whole or not at all; its folder. Refused where somebody else took its number meanwhile."""
    final = stored.path / FOLDER / str(version.number)
    final.parent.mkdir(exist_ok=True)
    try:
        with scratch_folder(final) as scratch:
            part = scratch / final.name
            part.mkdir()
            version.catalogue.save(part / CATALOGUE_FILE)
            names, vectors = [CATALOGUE_FILE], version.vectors
            if stored.tokenization is not None:
                codes = np.concatenate([stored.tokenization.codes, version.added])
                write_tokens_tsv(part / "tokens.tsv", version.catalogue.item_ids[1:], codes)
                names.append("tokens.tsv")
            else:
                vectors = version.text_vectors
            if vectors is not None:
                save_arrays(part / VECTORS_FILE, {"vectors": vectors})
                names.append(VECTORS_FILE)
            about = {"catalogue": version.number, "added": len(version.added)}
            write_manifest(part, names, about | {"weights": _weights_digest(stored)})
            os.rename(part, final)  # refused where the folder is there and has files
    except OSError as error:
        if (final / MANIFEST_FILE).is_file():
            raise UserError(f"{final} was made by another process meanwhile; add the items again.") from None
        raise UserError(f"{final} cannot be written: {error.strerror or error}.") from error
    return final


def _weights_digest(stored: StoredRun) -> str:
    return str(stored.manifest["files"].get("model.safetensors"))
