"""What a run leaves for serving, and ``serving.json``, which tells that it is still what was written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import NotRequired, TypedDict

from recbole_unisid.embeddings.text_recipe import TextRecipe
from recbole_unisid.errors import UserError
from recbole_unisid.files import seal_broken, sealed, sha256_of, write_json, write_text
from recbole_unisid.items.catalogue import CATALOGUE_FILE, Catalogue
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.semantics import ItemSemantics
from recbole_unisid.report.run_files import read_result
from recbole_unisid.tokens.tokenizer import TOKENIZER_FILE

MANIFEST_FILE = "serving.json"
#: A text a line: what the text encoder has learned from, where that is not the items' own texts.
CORPUS_FILE = "corpus.txt"
SCHEMA = 1
_MEND = "delete the run's result.json and give its command again; nothing is trained twice."


class _Tokens(TypedDict):
    codebook_sizes: list[int]
    collisions: str


class _Manifest(TypedDict):
    schema: int
    files: dict[str, str]
    text: NotRequired[TextRecipe | None]
    tokens: NotRequired[_Tokens | None]


#: What is relied on; other keys may stand beside it.
_MANIFEST = TypeAdapter(_Manifest)


def write_manifest(folder: Path, files: Iterable[str], about: Mapping[str, Any]) -> None:
    """Write the manifest of a folder whose `files` are complete, with what else there is to know `about` it."""
    digests = {name: sha256_of(folder / name) for name in files}
    write_json(folder / MANIFEST_FILE, sealed({"schema": SCHEMA, "files": digests, **about}))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a run, or of one of its catalogue versions, and check every file that it vouches for."""
    path = folder / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
        _MANIFEST.validate_json(text, strict=True)
        manifest: dict[str, Any] = json.loads(text)
        if seal_broken(manifest):
            raise ValueError("not as it was written")
    except FileNotFoundError:
        if _trained_elsewhere(folder):
            raise UserError(
                f"{folder} has figures of a model that was trained elsewhere, and no model."
            ) from None
        raise UserError(
            f"{folder} has no {MANIFEST_FILE}: the run was made before runs could be loaded, or was cut off; {_MEND}"
        ) from None
    except (OSError, ValueError):  # pydantic's errors are the latter
        raise UserError(f"{path} is damaged; {_MEND}") from None
    if (schema := manifest["schema"]) != SCHEMA:
        raise UserError(
            f"{path} has schema {schema}, this version of recbole_unisid reads {SCHEMA}: use the version that made it."
        )
    for name, digest in manifest["files"].items():
        path = folder / Path(name).name
        try:
            same = sha256_of(path) == digest
        except FileNotFoundError:
            raise UserError(f"{path} is missing; {_MEND}") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror or error}).") from None
        if not same:
            raise UserError(f"{path} is damaged: it has changed since it was written; {_MEND}")
    return manifest


def _trained_elsewhere(folder: Path) -> bool:
    try:
        return bool(read_result(folder).get("predictions"))
    except UserError:
        return False


def write_serving_files(
    folder: Path, config: UniSIDConfig, dataset: Any, semantics: ItemSemantics | None, titles: list[str]
) -> None:
    """Write ``items.tsv``, ``tokenizer.safetensors`` and, at last, ``serving.json``, beside weights and tokens.

    Titles are in the order of item numbers; an item's name stands in for an empty one.
    """
    item_ids = [str(item) for item in dataset.sequences.item_ids[1:]]
    texts = [""] * len(item_ids) if semantics is None else semantics.texts
    recipe = None if semantics is None else semantics.recipe
    titles = [title or item for title, item in zip(titles, item_ids, strict=True)]
    counts = dataset.split.training_counts(dataset.sequences)
    Catalogue(["[PAD]", *item_ids], ["[PAD]", *titles], ["", *texts], counts).save(folder / CATALOGUE_FILE)
    files, tokens = ["model.safetensors", "config.yaml", CATALOGUE_FILE], None
    tokenization = None if semantics is None else semantics.tokenization
    if semantics is not None and tokenization is not None:
        tokenization.tokenizer.save(folder)
        files += ["tokens.tsv", TOKENIZER_FILE]
        tokens = {"codebook_sizes": semantics.codebook_sizes, "collisions": tokenization.collisions}
    about = {"model": config["model"], "text": asdict(recipe) if recipe else None, "tokens": tokens}
    if semantics is not None and semantics.corpus is not None:
        write_text(folder / CORPUS_FILE, "\n".join(semantics.corpus))
        files.append(CORPUS_FILE)
    code = config.hashed().get("code")  # of the user's own classes: who loads the run is told of edited ones
    write_manifest(folder, files, about | ({"code": code} if code else {}))
