"""What a run leaves for serving: names of its items, its tokenizer, and how text became vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_unisid.data.split import Split
from recbole_unisid.embeddings.encoder import open_encoder
from recbole_unisid.embeddings.text_recipe import TextRecipe
from recbole_unisid.embeddings.vector_file import is_vector_file
from recbole_unisid.host.config import UniSIDConfig
from recbole_unisid.host.semantics import ItemSemantics, read_items, shown_items
from recbole_unisid.items.catalogue import CATALOGUE_FILE, Catalogue, one_line
from recbole_unisid.rules import as_list
from recbole_unisid.runs.manifest import write_manifest
from recbole_unisid.text.item_text import category_roots, item_texts, text_columns
from recbole_unisid.tokens.tokenizer import TOKENIZER_FILE


def write_serving_files(
    folder: Path, config: UniSIDConfig, dataset: Any, semantics: ItemSemantics | None
) -> None:
    """Write ``items.tsv``, ``tokenizer.safetensors`` and, at last, ``serving.json``.

    Parameters
    ----------
    folder : Path
        The run's folder, with ``model.safetensors`` and, for models of tokens, ``tokens.tsv``.
    config : UniSIDConfig
        The run's settings.
    dataset : PrefixRowDataset or InteractionDataset
        With sequences and split.
    semantics : ItemSemantics or None
        Text and tokens, for models that read them.
    """
    item_ids = [str(item) for item in dataset.sequences.item_ids[1:]]
    split: Split = dataset.split
    texts, recipe = [""] * len(item_ids), None
    if semantics is not None:
        texts, recipe = _text_recipe(config, item_ids, semantics)
    titles = shown_items(config, item_ids)[0] if semantics is None else semantics.titles
    titles = [title or item for title, item in zip(titles, item_ids, strict=True)]
    counts = split.training_counts(dataset.sequences)
    Catalogue(["[PAD]", *item_ids], ["[PAD]", *titles], ["", *texts], counts).save(folder / CATALOGUE_FILE)
    files, tokens = ["model.safetensors", CATALOGUE_FILE], None
    tokenization = None if semantics is None else semantics.tokenization
    if semantics is not None and tokenization is not None:
        tokenization.tokenizer.save(folder)
        files += ["tokens.tsv", TOKENIZER_FILE]
        tokens = {"codebook_sizes": semantics.codebook_sizes, "collisions": tokenization.collisions}
    text = None if recipe is None else recipe.as_json()
    about = {"model": config["model"], "text": text, "tokens": tokens}
    code = config.hashed().get(
        "code"
    )  # of the user's own classes: whoever loads the run is told of edited ones
    write_manifest(folder, files, about | ({"code": code} if code else {}))


def _text_recipe(
    config: UniSIDConfig, item_ids: list[str], semantics: ItemSemantics
) -> tuple[list[str], TextRecipe]:
    """The texts that were encoded, and the way from an item's columns to its vector."""
    encoder, width = str(config["text_encoder"]), semantics.vectors.shape[1]
    if encoder == "preload" or is_vector_file(encoder):
        return [""] * len(item_ids), TextRecipe(encoder, None, width)
    table, fields, template = read_items(config), as_list(config["text_fields"]), config["text_template"]
    columns = text_columns(table, fields, template)
    texts = [one_line(text) for text in item_texts(table, item_ids, fields, template)]
    limits = {"max_length": config["text_max_length"], "prompt": config["text_prompt"]}
    key = open_encoder(encoder, [text.strip() for text in texts], **limits).key
    roots = category_roots(table, columns)
    return texts, TextRecipe(encoder, key, width, columns, template, roots, **limits)
