"""Histories to items written code by code: the architectures behind one interface."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from recbole_unisid.items.representation import ItemRepresentation, SemanticTokens
from recbole_unisid.items.trie import CodeTrie, TrieLevel
from recbole_unisid.models.backbones.transformer import CausalTransformer
from recbole_unisid.models.generative.code_decoder import CodeDecoder
from recbole_unisid.models.generative.code_head import CodeHead
from recbole_unisid.models.generative.code_tokens import CodeVocabulary, prefix_histories
from recbole_unisid.models.generative.encoder_decoder import CodeTransformer


def children_loss(
    level: TrieLevel, nodes: torch.Tensor, wanted: torch.Tensor, logits: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """Summed cross-entropy of a code among those that lead on to an item, shape [].

    Parameters
    ----------
    level : TrieLevel
        The level asked for.
    nodes, wanted : Tensor of int64, shape [positions]
        Where each prefix stands, and the child that is the answer.
    logits : Tensor, shape [positions, codes of the level]
    smoothing : float
        Share of the answer's probability given to all children.
    """
    children, real = level.children(nodes)  # [positions, most children]
    family = logits.gather(1, level.code[children])
    total = family.masked_fill(~real, -torch.inf).logsumexp(1)
    answer = logits.gather(1, level.code[wanted][:, None])[:, 0]
    if smoothing:
        mean = family.masked_fill(~real, 0.0).sum(1) / real.sum(1)
        answer = (1 - smoothing) * answer + smoothing * mean
    return (total - answer).sum()


class CodeWriter(nn.Module):
    """A model of the next item's codes.

    Attributes
    ----------
    decoder : CodeDecoder
        Goes on from what :meth:`begin` gives.
    items : ItemRepresentation
        What an item is to the model, for the report's neighbours.
    """

    decoder: CodeDecoder
    items: ItemRepresentation

    def loss(
        self, inputs: torch.Tensor, targets: torch.Tensor, users: torch.Tensor | None, smoothing: float
    ) -> torch.Tensor:
        """Mean over targets of an item's negative log-likelihood, in nats.

        Parameters
        ----------
        inputs, targets : Tensor of int64, shape [batch, length]
            Whole sequences, padded with 0 on the right; a target of 0 is not asked for.
        users : Tensor of int64, shape [batch], or None
            User numbers, for architectures that read them.
        smoothing : float
            Label smoothing.
        """
        raise NotImplementedError

    def begin(self, inputs: torch.Tensor, lengths: torch.Tensor, users: torch.Tensor | None) -> Any:
        """Read histories once, int64 [batch, length]; returns the decoder's state of the empty prefix."""
        raise NotImplementedError


