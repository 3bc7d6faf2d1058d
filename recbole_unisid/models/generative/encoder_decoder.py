"""T5 over code tokens (TIGER), stepping with the history's keys and values shared by all beams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from recbole_unisid.models.generative.code_decoder import Places, follow
from recbole_unisid.models.generative.code_tokens import CodeVocabulary

#: Keys and values of one layer.
_Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class DecoderState:
    """What the decoder knows of some prefixes.

    Attributes
    ----------
    hidden : Tensor of bool, shape [batch, 1, 1, tokens]
        Padding of the histories.
    history : list of pair of Tensor, shape [batch, heads, tokens, head width] each
        Keys and values of the encoded histories, one pair a layer, the same for all prefixes.
    written : list of pair of Tensor, shape [batch, prefixes, codes so far, heads, head width] each
        Keys and values of the prefixes, one pair a layer.
    states : Tensor, shape [batch, prefixes, width], or None
        What the next code is read from; None before the first step.
    """

    hidden: torch.Tensor
    history: list[_Pair]
    written: list[_Pair]
    states: torch.Tensor | None = None


class CodeTransformer(nn.Module):
    """Encoder and decoder of T5 (transformers' layers and initialisation) over a vocabulary of codes.

    Parameters
    ----------
    vocabulary : CodeVocabulary
        Tokens of items and users.
    width, inner : int
        Width of the states and of the feed-forward layers.
    layers, heads, head_width : int
        Layers of the encoder, and as many of the decoder; heads and the width of each.
    dropout : float
        Share dropped in training.
    temperature : float
        Logits are divided by it in stepping.
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
    ) -> None:
        from transformers import T5Config, T5ForConditionalGeneration

        super().__init__()
        self.vocabulary, self.temperature = vocabulary, temperature
        self.widest, self.among_children = max(vocabulary.size, inner), False
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

    def forward(self, tokens: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """Logits of every code of known items (teacher forcing).

        Parameters
        ----------
        tokens : Tensor of int64, shape [batch, tokens]
            Histories, 0 for padding.
        answers : Tensor of int64, shape [batch, levels]
            Tokens of the items' codes.

        Returns
        -------
        Tensor, shape [batch, levels, tokens of the vocabulary]
        """
        given = functional.pad(answers[:, :-1], (1, 0))  # 0 begins
        logits: torch.Tensor = self.t5(
            input_ids=tokens, attention_mask=(tokens > 0).long(), decoder_input_ids=given, use_cache=False
        ).logits
        return logits

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
        """One code more; see :class:`~recbole_unisid.models.generative.code_decoder.CodeDecoder`."""
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
        states = decoder.final_layer_norm(states)
        config = self.t5.config
        if getattr(config, "scale_decoder_outputs", config.tie_word_embeddings):
            states = states * config.d_model**-0.5
        return DecoderState(state.hidden, state.history, written, states)

    def score(self, state: DecoderState, level: int, places: Places) -> torch.Tensor:
        """Scores of a level's codes; see :class:`~recbole_unisid.models.generative.code_decoder.CodeDecoder`."""
        assert state.states is not None
        logits = self.t5.lm_head(state.states[places]).float() / self.temperature
        start = self.vocabulary.starts[level]
        likely = logits[..., start : start + self.vocabulary.sizes[level]]
        found: torch.Tensor = likely - logits.logsumexp(-1, keepdim=True)
        return found


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
    query = _heads(
        attention.q(layer.layer_norm(states)), attention.n_heads
    )  # [batch, heads, prefixes, width]
    context = functional.scaled_dot_product_attention(query, *history, attn_mask=~hidden, scale=1.0)
    attended: torch.Tensor = states + attention.o(context.transpose(1, 2).flatten(2))
    return attended
