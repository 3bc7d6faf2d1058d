"""Where the vectors of fixed codes start."""

from __future__ import annotations

from typing import Any

import torch

from recbole_unisid.items.initialisation import code_table_from_codebooks
from recbole_unisid.items.representation import SemanticTokens


def start_code_table(config: Any, semantics: Any, tokens: SemanticTokens) -> None:
    """Let code vectors start from the codebooks where ``table_init`` is ``text``; else they stay as they are.

    Parameters
    ----------
    config : UniSIDConfig
        ``table_init``, ``tokenizer``, ``semantic_dim``, ``table_scale``.
    semantics : ItemSemantics
        Codes and codebooks.
    tokens : SemanticTokens
        Changed in place.
    """
    # Random codes are the control without text: nor may they start from it.
    if config["table_init"] != "text" or config["tokenizer"] == "random":
        return
    table = code_table_from_codebooks(
        semantics.codes, semantics.codebooks, config["semantic_dim"], config["table_scale"]
    )
    tokens.table.weight.data.copy_(torch.from_numpy(table))