class CausalItems(CodeWriter):
    """A causal transformer over item vectors, whose state at every position a small head turns into codes.

    One pass trains all positions, a history costs one vector an item instead of one a code, and beams
    run the head alone. This is not TIGER's architecture but its task: the likelihood of codes.

    Parameters
    ----------
    codes : Tensor of int64, shape [n_items + 1, levels]
        Codes of every item; row 0 (padding) is not used.
    sizes : list of int
        Codes of each level.
    trie : CodeTrie
        Of these codes.
    transformer : CausalTransformer
        Of the width of the code vectors.
    head : CodeHead
        Likewise.
    width : int
        Of the code vectors.
    """

    decoder: CodeHead

    def __init__(
        self,
        codes: torch.Tensor,
        sizes: list[int],
        trie: CodeTrie,
        transformer: CausalTransformer,
        head: CodeHead,
        width: int,
    ) -> None:
        super().__init__()
        self.tokens = SemanticTokens(codes, sizes, width)
        self.items = ItemRepresentation(len(codes) - 1, self.tokens, width, 0)
        self.transformer, self.decoder, self.trie = transformer, head, trie

    def loss(
        self, inputs: torch.Tensor, targets: torch.Tensor, users: torch.Tensor | None, smoothing: float
    ) -> torch.Tensor:
        """See :meth:`CodeWriter.loss`; users are not read."""
        asked = targets > 0
        wanted, trie = targets[asked], self.trie  # [P]
        states = self.transformer(self._vectors(inputs))[asked]  # [P, width]
        table = self.tokens.table.weight
        vectors = table[self.tokens.rows[wanted]]  # [P, levels, width]
        prefixes = vectors.cumsum(1) - vectors
        losses = []
        for number, level in enumerate(trie.levels):
            child, nodes = trie.paths[wanted, number], trie.prefixes(wanted, number)
            given = states, prefixes[:, number]
            if self.decoder.among_children:
                # A code without an alternative costs nothing and teaches nothing.
                branching = level.start[nodes + 1] - level.start[nodes] > 1
                logits = self.decoder(number, *(each[branching] for each in given), table)
                losses.append(children_loss(level, nodes[branching], child[branching], logits, smoothing))
            else:
                logits = self.decoder(number, *given, table)
                code = level.code[child]
                losses.append(
                    functional.cross_entropy(logits, code, reduction="sum", label_smoothing=smoothing)
                )
        return torch.stack(losses).sum() / len(wanted)

    def begin(self, inputs: torch.Tensor, lengths: torch.Tensor, users: torch.Tensor | None) -> Any:
        """See :meth:`CodeWriter.begin`; users are not read."""
        states = self.transformer(self._vectors(inputs))
        last = states[torch.arange(len(states), device=states.device), lengths - 1]
        return self.decoder.begin(last, self.tokens.table.weight)

    def _vectors(self, inputs: torch.Tensor) -> torch.Tensor:
        """Item vectors of histories, [batch, length] -> [batch, length, width]."""
        vectors: torch.Tensor = self.items(inputs.flatten())
        return vectors.view(*inputs.shape, -1)


class EncoderDecoder(CodeWriter):
    """TIGER as published: an encoder reads the history's codes, a decoder writes the next item's.

    Parameters
    ----------
    vocabulary : CodeVocabulary
        Tokens of items and users.
    transformer : CodeTransformer
        Over the vocabulary.
    max_len : int
        Items of a history at most.
    """

    decoder: CodeTransformer

    def __init__(self, vocabulary: CodeVocabulary, transformer: CodeTransformer, max_len: int) -> None:
        super().__init__()
        self.vocabulary, self.decoder, self.max_len = vocabulary, transformer, max_len

    @property
    def items(self) -> ItemRepresentation:  # type: ignore[override]
        """The sum of the embeddings of an item's codes."""
        words, embedding = self.vocabulary, self.decoder.t5.shared
        codes = words.tokens - torch.tensor(words.starts, device=words.tokens.device)
        tokens = SemanticTokens(codes.clamp(min=0), words.sizes, embedding.embedding_dim)
        tokens.to(embedding.weight.device).table.weight.data.copy_(embedding.weight[words.starts[0] :])
        return ItemRepresentation(len(codes) - 1, tokens, embedding.embedding_dim, 0)

    def loss(
        self, inputs: torch.Tensor, targets: torch.Tensor, users: torch.Tensor | None, smoothing: float
    ) -> torch.Tensor:
        """See :meth:`CodeWriter.loss`; every target is a row of its own with the history before it."""
        histories, wanted, rows = prefix_histories(inputs, targets, self.max_len)
        answers = self.vocabulary.tokens[wanted]  # [P, levels]
        tokens = self.vocabulary.histories(histories, None if users is None else users[rows])
        logits = self.decoder(tokens, answers)  # [P, levels, tokens]
        mean = functional.cross_entropy(logits.flatten(0, 1), answers.flatten(), label_smoothing=smoothing)
        nats: torch.Tensor = mean * self.vocabulary.levels
        return nats

    def begin(self, inputs: torch.Tensor, lengths: torch.Tensor, users: torch.Tensor | None) -> Any:
        """See :meth:`CodeWriter.begin`."""
        if inputs.shape[1] > self.max_len:
            place = (lengths - self.max_len).clamp(min=0)[:, None]
            place = place + torch.arange(self.max_len, device=inputs.device)
            inputs = inputs.gather(1, place)
        return self.decoder.begin(self.vocabulary.histories(inputs, users))
