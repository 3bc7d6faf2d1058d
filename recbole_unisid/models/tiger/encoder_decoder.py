"""T5 over code tokens (TIGER), stepping with the history's keys and values shared by all beams."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from recbole_unisid.items.representation import ItemRepresentation, SemanticTokens
from recbole_unisid.items.trie import CodeTrie
from recbole_unisid.models.tiger import packed
from recbole_unisid.models.tiger.decoder import CodeWriter, Places, follow, loss_among_children
from recbole_unisid.products import keep_shapes

#: What oneDNN keeps for attention: rows of each length, in encoder and decoder.
SHAPES = 1024


class CodeVocabulary(nn.Module):
    """Token numbers of padding, of hashed users and of the codes of every level (TIGER, section 3.2).

    Token 0 pads and begins every answer; tokens 1 .. `users` are buckets of users; the codes follow, level by
    level. `codes` are int64 [n_items + 1, levels]; row 0 (padding) is not used.
    """

    def __init__(self, codes: torch.Tensor, sizes: list[int], users: int) -> None:
        super().__init__()
        self.sizes, self.users, self.levels = list(sizes), users, len(sizes)
        self.starts = [1 + users + before for before in itertools.accumulate([0, *sizes[:-1]])]
        self.size = 1 + users + sum(sizes)
        tokens = codes + torch.tensor(self.starts)
        tokens[0] = 0
        self.register_buffer("tokens", tokens, persistent=True)
        self.tokens: torch.Tensor

    def histories(self, items: torch.Tensor, users: torch.Tensor | None) -> torch.Tensor:
        """Write histories [batch, length] of items, oldest first and padded on the right, as tokens.

        The result is int64 [batch, length * levels], with a user's token in front one more; without `users`
        [batch] it is left out.
        """
        tokens = self.tokens[items].flatten(1)
        if not self.users or users is None:
            return tokens
        return torch.cat([1 + users[:, None] % self.users, tokens], dim=1)


def prefix_histories(
    inputs: torch.Tensor, targets: torch.Tensor, max_len: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Take whole sequences [batch, length] apart: one history a target, for models that read one at a time.

    Histories [targets, longest] are the at most `max_len` items before each target above 0, oldest first, padded with
    0 on the right; beside them the targets, and the sequence that each comes from.
    """
    rows, places = (targets > 0).nonzero(as_tuple=True)  # [targets]
    lengths = (places + 1).clamp(max=max_len)
    window = torch.arange(int(lengths.max()) if len(lengths) else 0, device=inputs.device)
    source = (places + 1 - lengths)[:, None] + window  # [targets, longest]
    inside = window < lengths[:, None]
    histories = torch.where(inside, inputs[rows[:, None], source.clamp(max=inputs.shape[1] - 1)], 0)
    return histories, targets[rows, places], rows


#: Keys and values of one layer.
_Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class DecoderState:
    """What the decoder knows of some prefixes; keys and values one pair a layer."""

    hidden: torch.Tensor  # bool [batch, 1, 1, tokens], padding of the histories
    #: [batch, heads, tokens, head width] each, of the encoded histories, the same for all prefixes
    history: list[_Pair]
    written: list[_Pair]  # [batch, prefixes, codes so far, heads, head width] each, of the prefixes
    #: [batch, prefixes, width], what the next code is read from; None before the first step
    states: torch.Tensor | None = None


