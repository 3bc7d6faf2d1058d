"""Vectors to tokens: tokenizers, collisions, health, and the quantiser that trains end to end."""

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
