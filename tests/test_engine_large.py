"""Large catalogues: what a step touches alone is drawn and moved, and it comes to the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_engine_resume import assert_same_ranks, run
from torch import nn

from recbole_unisid.models.losses import next_item
from recbole_unisid.models.losses.draw import LARGE_CATALOGUE, distinct_numbers
from recbole_unisid.recbole_adapter import lazy_table
from recbole_unisid.recbole_adapter.lazy_table import LazyTable
from recbole_unisid.recbole_adapter.optimisation import WeightAverage, shrink_table
from recbole_unisid.recbole_adapter.trainer import RunTrainer


@pytest.mark.parametrize("shrink", [0.0, 1.0])
def test_a_lazy_table_is_where_a_dense_one_is(shrink: float) -> None:
    """Adam and the average, at rates and gradients that change, over gaps of one step and of a thousand."""
    torch.manual_seed(0)
    dense, lazy = (nn.Embedding(50, 3, padding_idx=0).double() for _ in range(2))
    lazy.load_state_dict(dense.state_dict())
    adam = torch.optim.Adam(dense.parameters(), lr=0.01)
    average, table = WeightAverage(dense, 0.99), LazyTable(lazy, averaged=True, shrink=shrink)
    shrink_table(adam, dense.weight, shrink)
    for step in range(1500):
        adam.param_groups[0]["lr"] = rate = 0.01 / (1 + step / 300)
        seldom = step % 700 == 0
        items = torch.unique(torch.randint(0, 50 if seldom else 25, (8,)))
        items = [items, items.flip(0), items.repeat_interleave(2)][step % 3]
        pull = torch.randn(len(items), 3, dtype=torch.float64) * 1e-2
        for one in (dense, lazy):
            one.zero_grad()
            (one(items) * pull).sum().backward()
        adam.step()
        table.step(rate, average.update())
        if step in (600, 900):
            table.flush()
    with torch.no_grad():
        torch.testing.assert_close(lazy(torch.arange(50)), dense.weight.data, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(table.kept[:, 2], average.average[0], rtol=1e-7, atol=1e-8)
    assert not lazy.weight[0].any()


@pytest.fixture
def lazily(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every catalogue counts as large for the ID table; negatives are drawn as ever."""
    monkeypatch.setattr(lazy_table, "LARGE_CATALOGUE", 0)
    return monkeypatch


def test_a_run_is_that_of_the_dense_table(
    ml_mini: Path, in_empty_folder: Path, lazily: pytest.MonkeyPatch
) -> None:
    """Losses, validation and test, within rounding; the schedule and the average go along."""
    built = []
    make = lazy_table.LazyTable
    lazily.setattr(lazy_table, "LazyTable", lambda *given, **more: built.append(1) or make(*given, **more))
    lazy = run("UniSID", ml_mini, "lazy", eval_step=1)
    assert built
    lazily.setattr(lazy_table, "LARGE_CATALOGUE", LARGE_CATALOGUE)
    dense = run("UniSID", ml_mini, "dense", eval_step=1)
    for name in ("loss", "valid"):
        found, wanted = ([epoch[name] for epoch in one["history"]] for one in (lazy, dense))
        assert found == pytest.approx(wanted, rel=1e-4)
    assert len(built) == 1


def test_a_stopped_run_goes_on_bit_for_bit(
    ml_mini: Path, in_empty_folder: Path, lazily: pytest.MonkeyPatch
) -> None:
    """Rows that are behind are kept as they stand."""
    whole = run("ItemID", ml_mini, "whole")
    check, calls = RunTrainer._check_nan, 0

    def stop(self: Any, loss: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        check(self, loss)

    lazily.setattr(RunTrainer, "_check_nan", stop)
    with pytest.raises(KeyboardInterrupt):
        run("ItemID", ml_mini, "parts")
    lazily.setattr(RunTrainer, "_check_nan", check)
    parts = run("ItemID", ml_mini, "parts")
    assert [e["loss"] for e in parts["history"]] == [e["loss"] for e in whole["history"]]
    assert_same_ranks(whole["run_dir"], parts["run_dir"])


@pytest.mark.parametrize(
    "settings", [{"weight_decay": 0.01}, {"clip_grad_norm": {"max_norm": 5}}, {"loss": "softmax"}]
)
def test_what_needs_the_whole_gradient_is_dense(
    settings: dict[str, Any], ml_mini: Path, in_empty_folder: Path, lazily: pytest.MonkeyPatch
) -> None:
    """No lazy table is made."""
    lazily.setattr(lazy_table, "LazyTable", None)
    run("ItemID", ml_mini, "dense", epochs=1, **settings)


def test_negatives_of_a_large_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distinct, uniform, and drawn otherwise only above the bound."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([distinct_numbers(5, 20, generator) for _ in range(8000)])
    assert bool((drawn[:, 1:] > drawn[:, :-1]).all())
    counts = torch.bincount(drawn.flatten(), minlength=20).double()
    assert len(counts) == 20
    deviation = (8000 * 0.25 * 0.75) ** 0.5
    assert float((counts - 2000).abs().max()) < 4 * deviation
    config = {"negatives": 7, "seed": 5}
    for items, large in ((40, False), (41, True)):
        monkeypatch.setattr(next_item, "LARGE_CATALOGUE", 40)
        loss = next_item.SampledSoftmax(config, None, torch.arange(1, items + 1))
        again = torch.Generator().manual_seed(5)
        wanted = distinct_numbers(7, items, again) if large else torch.randperm(items, generator=again)[:7]
        assert torch.equal(loss.uniform(), 1 + wanted)