class CodeTransformer(nn.Module):
    """Encoder and decoder of T5 (transformers' layers and initialisation) over a vocabulary of codes.

    The encoder has `layers` layers, and so has the decoder; logits are divided by `temperature` in stepping. The
    softmax is over all tokens, or over the codes that lead on to an item (`among_children`).
    """

    def __init__(
        self,
        vocabulary: CodeVocabulary,
        width: int,
        inner: int,
        layers: int,
        heads: int,
        head_width: int,
        dropout: float,
        temperature: float,
        among_children: bool = False,
    ) -> None:
        from transformers import T5Config, T5ForConditionalGeneration

        super().__init__()
        self.vocabulary, self.temperature = vocabulary, temperature
        self.widest, self.among_children = max(vocabulary.size, inner), among_children
        config: Any = T5Config(
            vocab_size=vocabulary.size,
            d_model=width,
            d_ff=inner,
            d_kv=head_width,
            num_layers=layers,
            num_decoder_layers=layers,
            num_heads=heads,
            dropout_rate=dropout,
            pad_token_id=0,
            eos_token_id=None,
        )
        config.decoder_start_token_id = 0
        self.t5: Any = T5ForConditionalGeneration(config)
        keep_shapes(SHAPES)  # for whoever builds it alone; a run has asked before

    def forward(self, tokens: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """Logits of every code of known items (teacher forcing), [batch, levels, tokens of the vocabulary].

        `tokens` are histories [batch, tokens], 0 for padding on the right, and `answers` the items' codes [batch,
        levels].
        """
        logits: torch.Tensor = self.t5.lm_head(self.answering(tokens, answers))
        return logits

    def answering(self, tokens: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """States that the logits are read from, [batch, levels, width]; see :meth:`forward`."""
        given = functional.pad(answers[:, :-1], (1, 0))  # 0 begins
        if tokens.device.type == "cpu":
            return packed.answers(self.t5, tokens, given)
        mask = (tokens > 0).long()
        read = self.t5.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
        others = {"encoder_hidden_states": read, "encoder_attention_mask": mask, "use_cache": False}
        return packed.scaled(self.t5, self.t5.decoder(input_ids=given, **others).last_hidden_state)

    def of_level(self, level: int, states: torch.Tensor) -> torch.Tensor:
        """Logits of the codes of one level alone, [..., codes], of states that answer it."""
        first = self.vocabulary.starts[level]
        weight = self.t5.lm_head.weight[first : first + self.vocabulary.sizes[level]]
        return functional.linear(states, weight)

    def begin(self, tokens: torch.Tensor) -> DecoderState:
        """Encode histories, int64 [batch, tokens], and lay out their keys and values for every layer."""
        seen = tokens > 0
        encoded = self.t5.encoder(input_ids=tokens, attention_mask=seen.long()).last_hidden_state
        history = [
            (_heads(cross.k(encoded), cross.n_heads), _heads(cross.v(encoded), cross.n_heads))
            for cross in (block.layer[1].EncDecAttention for block in self.t5.decoder.block)
        ]
        return DecoderState(~seen[:, None, None], history, [])

    def step(
        self, state: DecoderState, level: int, codes: torch.Tensor | None, origin: torch.Tensor | None
    ) -> DecoderState:
        """One code more; see :class:`~recbole_unisid.models.tiger.decoder.CodeDecoder`."""
        words = self.vocabulary
        if codes is None or origin is None:
            tokens = torch.zeros(len(state.hidden), 1, dtype=torch.int64, device=state.hidden.device)
            past: list[_Pair] = []
        else:
            tokens = words.starts[level - 1] + codes  # [batch, prefixes]
            past = [(follow(keys, origin), follow(values, origin)) for keys, values in state.written]
        decoder = self.t5.decoder
        states = decoder.embed_tokens(tokens)  # [batch, prefixes, width]
        # Of the position asked for, to those before it and itself: [heads, codes so far].
        bias = decoder.block[0].layer[0].SelfAttention.compute_bias(level + 1, level + 1)[0, :, -1]
        written = []
        for number, block in enumerate(decoder.block):
            own, cross, feed_forward = block.layer
            attended, pair = _attend_prefix(own, states, past[number] if past else None, bias)
            written.append(pair)
            states = _attend_history(cross, attended, state.history[number], state.hidden)
            states = feed_forward(states)
        states = packed.scaled(self.t5, decoder.final_layer_norm(states))
        return DecoderState(state.hidden, state.history, written, states)

    def score(self, state: DecoderState, level: int, places: Places) -> torch.Tensor:
        """Scores of a level's codes; see :class:`~recbole_unisid.models.tiger.decoder.CodeDecoder`."""
        assert state.states is not None
        states = state.states[places]
        if self.among_children:
            return self.of_level(level, states).float() / self.temperature
        logits = self.t5.lm_head(states).float() / self.temperature
        start = self.vocabulary.starts[level]
        likely = logits[..., start : start + self.vocabulary.sizes[level]]
        found: torch.Tensor = likely - logits.logsumexp(-1, keepdim=True)
        return found


class EncoderDecoder(CodeWriter):
    """TIGER as published: an encoder reads the codes of `max_len` items at most, a decoder writes the next item's."""

    decoder: CodeTransformer

    def __init__(
        self, vocabulary: CodeVocabulary, transformer: CodeTransformer, max_len: int, trie: CodeTrie
    ) -> None:
        super().__init__()
        self.vocabulary, self.decoder, self.max_len, self.trie = vocabulary, transformer, max_len, trie

    @torch.no_grad()
    def start(self, table: NDArray[np.float32]) -> None:
        """Let the vectors of codes start as a table [codes of all levels, width] of codebooks, whose zeros say nothing.

        Each level's are scaled to a root mean square of 1, which T5's own start with.
        """
        words, weight = self.vocabulary, self.decoder.t5.shared.weight
        levels = (
            torch.split(each, words.sizes) for each in (torch.from_numpy(table), weight[words.starts[0] :])
        )
        for given, own in zip(*levels, strict=True):
            if given.any():
                own.copy_(given / given.square().mean().sqrt())

    @property
    def items(self) -> ItemRepresentation:  # type: ignore[override]
        """The sum of the embeddings of an item's codes."""
        words, embedding = self.vocabulary, self.decoder.t5.shared
        codes = words.tokens - torch.tensor(words.starts, device=words.tokens.device)
        tokens = SemanticTokens(codes.clamp(min=0), words.sizes, embedding.embedding_dim)
        tokens.to(embedding.weight.device).table.weight.data.copy_(embedding.weight[words.starts[0] :])
        return ItemRepresentation(len(codes) - 1, tokens, id_width=0)

    def loss(
        self, inputs: torch.Tensor, targets: torch.Tensor, users: torch.Tensor | None, smoothing: float
    ) -> torch.Tensor:
        """See :meth:`CodeWriter.loss`; every target is a row of its own with the history before it."""
        histories, wanted, rows = prefix_histories(inputs, targets, self.max_len)
        answers = self.vocabulary.tokens[wanted]  # [P, levels]
        tokens = self.vocabulary.histories(histories, None if users is None else users[rows])
        if self.decoder.among_children:
            return self._among_children(self.decoder.answering(tokens, answers), wanted, smoothing)
        logits = self.decoder(tokens, answers)  # [P, levels, tokens]
        mean = functional.cross_entropy(logits.flatten(0, 1), answers.flatten(), label_smoothing=smoothing)
        nats: torch.Tensor = mean * self.vocabulary.levels
        return nats

    def _among_children(self, states: torch.Tensor, wanted: torch.Tensor, smoothing: float) -> torch.Tensor:
        """See :meth:`CodeWriter.loss`; states are [P, levels, width]."""

        def logits(number: int, asked: torch.Tensor) -> torch.Tensor:
            return self.decoder.of_level(number, states[asked, number])

        return loss_among_children(self.trie, wanted, logits, smoothing)

    def begin(self, inputs: torch.Tensor, lengths: torch.Tensor, users: torch.Tensor | None) -> Any:
        if inputs.shape[1] > self.max_len:
            place = (lengths - self.max_len).clamp(min=0)[:, None]
            place = place + torch.arange(self.max_len, device=inputs.device)
            inputs = inputs.gather(1, place)
        return self.decoder.begin(self.vocabulary.histories(inputs, users))


def _heads(states: torch.Tensor, heads: int) -> torch.Tensor:
    """Split the last dimension, [batch, n, heads * width] -> [batch, heads, n, width]."""
    return states.view(*states.shape[:-1], heads, -1).transpose(1, 2)


def _attend_prefix(
    layer: Any, states: torch.Tensor, past: _Pair | None, bias: torch.Tensor
) -> tuple[torch.Tensor, _Pair]:
    """Self-attention of each prefix's newest code over the prefix, states [batch, prefixes, width]."""
    attention = layer.SelfAttention
    normed = layer.layer_norm(states)
    query, key, value = (
        project(normed).unflatten(-1, (attention.n_heads, -1))  # [batch, prefixes, heads, head width]
        for project in (attention.q, attention.k, attention.v)
    )
    keys, values = key[:, :, None], value[:, :, None]
    if past is not None:
        keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
    scores = torch.einsum("bphw,bplhw->bphl", query, keys) + bias  # T5 does not scale
    context = torch.einsum("bphl,bplhw->bphw", scores.softmax(-1), values).flatten(2)
    return states + attention.o(context), (keys, values)


def _attend_history(layer: Any, states: torch.Tensor, history: _Pair, hidden: torch.Tensor) -> torch.Tensor:
    """Attention over the history: prefixes are just so many queries, its keys are not copied for each."""
    attention = layer.EncDecAttention
    query = _heads(attention.q(layer.layer_norm(states)), attention.n_heads)  # [batch, heads, prefixes, ...]
    context = functional.scaled_dot_product_attention(query, *history, attn_mask=~hidden, scale=1.0)
    attended: torch.Tensor = states + attention.o(context.transpose(1, 2).flatten(2))
    return attended
