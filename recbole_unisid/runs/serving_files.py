"""What a run leaves for serving: names of its items, its tokenizer, and how text became vectors."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from recbole_unisid.data.split import Split
from recbole_unisid.items.catalogue import CATALOGUE_FILE, Catalogue
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.semantics import ItemSemantics
from recbole_unisid.runs.manifest import write_manifest
from recbole_unisid.tokens.tokenizer import TOKENIZER_FILE


def write_serving_files(
    folder: Path, config: UniSIDConfig, dataset: Any, semantics: ItemSemantics | None, titles: list[str]
) -> None:
    """Write ``items.tsv``, ``tokenizer.safetensors`` and, at last, ``serving.json``.

    The folder has ``model.safetensors`` and, for models of tokens, ``tokens.tsv``. Titles are in the order of
    item numbers; an item's name stands in for an empty one.
    """
    item_ids = [str(item) for item in dataset.sequences.item_ids[1:]]
    split: Split = dataset.split
    texts = [""] * len(item_ids) if semantics is None else semantics.texts
    recipe = None if semantics is None else semantics.recipe
    titles = [title or item for title, item in zip(titles, item_ids, strict=True)]
    counts = split.training_counts(dataset.sequences)
    Catalogue(["[PAD]", *item_ids], ["[PAD]", *titles], ["", *texts], counts).save(folder / CATALOGUE_FILE)
    files, tokens = ["model.safetensors", "config.yaml", CATALOGUE_FILE], None
    tokenization = None if semantics is None else semantics.tokenization
    if semantics is not None and tokenization is not None:
        tokenization.tokenizer.save(folder)
        files += ["tokens.tsv", TOKENIZER_FILE]
        tokens = {"codebook_sizes": semantics.codebook_sizes, "collisions": tokenization.collisions}
    about = {"model": config["model"], "text": asdict(recipe) if recipe else None, "tokens": tokens}
    code = config.hashed().get("code")  # of the user's own classes: who loads the run is told of edited ones
    write_manifest(folder, files, about | ({"code": code} if code else {}))
