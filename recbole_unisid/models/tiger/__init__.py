"""TIGER: generative retrieval, the next item written code by code.

`model` reads the settings, trains and ranks; `decoder` is the interface of an architecture; `causal` and
`encoder_decoder` are the two there are, and `packed` with `packed_layers` trains the latter without padding;
`scoring` has beam search and exact likelihoods for either.
"""

from recbole_unisid.models.tiger.model import TIGER

__all__ = ["TIGER"]
