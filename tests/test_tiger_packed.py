"""T5 without padding against transformers' T5 on padded rows: the same loss, gradients and weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5LayerNorm

from recbole_unisid import products
from recbole_unisid.data.windows import TARGET_LIST
from recbole_unisid.models.tiger import packed_layers
from recbole_unisid.models.tiger.encoder_decoder import CodeTransformer, CodeVocabulary
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders

ITEMS, LONGEST = 50, 7


def in_its_own_precision(norm: T5LayerNorm, states: Tensor) -> Tensor:
    """T5's norm; transformers' sums float64 up in float32."""
    scale = torch.rsqrt(states.square().mean(-1, keepdim=True) + norm.variance_epsilon)
    return norm.weight * (states * scale)


class Case:
    """A small model in float64 with norms that scale, and histories of 1 to 7 items."""

    def __init__(self, levels: int, users: int, lengths: Tensor) -> None:
        torch.manual_seed(levels)
        self.words = CodeVocabulary(torch.randint(0, 9, (ITEMS + 1, levels)), [9] * levels, users)
        self.model = CodeTransformer(self.words, 16, 32, 2, 3, 8, 0.3, 1.0).double().eval()
        for weight in self.model.parameters():
            weight.data.add_(0.2 * torch.randn_like(weight))
        rows = len(lengths)
        items = torch.randint(1, ITEMS + 1, (rows, LONGEST)) * (torch.arange(LONGEST) < lengths[:, None])
        self.tokens = self.words.histories(items, torch.arange(rows) if users else None)
        self.answers = self.words.tokens[torch.randint(1, ITEMS + 1, (rows,))]

    def ours(self) -> Tensor:
        return self.loss(self.model(self.tokens, self.answers))

    def theirs(self) -> Tensor:
        """RecBole's rows, padded and masked."""
        given = functional.pad(self.answers[:, :-1], (1, 0))
        mask = (self.tokens > 0).long()
        found = self.model.t5(input_ids=self.tokens, attention_mask=mask, decoder_input_ids=given)
        return self.loss(found.logits)

    def loss(self, logits: Tensor) -> Tensor:
        return functional.cross_entropy(logits.flatten(0, 1), self.answers.flatten())


LENGTHS = torch.tensor([3, 1, 7, 1, 5, 7, 2, 4, 7, 1, 6, 3, 1, 7, 7, 2])


@pytest.mark.parametrize("chunk", [8, 512])
@pytest.mark.parametrize("lengths", [LENGTHS, LENGTHS[:1], LENGTHS[1:2]], ids=["many", "one", "one item"])
@pytest.mark.parametrize("users", [0, 5])
@pytest.mark.parametrize("levels", [3, 4, 5])
def test_loss_and_gradients_are_those_of_padded_rows(
    levels: int, users: int, lengths: Tensor, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To float64's last digits, of every parameter."""
    monkeypatch.setattr(T5LayerNorm, "forward", in_its_own_precision)
    monkeypatch.setattr(packed_layers, "_CHUNK", chunk)
    case = Case(levels, users, lengths)
    weights = dict(case.model.named_parameters())
    ours, theirs = case.ours(), case.theirs()
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0)
    found, wanted = (torch.autograd.grad(loss, list(weights.values())) for loss in (ours, theirs))
    for name, one, other in zip(weights, found, wanted, strict=True):
        assert float(other.abs().max()) > 0, name
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14, msg=name)


