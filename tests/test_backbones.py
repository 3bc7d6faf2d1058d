"""Backbones and label smoothing: each state follows its own past alone, exactly, and each formula is what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import recbole_unisid
from recbole_unisid.errors import UserError
from recbole_unisid.models.backbones.base import TransformerSettings
from recbole_unisid.models.backbones.hstu import GatedAttention, Hstu
from recbole_unisid.models.backbones.last_state import last_states
from recbole_unisid.models.backbones.recurrence import GatedRecurrence, LinearRecurrence
from recbole_unisid.models.backbones.transformer import (
    Block,
    CausalAttention,
    CausalLowPass,
    CausalTransformer,
)
from recbole_unisid.models.losses.next_item import Candidates, Positions
from recbole_unisid.models.losses.softmax import Softmax
from recbole_unisid.models.losses.wrappers import Smoothed
from recbole_unisid.serving.export import write_encoder

WIDTH, LENGTH = 8, 12
SIZES = TransformerSettings(LENGTH, 2, 2, 8, 16, 0.2, 0.2)


def reader(name: str, positions: bool) -> nn.Module:
    """A backbone in evaluation mode; a bias of zero would hide a leak."""
    torch.manual_seed(0)
    kind = {"hstu": Hstu, "recurrence": LinearRecurrence}.get(name, CausalTransformer)
    made = kind(WIDTH, replace(SIZES, positions=positions, taps=5 if name == "filter" else 0))
    for label, weight in made.named_parameters():
        if label.endswith("bias"):
            nn.init.normal_(weight)
    return made.eval()


NAMES = ("transformer", "filter", "hstu", "recurrence")
KINDS = {"filter": "FilterTransformer", "hstu": "Hstu", "recurrence": "LinearRecurrence"}
CASES = [(name, positions) for name in NAMES for positions in (True, False)]


@pytest.mark.parametrize(("name", "positions"), CASES)
def test_a_later_item_leaves_earlier_states_exactly_as_they_were(name: str, positions: bool) -> None:
    read, items = reader(name, positions), torch.randn(3, LENGTH, WIDTH)
    with torch.no_grad():
        states = read(items)
        for place in range(1, LENGTH):
            changed = items.clone()
            changed[:, place:] = torch.randn(3, LENGTH - place, WIDTH)
            assert torch.equal(read(changed)[:, :place], states[:, :place])
            assert not torch.equal(read(changed)[:, place], states[:, place])


@pytest.mark.parametrize(("name", "positions"), CASES)
def test_padding_on_the_right_changes_nothing_beyond_rounding(name: str, positions: bool) -> None:
    read, items = reader(name, positions), torch.randn(3, LENGTH, WIDTH)
    with torch.no_grad():
        assert torch.allclose(read(items[:, :7]), read(items)[:, :7], atol=1e-5)


@pytest.mark.parametrize(("name", "positions"), CASES)
def test_the_exported_encoder_equals_torch(name: str, positions: bool, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    read, items = reader(name, positions), torch.randn(3, LENGTH, WIDTH)
    write_encoder(tmp_path / "encoder.onnx", read, WIDTH, LENGTH)
    session = runtime.InferenceSession(tmp_path / "encoder.onnx")
    names = [given.name for given in session.get_inputs()]
    lengths = torch.tensor([LENGTH, 4, 1])
    found = session.run(None, dict(zip(names, (items.numpy(), lengths.numpy()), strict=True)))[0]
    with torch.no_grad():
        wanted = read(items)[torch.arange(3), lengths - 1]
    assert torch.allclose(torch.from_numpy(found), wanted, atol=1e-5)


class Doubled(CausalTransformer):
    """A user's own: the transformer's parts with another forward pass."""

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(items)


class Reversed(CausalAttention):
    """A user's own attention in a block of ours."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return -super().forward(states)


def test_the_exported_encoder_of_a_users_own_class_equals_torch(tmp_path: Path) -> None:
    """What the export computes of the last position alone is not taken for what another class computes."""
    replaced = CausalTransformer(WIDTH, SIZES)
    replaced.blocks[-1].attention = Reversed(WIDTH, 8, 2, 0.2)
    for read in (Doubled(WIDTH, SIZES).eval(), replaced.eval()):
        write_encoder(tmp_path / "encoder.onnx", read, WIDTH, LENGTH)  # which compares
        items, lengths = torch.randn(3, LENGTH, WIDTH), torch.tensor([LENGTH, 4, 1])
        with torch.no_grad():
            wanted = read(items)[torch.arange(3), lengths - 1]
            assert torch.allclose(last_states(read, items, lengths), wanted, atol=1e-6)


