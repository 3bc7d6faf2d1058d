"""Optimised product quantisation: parallel codes of a rotated vector, instead of residual ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.errors import UserError
from recbole_unisid.tokens.tokenizer import Tokenizer

LOG = logging.getLogger("recbole_unisid")


class OptimisedProductQuantiser(Tokenizer):
    """Each level encodes its own part of the vector's dimensions, after a learned rotation (faiss).

    Ge et al., "Optimized product quantization", CVPR 2013; as a tokenizer in VQ-Rec (arXiv 2210.12316).
    The parts are orthogonal, so a code's vector, rotated back to full width, leaves the other parts alone:
    residual Euclidean quantisation with these codebooks is product quantisation.
    """

    name = "opq"
    only_distance = "euclidean"

    def _fit(self, vectors: NDArray[np.float32], item_ids: Sequence[str], show_progress: bool) -> None:
        import faiss  # takes a second, and no other tokenizer needs it

        latents = self.latents(vectors)
        levels, size, width = len(self.codebook_sizes), self.codebook_sizes[0], latents.shape[1]
        if set(self.codebook_sizes) != {size} or size < 2 or size & (size - 1):
            raise UserError(
                f"codebook_sizes={list(self.codebook_sizes)}: opq needs one power of two for all."
            )
        if width % levels or len(latents) < size:
            fitting = max(part for part in range(1, levels + 1) if width % part == 0)
            fewer = min(size, 1 << (len(latents).bit_length() - 1))
            sizes = ",".join([str(fewer)] * fitting)
            raise UserError(
                f"opq cannot cut {len(latents)} vectors, {width} wide, into {levels} parts of {size} codes; "
                "the width must be a multiple of the levels, the items at least as many as the codes: "
                f"--codebook_sizes=[{sizes}]."
            )
        rotation = faiss.OPQMatrix(width, levels)
        rotation.pq = quantiser = faiss.ProductQuantizer(width, levels, size.bit_length() - 1)
        quantiser.cp.seed = self.seed % 2**31
        quantiser.cp.min_points_per_centroid = 1  # faiss's warnings would be repeated per iteration
        if show_progress:  # faiss's own words are thousands of lines
            LOG.info("fitting a rotation and %d codebooks of %d codes (faiss)", levels, size)
        # With fewer vectors than their width faiss 1.15.1 writes past its memory; each once more changes no mean.
        rotation.train(np.tile(latents, (-(-width // len(latents)), 1)))
        quantiser.train(rotation.apply(latents))
        matrix = faiss.vector_to_array(rotation.A).reshape(width, width)  # rotated = matrix @ vector
        parts = faiss.vector_to_array(quantiser.centroids).reshape(levels, size, width // levels)
        rows = matrix.reshape(levels, width // levels, width)
        self.codebooks = [
            np.ascontiguousarray(part @ back, dtype=np.float32)
            for part, back in zip(parts, rows, strict=True)
        ]
