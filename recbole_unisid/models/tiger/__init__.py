"""TIGER: generative retrieval, the next item written code by code."""

from recbole_unisid.models.tiger.model import TIGER

__all__ = ["TIGER"]
