"""Texts to vectors: encoders behind one interface, and a cache that is never stale."""

from recbole_unisid.embeddings.encode import encode_texts
from recbole_unisid.embeddings.vectors import read_vectors

__all__ = ["encode_texts", "read_vectors"]