@pytest.mark.parametrize("taps", [1, 3, 16])
def test_the_low_pass_is_a_weighted_mean_of_the_positions_that_exist(taps: int) -> None:
    layer, states = CausalLowPass(WIDTH, taps, 4.0, 0.0, 1e-12), torch.randn(2, 10, WIDTH)
    weights = torch.exp(-torch.arange(taps) / 4.0)
    low = layer.matrix(10) @ states
    for t in range(10):
        count = min(taps, t + 1)
        part = weights[:count] / weights[:count].sum()
        wanted = sum(part[k] * states[:, t - k] for k in range(count))
        assert torch.allclose(low[:, t], wanted, atol=1e-6)


def test_a_constant_history_passes_the_low_pass_as_it_is() -> None:
    states, layer = torch.randn(1, 1, WIDTH).expand(2, 9, WIDTH), CausalLowPass(WIDTH, 4, 4.0, 0.0, 1e-12)
    assert torch.allclose(layer(states), layer.norm(2 * states), atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_mix_runs_from_attention_alone_to_the_low_pass_alone(share: float) -> None:
    block, states = Block(WIDTH, replace(SIZES, taps=5, share=share)).eval(), torch.randn(2, 5, WIDTH)
    assert block.low_pass is not None
    mixed = block.low_pass(states) if share else block.attention_norm(states + block.attention(states))
    wanted = block.feed_forward_norm(mixed + block.feed_forward(mixed))
    assert torch.allclose(block(states), wanted, atol=1e-6)


def test_gated_attention_is_written_out() -> None:
    """Equations 1 to 3, one pair of positions at a time, with one head."""
    layer, states = GatedAttention(WIDTH, TransformerSettings(LENGTH, 1, 1, 4, 0)), torch.randn(1, 3, WIDTH)
    nn.init.normal_(layer.distance_bias)
    gate, value, query, key = functional.silu(layer.projection(layer.norm(states)))[0].chunk(4, dim=-1)
    for t in range(3):
        summed = sum(
            functional.silu(query[t] @ key[s] + layer.distance_bias[t - s, 0]) / LENGTH * value[s]
            for s in range(t + 1)
        )
        wanted = states[0, t] + layer.output(layer.attended_norm(summed) * gate[t])
        assert torch.allclose(layer(states)[0, t], wanted, atol=1e-5)


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UserError, match="must divide"):
        GatedAttention(8, TransformerSettings(5, 1, 3, 8, 0))


def short_run(root: Path, **settings: Any) -> dict[str, Any]:
    """An epoch of ItemID on a small set."""
    given = {"data_path": str(root), "epochs": 1, "show_progress": False, "n_layers": 1}
    return recbole_unisid.run("ItemID", "ml-mini", given | settings, verbose=False)


class _Data:
    """What a loss reads of a data set."""

    item_num, sequences = 9, None


def test_label_smoothing_is_cross_entropy_with_smoothed_labels() -> None:
    states, items, targets = torch.randn(6, WIDTH), torch.randn(9, WIDTH), torch.tensor([1, 3, 3, 8, 1, 5])
    config: dict[str, Any] = {"negatives": 1, "seed": 0}
    loss = Smoothed(Softmax(config, _Data(), torch.arange(1, 9)), 0.2)
    asked = torch.ones(1, 6, dtype=torch.bool)
    found = loss(Positions(states, targets, items[targets], Candidates(None), items, asked))
    wanted = functional.cross_entropy(states @ items[1:].T, targets - 1, label_smoothing=0.2)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_the_recurrence_is_the_mean_that_its_steps_make() -> None:
    layer, states = GatedRecurrence(WIDTH, 6, LENGTH), torch.randn(2, LENGTH, WIDTH)
    with torch.no_grad():
        value, gate = layer.projection(states).chunk(2, dim=-1)
        decay, total, count = (-layer.rates.exp()).exp(), torch.zeros(2, 6), torch.zeros(6)
        found = layer(states)
        for place in range(LENGTH):
            total, count = decay * total + value[:, place], decay * count + 1
            wanted = layer.output(total / count * functional.silu(gate[:, place]))
            assert torch.allclose(found[:, place], wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["filter", "hstu", "recurrence"])
def test_a_run_is_loaded_with_its_backbone(name: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """Trained, and its scores come from the loaded weights."""
    result = short_run(ml_mini, backbone=name, positions="none", label_smoothing=0.1, score_terms=[])
    run = recbole_unisid.load(result["run_dir"])
    assert type(run.model.transformer).__name__ == KINDS[name]
    history = np.array([1, 2, 3])
    expected = run.states([history]) @ run.item_vectors.T  # type: ignore[union-attr]
    np.testing.assert_allclose(run.scores([history]), expected, rtol=1e-5, atol=1e-6)


def test_label_smoothing_without_a_softmax_is_refused(ml_mini: Path, in_empty_folder: Path) -> None:
    with pytest.raises(UserError, match="label_smoothing is for softmax losses"):
        short_run(ml_mini, loss="bce", label_smoothing=0.1)
