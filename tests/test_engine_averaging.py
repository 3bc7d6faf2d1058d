"""Averaged weights: the recursion itself, and that they are what is evaluated and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import recbole_unisid
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.optimisation import WeightAverage
from recbole_unisid.recbole_adapter.trainer import RunTrainer


def test_the_average_is_its_recursion() -> None:
    """By hand, in float64, with the warm-up of the first steps."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2).double()
    average = WeightAverage(model, decay=0.6)
    expected = [weight.detach().clone() for weight in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(1, 30):
        optimizer.zero_grad()
        model(torch.randn(4, 3, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
        average.update()
        decay = min(0.6, (1 + step) / (10 + step))
        expected = [
            decay * a + (1 - decay) * w.detach() for a, w in zip(expected, model.parameters(), strict=True)
        ]
    for own, by_hand in zip(average.average, expected, strict=True):
        torch.testing.assert_close(own, by_hand, rtol=1e-12, atol=1e-14)
    before = [weight.detach().clone() for weight in model.parameters()]
    with average.in_place():
        for weight, by_hand in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(weight.detach(), by_hand, rtol=1e-12, atol=1e-14)
    assert all(torch.equal(w, b) for w, b in zip(model.parameters(), before, strict=True))


def test_the_average_is_evaluated_and_kept(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`model.safetensors` holds the average at the best epoch, and not the last weights."""
    seen: dict[str, Any] = {}
    save = RunTrainer._save_checkpoint

    def look(self: Any, epoch: int, **more: Any) -> None:
        save(self, epoch, **more)
        seen["average"] = [a.clone() for a in self.averaged.average]
        seen["last"] = [w.detach().clone() for w in self.averaged.parameters]

    monkeypatch.setattr(RunTrainer, "_save_checkpoint", look)
    settings = {"epochs": 2, "weight_average": 0.9, "data_path": str(ml_mini), "use_gpu": False}
    settings |= {"show_progress": False}
    result = recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)
    kept = load_file(Path(result["run_dir"]) / "model.safetensors")
    table = kept["items.ids.weight"]
    assert any(torch.equal(table, a) for a in seen["average"] if a.shape == table.shape)
    assert not any(torch.equal(table, w) for w in seen["last"] if w.shape == table.shape)


def test_a_decay_must_be_below_one(ml_mini: Path, in_empty_folder: Path) -> None:
    """At 1 the average would stay where the weights began."""
    with pytest.raises(UserError, match="weight_average"):
        recbole_unisid.run(
            "ItemID", "ml-mini", {"weight_average": 1.0, "data_path": str(ml_mini)}, verbose=False
        )
