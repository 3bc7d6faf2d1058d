"""Linear layers as they are multiplied in training, against torch's own."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recbole_unisid import products
from recbole_unisid.products import TrainedFeedForward, TrainedLinear, filled, multiply_fast
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.trainer import make_trainer


def network() -> nn.ModuleDict:
    """Layers wider and narrower than their input, with and without a bias; a pair with a GELU between."""
    pair = nn.Sequential(nn.Linear(8, 24), nn.GELU(), nn.Linear(24, 8))
    return nn.ModuleDict({"wide": nn.Linear(8, 16), "narrow": nn.Linear(16, 8, bias=False), "pair": pair})


def forward(layers: nn.ModuleDict, states: Tensor) -> Tensor:
    found: Tensor = layers["pair"](layers["narrow"](layers["wide"](states).sin()))
    return found


def gradients(layers: nn.ModuleDict, states: Tensor) -> list[Tensor]:
    leaf = states.clone().requires_grad_()
    found = forward(layers, leaf)
    return [found.detach(), *torch.autograd.grad(found.square().sum(), [leaf, *layers.parameters()])]


@pytest.fixture(params=["torch", "onednn"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of any number of rows, as where oneDNN is faster; products by torch, and by oneDNN where it is there."""
    fast = nn.functional.linear
    if request.param == "onednn":
        if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
            pytest.skip("torch has no oneDNN here")
        fast = partial(torch.ops.mkldnn._linear_pointwise, attr="none", scalars=[], algorithm="")
    monkeypatch.setattr(products, "BY_ONEDNN", True)
    monkeypatch.setattr(products, "FEW", 1)
    monkeypatch.setattr(products, "fast_linear", fast)


@pytest.mark.usefixtures("by")
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 5), (128, 1), (3, 700)])
def test_values_and_gradients_are_those_of_torch(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    plain, states = network(), torch.randn(*shape, 8)
    fast = copy.deepcopy(plain)
    multiply_fast(fast, None)
    assert [type(layer) for layer in fast.values()] == [TrainedLinear, TrainedLinear, TrainedFeedForward]
    for one, other in zip(gradients(fast, states), gradients(plain, states), strict=True):
        largest = float(other.abs().sum(0).max()) if other.numel() else 0.0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * max(1.0, largest))


def test_elsewhere_a_layer_is_torch_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation, other precisions, autocast and few rows: not one product of ours, and the same bits."""
    asked: list[Tensor] = []

    def linear(rows: Tensor, *rest: Any) -> Tensor:
        asked.append(rows)
        return nn.functional.linear(rows, *rest)

    monkeypatch.setattr(products, "BY_ONEDNN", True)
    monkeypatch.setattr(products, "fast_linear", linear)
    plain, states = network(), torch.randn(products.FEW, 8)
    fast = copy.deepcopy(plain)
    multiply_fast(fast)
    assert torch.equal(forward(fast.eval(), states), forward(plain.eval(), states))
    fast.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(forward(fast, states), forward(plain, states))
    assert torch.equal(forward(fast.double(), states.double()), forward(plain.double(), states.double()))
    assert torch.equal(forward(fast.float(), states[1:]), forward(plain.float(), states[1:]))
    assert not asked
    forward(fast, states)
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("model", "compiled", "onednn", "kind"),
    [
        ("ItemID", False, True, TrainedLinear),
        ("ItemID", False, False, nn.Linear),
        ("ItemID", True, True, nn.Linear),
        ("SASRec", False, True, nn.Linear),
    ],
)
def test_a_trainer_lets_our_backbones_multiply_so(
    model: str,
    compiled: bool,
    onednn: bool,
    kind: type,
    ml_mini: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "BY_ONEDNN", onednn)
    given = {
        "data_path": str(ml_mini),
        "use_gpu": False,
        "compile": compiled,
        "checkpoint_dir": str(tmp_path),
    }
    config = UniSIDConfig(model, "ml-mini", settings=given)
    made = config.make_model(make_loaders(config, load_dataset(config)).train.dataset)
    make_trainer(config, made, tmp_path)
    assert {type(layer) for layer in made.modules() if isinstance(layer, nn.Linear)} == {kind}


def test_few_numbers_of_rows_occur() -> None:
    numbers = range(1, 4096, 7)
    sizes = {number: len(filled(torch.ones(number, 1))) for number in numbers}
    assert all(number <= size < number + max(128, number // 4) for number, size in sizes.items())
    assert len(set(sizes.values())) <= 24
    assert torch.equal(filled(torch.ones(3, 2)).sum(0), torch.full((2,), 3.0))


def test_others_layers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "BY_ONEDNN", True)

    class Own(nn.Linear):
        pass

    layers = nn.ModuleList([Own(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))])
    multiply_fast(layers)
    assert [type(layer) for layer in layers] == [Own, nn.Sequential]
