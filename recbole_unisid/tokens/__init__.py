"""Vectors to tokens: tokenizers, collisions, health, and the quantiser that trains end to end."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recbole_unisid.tokens.health import health_table
    from recbole_unisid.tokens.registry import TOKENIZERS, build_tokenizer, load_tokenizer
    from recbole_unisid.tokens.residual_quantiser import QuantiserOutput, ResidualQuantiser
    from recbole_unisid.tokens.tokenization import Tokenization, tokenize_items
    from recbole_unisid.tokens.tokenizer import Tokenizer, additive_codebooks
    from recbole_unisid.tokens.tokens_file import CodeTable, read_codes, write_index_json, write_tokens_tsv

__all__ = [
    "TOKENIZERS",
    "CodeTable",
    "QuantiserOutput",
    "ResidualQuantiser",
    "Tokenization",
    "Tokenizer",
    "additive_codebooks",
    "build_tokenizer",
    "health_table",
    "load_tokenizer",
    "read_codes",
    "tokenize_items",
    "write_index_json",
    "write_tokens_tsv",
]

#: Module -> its public names.
_PLACES = {
    "health": ("health_table",),
    "registry": ("TOKENIZERS", "build_tokenizer", "load_tokenizer"),
    "residual_quantiser": ("QuantiserOutput", "ResidualQuantiser"),
    "tokenization": ("Tokenization", "tokenize_items"),
    "tokenizer": ("Tokenizer", "additive_codebooks"),
    "tokens_file": ("CodeTable", "read_codes", "write_index_json", "write_tokens_tsv"),
}


def __getattr__(name: str) -> Any:
    # A report reads codes and their health; torch and scikit-learn take seconds to import.
    for place, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"recbole_unisid.tokens.{place}"), name)
    raise AttributeError(f"module 'recbole_unisid.tokens' has no attribute '{name}'")
