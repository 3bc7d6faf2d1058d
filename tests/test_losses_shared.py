"""The softmax among shared candidates: loss and gradients of the plain formula, in chunks of any size."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from recbole_unisid.models.losses import next_item
from recbole_unisid.models.losses.next_item import Positions, SampledSoftmax, matches, shared_softmax_loss
from recbole_unisid.models.losses.softmax import Softmax
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders

WIDTH = 3


def plain(
    states: torch.Tensor, target_scores: torch.Tensor, candidates: torch.Tensor, added: torch.Tensor
) -> torch.Tensor:
    """The formula as autograd would have it; `added` [P, n] holds offsets, -inf where the two may not meet."""
    scores = torch.cat([target_scores[:, None], states @ candidates.T + added], dim=1)
    return (torch.logsumexp(scores, dim=1) - target_scores).mean()


def gradients(loss: torch.Tensor, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    return [loss.detach(), *torch.autograd.grad(3 * loss, leaves)]  # 3: not every gradient from above is 1


@settings(max_examples=60, deadline=None)
@given(
    positions=st.integers(1, 9),
    ids=st.lists(st.integers(1, 6), max_size=12),
    chunk=st.integers(1, 30),
    scale=st.sampled_from([0.1, 1.0, 300.0]),
    seed=st.integers(0, 2**31),
)
def test_loss_and_gradients_are_the_formulas(
    positions: int, ids: list[int], chunk: int, scale: float, seed: int
) -> None:
    """float64; repeated candidates, hits, items left out, no candidate at all, scores too large for exp."""
    draw = torch.Generator().manual_seed(seed)
    numbers = torch.tensor(ids, dtype=torch.int64)
    targets = torch.randint(1, 7, (positions,), generator=draw)
    states, vectors = (
        (scale * torch.randn(n, WIDTH, generator=draw, dtype=torch.float64)).requires_grad_()
        for n in (positions, len(ids))
    )
    own = torch.randn(positions, generator=draw, dtype=torch.float64).requires_grad_()
    offsets = torch.randn(len(ids), generator=draw, dtype=torch.float64)
    offsets[numbers == 6] = -torch.inf
    forbidden = targets[:, None] == numbers
    expected = plain(states, own, vectors, offsets.expand(positions, -1).masked_fill(forbidden, -torch.inf))
    leaves = [states, own, vectors]
    before = next_item.CHUNK_SCORES
    next_item.CHUNK_SCORES = chunk
    try:
        found = shared_softmax_loss(states, own, vectors, offsets, matches(targets, numbers))
    finally:
        next_item.CHUNK_SCORES = before
    for ours, theirs in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12 * scale)


def test_hits_name_every_meeting() -> None:
    targets, numbers = torch.randint(1, 9, (50,)), torch.randint(1, 9, (30,))
    found = torch.zeros(50, 30, dtype=torch.bool)
    positions, columns = matches(targets, numbers)
    found[positions, columns] = True
    assert torch.equal(found, targets[:, None] == numbers)
    assert len(positions) == int(found.sum())
    assert torch.equal(positions, positions.sort().values)


def test_a_score_that_is_no_number_reaches_the_loss() -> None:
    states, vectors = torch.ones(2, WIDTH), torch.ones(4, WIDTH)
    vectors[1] = torch.nan
    hits = matches(torch.tensor([1, 2]), torch.tensor([3, 4, 5, 6]))
    assert torch.isnan(shared_softmax_loss(states, torch.zeros(2), vectors, torch.zeros(4), hits))


@pytest.mark.parametrize("target", [torch.inf, torch.nan])
def test_a_target_s_score_that_is_no_number_reaches_the_loss(target: float) -> None:
    states, vectors, hits = (
        torch.ones(2, WIDTH),
        torch.ones(4, WIDTH),
        matches(torch.arange(2), torch.arange(5, 9)),
    )
    assert torch.isnan(shared_softmax_loss(states, torch.tensor([0.0, target]), vectors, None, hits))


def test_candidates_that_are_all_left_out_cost_nothing() -> None:
    states, vectors, hits = (
        torch.ones(2, WIDTH),
        torch.ones(4, WIDTH),
        matches(torch.arange(2), torch.arange(5, 9)),
    )
    leaves = [states.requires_grad_(), vectors.requires_grad_()]
    loss = shared_softmax_loss(*leaves[:1], torch.zeros(2), vectors, torch.full((4,), -torch.inf), hits)
    assert loss == 0
    assert not any(slope.any() for slope in torch.autograd.grad(loss, leaves))


def test_all_items_as_negatives_are_the_softmax() -> None:
    vectors = torch.randn(21, WIDTH, dtype=torch.float64, requires_grad=True)
    states, targets = torch.randn(7, WIDTH, dtype=torch.float64), torch.randint(1, 21, (7,))
    dataset, asked = SimpleNamespace(item_num=21, sequences=None), torch.ones(1, 7, dtype=torch.bool)
    losses = []
    for kind in (SampledSoftmax, Softmax):
        loss = kind({"negatives": 20, "seed": 1}, dataset, torch.arange(1, 21))
        candidates = loss.draw(targets)
        those = vectors if candidates.numbers is None else vectors[candidates.numbers]
        losses.append(loss(Positions(states, targets, vectors[targets], candidates, those, asked)))
    sampled, whole = losses
    for ours, theirs in zip(gradients(sampled, [vectors]), gradients(whole, [vectors]), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_scores_are_float32_at_least_under_autocast() -> None:
    states, vectors = torch.randn(5, WIDTH), torch.randn(8, WIDTH)
    hits = matches(torch.arange(5), torch.arange(10, 18))
    expected = shared_softmax_loss(states, torch.zeros(5), vectors, torch.zeros(8), hits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = shared_softmax_loss(states, torch.zeros(5), vectors, torch.zeros(8), hits)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("count", [0, 1, 3, 90])
def test_onednn_multiplies_as_torch_does(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """float32, with 0 to 23 chunks, filled up to a multiple of 8: where oneDNN is asked and where it is not."""
    monkeypatch.setattr(next_item, "CHUNK_SCORES", 4 * 200)
    monkeypatch.setattr(next_item, "FILLED", 8)
    states, vectors = torch.randn(count, WIDTH), torch.randn(200, WIDTH)
    own, targets = torch.randn(count), torch.randint(250, (count,))
    hits = matches(targets, torch.arange(200))

    def found() -> list[torch.Tensor]:
        leaves = [each.clone().requires_grad_() for each in (states, own, vectors)]
        loss = shared_softmax_loss(*leaves, torch.zeros(200), hits)
        return [loss, *torch.autograd.grad(loss, leaves)]

    asked: list[tuple[int, ...]] = []

    def fast(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        asked.append(tuple(left.shape))
        return onednn(left, right, bias) if onednn else functional.linear(left, right, bias)

    expected, onednn = found(), None
    monkeypatch.setattr(next_item, "fast_linear", fast)
    torch.testing.assert_close(found(), expected, equal_nan=True)
    assert asked == [shape for _ in range(-(-count // 4)) for shape in ((4, WIDTH), (4, 200), (WIDTH, 4))]
    if torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512":
        onednn = partial(torch.ops.mkldnn._linear_pointwise, attr="none", scalars=[], algorithm="")
        torch.testing.assert_close(found(), expected, equal_nan=True)


def losses_of_a_batch(data: Path, negatives: int, loss: str = "sampled_softmax") -> tuple[float, Any]:
    given = {"data_path": str(data), "loss": loss, "negatives": negatives, "hidden_dropout_prob": 0.0}
    config = UniSIDConfig("ItemID", "ml-mini", settings=given | {"attn_dropout_prob": 0.0})
    loader = make_loaders(config, load_dataset(config)).train
    torch.manual_seed(3)
    model = config.model_class(config, loader.dataset)
    return model.calculate_loss(next(iter(loader))).item(), model


def test_more_negatives_than_items_are_all_items(ml_mini: Path, in_empty_folder: Path) -> None:
    """The default of 4,096 trains a small catalogue with the exact softmax."""
    sampled, model = losses_of_a_batch(ml_mini, 100_000)
    assert sampled == pytest.approx(losses_of_a_batch(ml_mini, 1, "softmax")[0], rel=1e-6)
    assert sorted(model.loss.uniform().tolist()) == list(range(1, model.n_items))


def test_negatives_are_distinct(ml_mini: Path, in_empty_folder: Path) -> None:
    drawn = losses_of_a_batch(ml_mini, 60)[1].loss.uniform().tolist()
    assert len(set(drawn)) == len(drawn) == 60
