"""What a data set's items mean: text, vectors and tokens, made before the model is built."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.embeddings.encode import encode_texts
from recbole_unisid.errors import UserError
from recbole_unisid.host.config import UniSIDConfig
from recbole_unisid.items.joint_tokens import JointTokens
from recbole_unisid.rules import as_list
from recbole_unisid.text.item_file import ItemTable, read_item_file
from recbole_unisid.text.item_text import item_categories, item_texts, item_titles
from recbole_unisid.tokens.registry import check_option_names
from recbole_unisid.tokens.tokenization import Tokenization, tokenization_of, tokenize_items

LOG = logging.getLogger("recbole_unisid")


@dataclass
class ItemSemantics:
    """Text vectors and tokens of every item, in the order of item numbers (padding not counted).

    Attributes
    ----------
    vectors : ndarray of float32, shape [n_items, d]
        Text embeddings.
    titles : list of str
        A line to show for each item.
    tokenization : Tokenization or None
        Codes, for the models that read tokens.
    seconds : dict of float
        ``text_encoding`` and ``tokenizer``.
    item_ids, categories : list of str
        The items' tokens, and what each is filed under, where tokens are still to be learned.
    """

    vectors: NDArray[np.float32]
    titles: list[str]
    tokenization: Tokenization | None
    seconds: dict[str, float]
    item_ids: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)

    @property
    def codes(self) -> NDArray[np.int64]:
        """Codes, shape [n_items, levels]."""
        return self._tokens.codes

    @property
    def codebooks(self) -> list[NDArray[np.float32]]:
        """Code vectors of each level."""
        return self._tokens.codebooks

    @property
    def codebook_sizes(self) -> list[int]:
        """Codes of each level."""
        return [len(book) for book in self.codebooks]

    @property
    def _tokens(self) -> Tokenization:
        if self.tokenization is None:
            raise UserError(
                "There are no codes: the model reads text vectors; needs = 'tokens' in its class asks for them."
            )
        return self.tokenization


def cache_folder(config: UniSIDConfig) -> Path:
    """Where vectors and tokenizers are kept between runs."""
    if config["cache_dir"]:
        return Path(config["cache_dir"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "recbole_unisid"


def read_items(config: UniSIDConfig) -> ItemTable:
    """Read the data set's ``.item`` file.

    Raises
    ------
    UserError
        When there is none: text needs it.
    """
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    if not path.is_file():
        raise UserError(
            f"{config['model']} reads item text, but there is no {path}; add it (item_id:token, title:token_seq, "
            "...), or give vectors with --text_encoder=FILE.npy."
        )
    return read_item_file(path, config["field_separator"], id_field=config["ITEM_ID_FIELD"])


def tokenizer_options(config: UniSIDConfig) -> dict[str, Any]:
    """Further settings of the tokenizer; ``tokens_file`` is the path of tokenizer ``file``."""
    given = config["tokens_file"]
    check_option_names(config["tokenizer_options"] or ())
    return dict(config["tokenizer_options"] or {}) | ({"path": str(given)} if given else {})


def is_joint(config: UniSIDConfig) -> bool:
    """Whether the model's tokens learn with it (``semantics: joint``) rather than come from a tokenizer."""
    return bool(config["semantics"] == "joint")


def shown_items(config: UniSIDConfig, item_ids: list[str]) -> tuple[list[str], list[str]]:
    """Titles and categories of items, to show them; without an item file, their names and nothing."""
    if not (Path(config["data_path"]) / f"{config['dataset']}.item").is_file():
        return item_ids, [""] * len(item_ids)
    table = read_items(config)
    return item_titles(table, item_ids), item_categories(table, item_ids)


