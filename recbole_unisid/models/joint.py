"""Tokens that learn end to end, as the settings ``joint_*`` describe them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_unisid import distributed
from recbole_unisid.config.settings import as_list
from recbole_unisid.errors import UserError
from recbole_unisid.items.initialisation import linear_through_relu, projection_from_vectors
from recbole_unisid.items.joint import JointOptions, JointTokens
from recbole_unisid.items.representation import with_padding
from recbole_unisid.tokens.quantiser import level_distances


def joint_tokens(config: Any, vectors: NDArray[np.float32]) -> JointTokens:
    """Build the semantic part of ``semantics: joint``.

    Parameters
    ----------
    config : UniSIDConfig
        ``joint_*``, ``codebook_sizes``, ``distances``, ``semantic_dim``.
    vectors : ndarray of float32, shape [n_items, text width]
        Text embeddings.

    Raises
    ------
    UserError
        For settings out of range, collision strategies (learned codes have none) or several processes.
    """
    if distributed.world() > 1:
        raise UserError(
            "semantics=joint moves its codebooks by whole batches and trains in one process; start the run "
            "without torchrun."
        )
    if config["collisions"] != "none":
        raise UserError(f"collisions={config['collisions']} is for fixed codes; with semantics=joint: none.")
    sizes = as_list(config["codebook_sizes"]) or []
    if not sizes:
        raise UserError("codebook_sizes is empty: give the codes of each level, such as [256,256,256].")
    distances = level_distances(len(sizes), as_list(config["distances"]))
    learning = str(config["joint_learning"])
    options = JointOptions(
        hidden=tuple(as_list(config["joint_hidden"]) or ()),
        weight=float(config["joint_weight"]),
        commitment=float(config["joint_commitment"]),
        updates=str(config["joint_updates"]),
        losses=str(config["joint_losses"]),
        padding=bool(config["joint_padding"]),
        quantiser={
            "learning": "ema" if learning == "ema" else "gradient",
            "direct": learning == "direct",
            "estimator": config["joint_estimator"],
            "code_length": config["joint_code_length"],
            "decay": float(config["joint_decay"]),
            "dead_below": float(config["joint_dead_below"]),
            "kmeans_iterations": config["joint_kmeans_iterations"],
        },
    )
    texts = with_padding(torch.from_numpy(vectors))
    return JointTokens(texts, sizes, distances, config["semantic_dim"], options, config["seed"])


def start_joint_tokens(config: Any, tokens: JointTokens) -> None:
    """Let the encoder start as the text's PCA where ``table_init`` is ``text``; else it stays random.

    Raises
    ------
    UserError
        When a hidden layer is too narrow to carry the projection.
    """
    if config["table_init"] != "text":
        return
    width = config["semantic_dim"]
    if min(tokens.options.hidden) < 2 * width:
        raise UserError(
            f"table_init=text needs joint_hidden of at least {2 * width} (twice semantic_dim); "
            "widen it or set table_init=normal."
        )
    vectors = tokens.vectors[1:].numpy()
    weight, bias = projection_from_vectors(vectors, width, config["table_scale"])
    layers = [layer for layer in tokens.encoder if isinstance(layer, torch.nn.Linear)]
    for layer in [*layers, *(layer for layer in tokens.decoder if isinstance(layer, torch.nn.Linear))]:
        torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    linear_through_relu(torch.from_numpy(weight), torch.from_numpy(bias), layers)
