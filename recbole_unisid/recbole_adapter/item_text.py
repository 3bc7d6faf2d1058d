"""A data set's item file, read once: texts, their vectors, and what an item is shown as."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.config.settings import as_list
from recbole_unisid.data.atomic_files import noted_text_fields
from recbole_unisid.data.atomic_text import alike
from recbole_unisid.embeddings.encode import encode_with, open_encoder
from recbole_unisid.embeddings.text_recipe import TextRecipe
from recbole_unisid.embeddings.vectors import is_vector_file, read_vectors
from recbole_unisid.errors import UserError
from recbole_unisid.items.catalogue import one_line
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.text.item_file import ItemTable, read_item_file
from recbole_unisid.text.item_text import (
    category_roots,
    item_categories,
    item_texts,
    item_titles,
    text_columns,
)

LOG = logging.getLogger("recbole_unisid")


def cache_folder(config: UniSIDConfig) -> Path:
    """Where vectors and tokenizers are kept between runs."""
    if config["cache_dir"]:
        return Path(config["cache_dir"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "recbole_unisid"


def item_names(dataset: Any) -> list[str]:
    """The names of a data set's items, in the order of their numbers."""
    return [str(token) for token in dataset.field2id_token[dataset.iid_field][1:]]


def _item_file(config: UniSIDConfig) -> Path:
    return Path(config["data_path"]) / f"{config['dataset']}.item"


def item_table(config: UniSIDConfig) -> ItemTable | None:
    """The columns of the data set's ``.item`` file; None where there is none."""
    path = _item_file(config)
    if not path.is_file():
        return None
    encoding = config["encoding"] or "utf-8"
    return read_item_file(path, config["field_separator"], encoding, config["ITEM_ID_FIELD"])


def shown_items(table: ItemTable | None, item_ids: list[str]) -> tuple[list[str], list[str]]:
    """Titles and categories of items, to show them; without an item file, their names and nothing."""
    if table is None:
        return item_ids, [""] * len(item_ids)
    if twins := alike(item_ids, table.ids):
        LOG.warning(
            "%d items of the interactions are written otherwise in the item file, such as %r in the interactions and "
            "%r there: write them alike, or they are different items", len(twins), *twins[0],
        )  # fmt: skip
    return item_titles(table, item_ids), item_categories(table, item_ids)


def encode_items(
    config: UniSIDConfig, dataset: Any, table: ItemTable | None, item_ids: list[str]
) -> tuple[list[str], NDArray[np.float32], TextRecipe]:
    """Texts and vectors [n_items, width] of every item, and how further items become vectors.

    Texts are a line each, as they were encoded; empty where the vectors come from elsewhere.
    """
    encoder, cache = str(config["text_encoder"]), cache_folder(config) / "embeddings"
    if encoder == "preload" or is_vector_file(encoder):
        given = encoder != "preload"
        vectors = read_vectors(Path(encoder), item_ids) if given else _preloaded(config, dataset)
        return [""] * len(item_ids), vectors, TextRecipe(encoder, None, vectors.shape[1])
    texts, columns, roots = _texts(config, table, item_ids)
    limits = {"max_length": config["text_max_length"], "prompt": config["text_prompt"]}
    corpus, device = [text.strip() for text in texts], str(config["device"])
    model = open_encoder(
        encoder, corpus, config["text_batch_size"], device, processes=config["text_processes"], **limits
    )
    vectors = encode_with(model, texts, cache, bool(config["show_progress"]))
    width, template = vectors.shape[1], config["text_template"]
    return texts, vectors, TextRecipe(encoder, model.key, width, columns, template, roots, **limits)


def _texts(
    config: UniSIDConfig, table: ItemTable | None, item_ids: list[str]
) -> tuple[list[str], list[str], dict[str, str]]:
    """Text of each item, the columns that it was made of, and the roots left out of categories."""
    if table is None:
        raise UserError(
            f"{config['model']} reads item text, but there is no {_item_file(config)}; add it (item_id:token, "
            "title:token_seq, ...), or give vectors with --text_encoder=FILE.npy."
        )
    fields, template = as_list(config["text_fields"]), config["text_template"]
    if fields is None and template is None:
        fields = noted_text_fields(Path(config["data_path"]))
    columns = text_columns(table, fields, template)
    left = [name for name, kind in table.types.items() if kind == "token_seq" and name not in columns]
    not_read = f" (not read: {', '.join(left)})" if left else ""
    LOG.info("text of items: %s%s", "; ".join(columns), not_read)
    roots = category_roots(table, [name for name in columns if name in table.columns])
    texts = [one_line(text) for text in item_texts(table, item_ids, fields, template, roots)]
    empty = sum(not text.strip() for text in texts)
    if empty == len(texts):
        raise UserError(
            f"No item of '{config['dataset']}' has any text in the chosen fields; name others with "
            "--text_fields=[...], or use a model without text (ItemID, SASRec)."
        )
    if empty:
        LOG.warning("%d of %d items have no text; their vector is zero", empty, len(texts))
    return texts, columns, roots


def _preloaded(config: UniSIDConfig, dataset: Any) -> NDArray[np.float32]:
    """Vectors that RecBole has read by ``preload_weight`` (an ``.itememb`` file, say)."""
    fields = [field for field in (config["preload_weight"] or {}) if field in dataset.alias["item_id"]]
    if not fields:
        raise UserError(
            "text_encoder=preload needs RecBole's preload_weight: {FIELD: VECTORS} and alias_of_item_id: [FIELD]."
        )
    weights: NDArray[np.float32] = dataset.get_preload_weight(fields[0])[1:].astype(np.float32)
    return weights
