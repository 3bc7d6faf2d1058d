"""Vectors to semantic IDs: the quantiser, tokenizers, collisions and health."""
