"""TIGER: the next item is written code by code (Rajput et al. 2023, arXiv 2305.05065)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from recbole_unisid.errors import check_choice
from recbole_unisid.items.initialisation import code_table_from_codebooks
from recbole_unisid.items.part import with_padding
from recbole_unisid.items.trie import CodeTrie
from recbole_unisid.models.backbones import chosen_backbone
from recbole_unisid.models.backbones.base import initialise
from recbole_unisid.models.tiger import scoring
from recbole_unisid.models.tiger.causal import CausalItems, CodeHead
from recbole_unisid.models.tiger.decoder import CodeWriter
from recbole_unisid.models.tiger.encoder_decoder import (
    SHAPES,
    CodeTransformer,
    CodeVocabulary,
    EncoderDecoder,
)
from recbole_unisid.models.whole_sequence import OwnSequential
from recbole_unisid.products import keep_shapes

ARCHITECTURES = ("causal_items", "encoder_decoder")
RANKERS = ("auto", "beam", "exact")
SOFTMAXES = ("children", "codes")


class TIGER(OwnSequential):
    """Generative retrieval over the items' codes, ranked by beam search or by exact likelihoods.

    The settings are those of ``properties/model/TIGER.yaml``; the dataset has ``semantics`` attached.

    Raises UserError: when items share a tuple of codes, or a setting has no such value.
    """

    needs = "tokens"

    @classmethod
    def settle_process(cls, config: Any) -> None:
        """Keep T5's shapes, before oneDNN multiplies anything, its items' text included."""
        if config["architecture"] == "encoder_decoder":
            keep_shapes(SHAPES)

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        #: Items that a list holds at most; None where all items are scored.
        self.listed: int | None = _list_length(config, self.n_items - 1)
        self.numbers, self.smoothing = config["beam_numbers"], config["label_smoothing"]
        self.trie = CodeTrie.of(dataset.semantics.codes).to(config["device"])
        codes = with_padding(torch.from_numpy(dataset.semantics.codes))
        build = _causal_items if config["architecture"] == "causal_items" else _encoder_decoder
        self.writer: CodeWriter = build(config, codes, dataset.semantics, self.trie)

    @property
    def items(self) -> Any:
        """What an item is to the model: the sum of its code vectors."""
        return self.writer.items

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        """Mean negative log-likelihood of the targets of a batch, shape []; see :meth:`inputs_and_targets`."""
        inputs, targets = self.inputs_and_targets(interaction)
        return self.writer.loss(inputs, targets, self._users(interaction), self.smoothing)

    def predict(self, interaction: Any) -> torch.Tensor:
        """Log-likelihood of one item per row, exact, shape [batch]."""
        return self.score_candidates(interaction, interaction[self.ITEM_ID][:, None])[:, 0]

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        """Log-likelihoods of all items [batch, n_items]; ``-inf`` for padding, column 0, and what no beam found."""
        return self.beam_scores(interaction) if self.listed else self.exact_scores(interaction)

    def beam_scores(self, interaction: Any) -> torch.Tensor:
        """Log-likelihoods of the items that beams find, ``-inf`` elsewhere; shape [batch, n_items]."""
        width, decoder = self.listed or self.n_items - 1, self.writer.decoder
        lists = (
            scoring.beam_search(decoder, state, len(rows), self.trie, width)
            for state, rows in self._states(interaction, width)
        )
        return torch.cat([scoring.spread_over_items(*found, self.n_items - 1) for found in lists])

    def exact_scores(self, interaction: Any) -> torch.Tensor:
        """Log-likelihoods of all items, shape [batch, n_items]."""
        decoder, states = self.writer.decoder, self._states(interaction, 64)
        found = [scoring.score_catalogue(decoder, s, len(r), self.trie, self.numbers) for s, r in states]
        return torch.cat(found)

    def score_candidates(self, interaction: Any, items: torch.Tensor) -> torch.Tensor:
        """Exact log-likelihoods of items [batch, candidates], whatever the ranker lists; item 0's means nothing."""
        decoder, states = self.writer.decoder, self._states(interaction, items.shape[1])
        found = [scoring.score_candidates(decoder, s, self.trie, items[rows]) for s, rows in states]
        return torch.cat(found)

    def _states(self, interaction: Any, prefixes: int) -> Iterator[tuple[Any, torch.Tensor]]:
        """Encode histories, each once, so few at a time that `prefixes` steps of each fit into memory."""
        inputs, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        users = self._users(interaction)
        step = max(1, self.numbers // (prefixes * self.writer.decoder.widest))
        for first in range(0, len(inputs), step):
            rows = torch.arange(first, min(first + step, len(inputs)), device=inputs.device)
            longest = max(1, int(lengths[rows].max()))
            some = None if users is None else users[rows]
            yield self.writer.begin(inputs[rows, :longest], lengths[rows], some), rows

    def _users(self, interaction: Any) -> Any:
        if self.USER_ID in interaction:
            return interaction[self.USER_ID]
        return None  # histories of nobody: a product's

    def parameter_counts(self) -> dict[str, int]:
        """Count parameters as ``result.json`` reports them; ``tokens`` are the code vectors."""
        stored = sum(value.numel() for value in self.state_dict().values())
        return {
            "tokens": self.items.semantic.table.weight.numel(),
            "training": sum(p.numel() for p in self.parameters() if p.requires_grad),
            "checkpoint": stored,
            "serving": stored,
        }


def _list_length(config: Any, n_items: int) -> int | None:
    """The beam's width, None where all items are scored; settings that cannot be used are refused."""
    for name, known in (("architecture", ARCHITECTURES), ("ranker", RANKERS), ("softmax_over", SOFTMAXES)):
        check_choice(name, config[name], known)
    width: int = config["beams"]
    exact = config["ranker"] == "exact" or (config["ranker"] == "auto" and n_items <= config["exact_items"])
    return None if exact or width >= n_items else width


def _causal_items(config: Any, codes: torch.Tensor, semantics: Any, trie: CodeTrie) -> CodeWriter:
    """The fast architecture, its code vectors started from the codebooks' text."""
    width, sizes = config["semantic_dim"], semantics.codebook_sizes
    backbone = chosen_backbone(config).from_config(config, width)
    of_head = config["head_inner_size"], config["head_dropout_prob"], config["temperature"]
    head = CodeHead(sizes, width, *of_head, among_children=config["softmax_over"] == "children")
    writer = CausalItems(codes, sizes, trie, backbone, head, width)
    writer.apply(partial(initialise, deviation=config["initializer_range"]))
    backbone.start()
    writer.tokens.start(config, semantics)
    return writer


def _encoder_decoder(config: Any, codes: torch.Tensor, semantics: Any, trie: CodeTrie) -> CodeWriter:
    """The architecture of the paper, with T5's own initialisation but for code vectors that start from text."""
    words = CodeVocabulary(codes, semantics.codebook_sizes, config["user_tokens"])
    widths = config["semantic_dim"], config["inner_size"]
    attention = config["n_layers"], config["n_heads"], config["head_dim"]
    others = config["hidden_dropout_prob"], config["temperature"]
    among_children = config["softmax_over"] == "children"
    transformer = CodeTransformer(words, *widths, *attention, *others, among_children=among_children)
    writer = EncoderDecoder(words, transformer, config["MAX_ITEM_LIST_LENGTH"], trie)
    if config["table_init"] == "text" and config["tokenizer"] != "random":
        writer.start(code_table_from_codebooks(semantics.codes, semantics.codebooks, widths[0], 1.0))
    return writer
