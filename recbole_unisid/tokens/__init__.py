"""Vectors to tokens: tokenizers, collisions, health."""

from recbole_unisid.tokens.registry import TOKENIZERS, build_tokenizer, load_tokenizer
from recbole_unisid.tokens.tokenization import Tokenization, tokenize_items
from recbole_unisid.tokens.tokenizer import Tokenizer
from recbole_unisid.tokens.tokens_file import write_tokens_tsv

__all__ = [
    "TOKENIZERS",
    "Tokenization",
    "Tokenizer",
    "build_tokenizer",
    "load_tokenizer",
    "tokenize_items",
    "write_tokens_tsv",
]
