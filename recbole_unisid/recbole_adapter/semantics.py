"""What a data set's items mean: text, vectors and tokens, made before the model is built."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid.config.settings import as_list
from recbole_unisid.embeddings.text_recipe import TextRecipe
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.item_text import (
    cache_folder,
    encode_items,
    item_names,
    item_table,
    shown_items,
)
from recbole_unisid.tokens.registry import check_option_names
from recbole_unisid.tokens.tokenization import Tokenization, tokenization_of, tokenize_items


@dataclass
class ItemSemantics:
    """Text vectors [n_items, width] and tokens of every item, in the order of item numbers (padding not counted).

    `titles` are shown, `texts` were encoded (empty where the vectors come from elsewhere) by `recipe`; `seconds` are
    of ``text_encoding`` and ``tokenizer``. `tokenization` is for models that read tokens.
    """

    vectors: NDArray[np.float32]
    titles: list[str]
    tokenization: Tokenization | None
    seconds: dict[str, float]
    item_ids: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    recipe: TextRecipe | None = None
    corpus: list[str] | None = None  # what an encoder that learns has learned from, where not from `texts`

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


def item_semantics(config: UniSIDConfig, dataset: Any) -> ItemSemantics | None:
    """Encode a data set's items, and tokenize them where the model reads tokens; None where it reads neither."""
    needs = config.chosen.reads(config)
    if needs is None:
        return None
    wanted = ("text_encoder", *(("tokenizer", "codebook_sizes", "collisions") if needs == "tokens" else ()))
    missing = [key for key in wanted if config[key] is None]
    if missing:
        raise UserError(
            f"{config['model']} needs {needs}, but has no {', '.join(missing)}: derive it from UniSID (tokens) or "
            "DenseText (vectors), or set them in its defaults."
        )
    item_ids = item_names(dataset)
    started = time.perf_counter()
    table = item_table(config)
    titles, categories = shown_items(table, item_ids)
    texts, vectors, recipe = encode_items(config, dataset, table, item_ids)
    del table  # a million items' columns are not kept while a model trains
    encoded = time.perf_counter()
    tokenization = None
    if needs == "tokens":
        options = dict(config["tokenizer_options"] or {})
        check_option_names(options)
        if config["tokens_file"]:
            options["path"] = str(config["tokens_file"])
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
            **options,
        )
    seconds = {"text_encoding": encoded - started, "tokenizer": time.perf_counter() - encoded}
    return ItemSemantics(vectors, titles, tokenization, seconds, item_ids, categories, texts, recipe)


def add_learned_tokens(semantics: ItemSemantics, learned: tuple[Any, torch.Tensor]) -> None:
    """Describe tokens that were learned with a model (a tokenizer and codes) as those of a tokenizer are described."""
    tokenizer, codes = learned
    items = semantics.vectors, semantics.item_ids, semantics.titles, semantics.categories
    semantics.tokenization = tokenization_of(tokenizer, codes.cpu().numpy(), *items)
    semantics.tokenization.health["name"] = "joint"