@pytest.mark.parametrize("by_onednn", [False, True])
def test_single_precision_is_near(by_onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """float32's products, by torch and, where it is there, by oneDNN: loss and gradients to float32's digits."""
    if by_onednn and not products.BY_ONEDNN:
        pytest.skip("products are torch's own here")
    monkeypatch.setattr(products, "BY_ONEDNN", by_onednn)
    asked = []
    linear = products.fast_linear
    monkeypatch.setattr(products, "fast_linear", lambda *given: asked.append(given) or linear(*given))
    case = Case(4, 5, LENGTHS)
    exact = torch.autograd.grad(case.ours(), list(case.model.parameters()))
    assert not asked  # float64
    case.model.float()
    near = torch.autograd.grad(case.ours(), list(case.model.parameters()))
    assert bool(asked) == by_onednn
    for one, other in zip(near, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_rows_stand_in_groups_of_few_sizes() -> None:
    counts = [(300, 5), (1, 9), (13, 81), (2, 700)]
    groups = packed_layers.chunked(counts)
    for rows, length in counts:
        sizes = [group.rows for group in groups if group.read == length]
        assert sum(sizes) == rows
        assert all(size & (size - 1) == 0 for size in sizes)
        assert max(sizes) * length <= 512 or sizes == [1] * rows
    assert [group.read for group in groups] == sorted(group.read for group in groups)
    assert {group.asked for group in packed_layers.chunked(counts, 4)} == {4}


def test_the_shapes_that_onednn_keeps_are_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_GIVEN", True)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "5")
    products.keep_shapes(1024)
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "5"
    monkeypatch.setattr(products, "_GIVEN", False)
    products.keep_shapes(1024)
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "1024"


def test_mixed_precision_is_near() -> None:
    """bfloat16's products (`enable_amp`): about its two to three digits, in loss and gradients."""
    case = Case(3, 5, LENGTHS)
    case.model.float()
    weights = list(case.model.parameters())
    exact = case.ours()
    with torch.autocast("cpu", torch.bfloat16):
        near = case.ours()
    assert near != exact
    torch.testing.assert_close(near, exact, rtol=0.02, atol=0)
    ours, theirs = (torch.autograd.grad(loss, weights) for loss in (near, exact))
    assert all(slope.dtype == torch.float32 for slope in ours)
    one, other = (torch.cat([slope.flatten() for slope in slopes]) for slopes in (ours, theirs))
    assert float((one - other).norm() / other.norm()) < 0.1


def test_weights_are_named_as_transformers_names_them() -> None:
    case = Case(3, 5, LENGTHS)
    theirs = T5ForConditionalGeneration(case.model.t5.config).state_dict()
    ours = case.model.state_dict()
    assert {f"t5.{name}": value.shape for name, value in theirs.items()} | {
        "vocabulary.tokens": case.words.tokens.shape
    } == {name: value.shape for name, value in ours.items()}


def test_dropout_acts_in_training_alone() -> None:
    case = Case(3, 5, LENGTHS)
    assert case.ours() == case.ours()
    case.model.train()
    torch.manual_seed(0)
    first, second = case.ours(), case.ours()
    assert first != second
    torch.manual_seed(0)
    assert case.ours() == first


def test_the_mean_over_dropouts_is_that_of_transformers() -> None:
    """The loss of many draws, within what chance explains."""
    case = Case(3, 5, LENGTHS)
    case.model.train()
    with torch.no_grad():
        ours, theirs = (torch.stack([draw() for _ in range(400)]) for draw in (case.ours, case.theirs))
        case.model.eval()
        assert float(ours.mean() - case.ours()) > 0.05, "dropout does nothing here"
    error = float((ours.var() / 400 + theirs.var() / 400).sqrt())
    assert abs(float(ours.mean() - theirs.mean())) < 4 * error
    assert 0.8 < float(ours.std() / theirs.std()) < 1.25


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_each_place_is_dropped_at_the_rate(rate: float) -> None:
    torch.manual_seed(1)
    numbers, draws = 50, 4000
    dropped = torch.zeros(draws, numbers)
    for row in dropped:
        places = packed_layers.dropped_places(numbers, rate, row.device)
        assert (places.diff() > 0).all()
        row[places] = 1
    error = (rate * (1 - rate) / draws) ** 0.5
    assert float((dropped.mean(0) - rate).abs().max()) < 5 * error
    # Neighbours fall independently of each other.
    together = float((dropped[:, 1:] * dropped[:, :-1]).mean())
    assert together == pytest.approx(rate**2, abs=0.1 * rate**2 + 0.0005)


def test_gradients_with_dropout_are_those_of_finite_differences() -> None:
    groups = [packed_layers.Group(2, 2, 1), packed_layers.Group(1, 2, 3)]
    torch.manual_seed(0)
    sizes = {"asking": (6, 4), "read": (5, 4), "asks": (4, 8), "gives": (8, 4), "bias": (2, 2, 3)}
    given = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes.values()]

    def attend(asking: Tensor, read: Tensor, asks: Tensor, gives: Tensor, bias: Tensor) -> Tensor:
        torch.manual_seed(5)
        return packed_layers.attend(asking, read, (asks, gives), bias, groups, 0.4)

    def others(states: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
        torch.manual_seed(6)
        return packed_layers.feed_forward(packed_layers.unit(states, 1e-6), inner, outer, 0.4)

    def dropout(states: Tensor) -> Tensor:
        torch.manual_seed(7)
        return packed_layers.dropout(states, 0.4)

    assert torch.autograd.gradcheck(attend, given)
    wide = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((6, 4), (9, 4), (4, 9))]
    assert torch.autograd.gradcheck(others, wide)
    assert torch.autograd.gradcheck(dropout, wide[:1])
    assert not torch.equal(dropout(wide[0]), wide[0])


def test_a_step_holds_the_targets_that_it_is_asked_for(ml_mini: Path) -> None:
    """TIGER as published has a row a target, of like length; each counts once, however many items it has."""
    given = {"architecture": "encoder_decoder", "MAX_ITEM_LIST_LENGTH": 5}
    settings = given | {"train_batch_size": 64, "data_path": str(ml_mini), "use_gpu": False}
    config = UniSIDConfig("TIGER", "ml-mini", settings=settings)
    loader = make_loaders(config, load_dataset(config)).train
    batches = [batch[TARGET_LIST] for batch in loader]
    counts = [int((targets > 0).sum()) for targets in batches]
    assert counts == [len(targets) for targets in batches]
    assert sum(counts) == len(loader.windows.start) == len(loader.dataset)
    assert max(counts) <= 64
    assert sum(counts) / len(counts) > 50
    assert len(loader) == -(-sum(counts) // 64)


def test_layers_drop_where_transformers_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many numbers as its own layers see, padding aside."""
    case = Case(3, 5, torch.full((4,), LONGEST))  # nothing is padded
    case.model.train()
    ours, theirs = [], []
    drawn, layer = packed_layers.dropped_places, functional.dropout

    def our_draw(numbers: int, *others: Any) -> Tensor:
        ours.append(numbers)
        return drawn(numbers, *others)

    def their_layer(states: Tensor, *others: Any, **more: Any) -> Tensor:
        theirs.append(states.numel())
        return layer(states, *others, **more)

    monkeypatch.setattr(packed_layers, "dropped_places", our_draw)
    monkeypatch.setattr(nn.functional, "dropout", their_layer)
    case.model.t5.set_attn_implementation("eager")
    case.ours()
    case.theirs()
    assert sorted(ours) == sorted(theirs)