def text_vectors(config: UniSIDConfig, dataset: Any, item_ids: list[str]) -> NDArray[np.float32]:
    """Text vectors of every item.

    Raises
    ------
    UserError
        When no item has any text, or the encoder cannot be had.
    """
    encoder = str(config["text_encoder"])
    if encoder == "preload":
        return _preloaded(config, dataset)
    if encoder.endswith((".npy", ".safetensors")):
        texts = [""] * len(item_ids)
    else:
        fields = as_list(config["text_fields"])
        texts = item_texts(read_items(config), item_ids, fields, config["text_template"])
        empty = sum(not text.strip() for text in texts)
        if empty == len(texts):
            raise UserError(
                f"No item of '{config['dataset']}' has any text in the chosen fields; name others with "
                "--text_fields=[...], or use a model without text (ItemID, SASRec)."
            )
        if empty:
            LOG.warning("%d of %d items have no text; their vector is zero", empty, len(texts))
    return encode_texts(
        texts,
        encoder,
        cache_folder(config) / "embeddings",
        ids=item_ids,
        batch_size=config["text_batch_size"],
        max_length=config["text_max_length"],
        prompt=config["text_prompt"],
        processes=config["text_processes"],
        device=str(config["device"]),
        show_progress=bool(config["show_progress"]),
    )


def _preloaded(config: UniSIDConfig, dataset: Any) -> NDArray[np.float32]:
    """Vectors that RecBole has read by ``preload_weight`` (an ``.itememb`` file, say)."""
    fields = [field for field in (config["preload_weight"] or {}) if field in dataset.alias["item_id"]]
    if not fields:
        raise UserError(
            "text_encoder=preload needs RecBole's preload_weight: {FIELD: VECTORS} and alias_of_item_id: [FIELD]."
        )
    weights: NDArray[np.float32] = dataset.get_preload_weight(fields[0])[1:].astype(np.float32)
    return weights


def item_semantics(config: UniSIDConfig, dataset: Any, needs: str) -> ItemSemantics:
    """Encode a data set's items, and tokenize them where the model reads tokens.

    Parameters
    ----------
    config : UniSIDConfig
        ``text_*`` and tokenizer settings.
    dataset : PrefixRowDataset
        Loaded, so that items have numbers.
    needs : {"tokens", "vectors"}
        What the model reads.

    Returns
    -------
    ItemSemantics
        From the cache where nothing that it depends on has changed.

    Raises
    ------
    UserError
        For a class of the user's own that asks for what it has no settings for, and what its text may lack.
    """
    wanted = ("text_encoder", *(("tokenizer", "codebook_sizes", "collisions") if needs == "tokens" else ()))
    missing = [key for key in wanted if config[key] is None]
    if missing:
        raise UserError(
            f"{config['model']} needs {needs}, but has no {', '.join(missing)}: derive it from UniSID (tokens) or "
            "DenseText (vectors), or set them in its defaults."
        )
    item_ids = [str(token) for token in dataset.field2id_token[dataset.iid_field][1:]]
    started = time.perf_counter()
    vectors = text_vectors(config, dataset, item_ids)
    titles, categories = shown_items(config, item_ids)
    encoded = time.perf_counter()
    tokenization = None
    if needs == "tokens" and not is_joint(config):
        tokenization = tokenize_items(
            vectors,
            item_ids,
            tokenizer=str(config["tokenizer"]),
            codebook_sizes=as_list(config["codebook_sizes"]) or [],
            distances=as_list(config["distances"]),
            seed=config["seed"] if config["tokenizer_seed"] is None else config["tokenizer_seed"],
            collisions=str(config["collisions"]),
            cache_dir=cache_folder(config) / "tokens",
            titles=titles,
            categories=categories,
            show_progress=bool(config["show_progress"]),
            **tokenizer_options(config),
        )
    seconds = {"text_encoding": encoded - started, "tokenizer": time.perf_counter() - encoded}
    return ItemSemantics(vectors, titles, tokenization, seconds, item_ids, categories)


def add_learned_tokens(semantics: ItemSemantics, tokens: JointTokens) -> None:
    """Describe tokens that were learned with a model as those of a tokenizer are described.

    Parameters
    ----------
    semantics : ItemSemantics
        Its `tokenization` is set.
    tokens : JointTokens
        Trained.
    """
    codes = tokens.codes()[1:].cpu().numpy()
    semantics.tokenization = tokenization_of(
        tokens.tokenizer(),
        codes,
        semantics.vectors,
        semantics.item_ids,
        semantics.titles,
        semantics.categories,
    )
    semantics.tokenization.health["name"] = "joint"
