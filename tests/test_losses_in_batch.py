"""In-batch negatives: the loss against a loop, the correction against a simulation, cold items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_unisid.models.losses.in_batch import log_expected_in_batch, target_shares
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import TARGET_LIST, make_loaders

PLAIN: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "show_progress": False}


@pytest.mark.parametrize(("loss", "uniform"), [("in_batch_softmax", 0), ("mixed_softmax", 25)])
def test_loss_is_that_of_a_loop(loss: str, uniform: int, ml_mini: Path, in_empty_folder: Path) -> None:
    """float64: distinct targets as negatives, each divided by its expected count from the training targets."""
    given = PLAIN | {"data_path": str(ml_mini), "loss": loss, "negatives": 25, "train_batch_size": 300}
    config = UniSIDConfig("ItemID", "ml-mini", settings=given)
    loader = make_loaders(config, load_dataset(config)).train
    model = config.model_class(config, loader.dataset).double()
    with torch.no_grad():
        model.items.ids.weight.mul_(20)
    batches = list(loader)
    every_target = torch.cat([batch[TARGET_LIST][batch[TARGET_LIST] > 0] for batch in loader]).tolist()
    inputs, targets = batches[0]["item_id_list"], batches[0][TARGET_LIST]
    asked = targets[targets > 0].tolist()
    places = torch.randperm(model.n_items - 1, generator=torch.Generator().manual_seed(5))
    drawn = (places[:uniform] + 1).tolist()
    model.generator.manual_seed(5)
    found = model.calculate_loss(batches[0]).item()
    states = model.transformer(model.items.ids(inputs))[targets > 0]
    losses = []
    for state, target in zip(states, asked, strict=True):
        positive = np.exp(float(state @ model.items.ids.weight[target]))
        others = 0.0
        for item in [*sorted(set(asked)), *drawn]:
            share = every_target.count(item) / len(every_target)
            expected = 1 - (1 - share) ** (len(asked) - 1) + uniform / (model.n_items - 1)
            others += (item != target) * np.exp(float(state @ model.items.ids.weight[item])) / expected
        losses.append(-np.log(positive / (positive + others)))
    assert len(set(asked)) < len(asked)  # or "distinct" would not be tested
    assert found == pytest.approx(np.mean(losses), rel=1e-6)  # the shares are kept in float32


@pytest.mark.parametrize("uniform", [0, 10])
def test_correction_makes_the_normaliser_unbiased(uniform: int) -> None:
    """Mean over simulated batches of the corrected sum = the sum over the catalogue; uncorrected it is not."""
    rng = np.random.default_rng(0)
    items, positions, rounds = 40, 12, 40_000
    counts = rng.zipf(1.3, items).clip(1, 60)
    shares = target_shares(np.repeat(np.arange(1, items + 1), counts), items)
    scores = np.exp(rng.normal(size=items + 1))
    drawn = rng.choice(items + 1, (rounds, positions - 1), p=shares)  # the others of the batch
    occurs = np.zeros((rounds, items + 1))
    np.put_along_axis(occurs, drawn, 1.0, axis=1)  # distinct
    if uniform:
        even = rng.integers(1, items + 1, (rounds, uniform))
        occurs += (even[:, :, None] == np.arange(items + 1)).sum(1)
    expected = np.exp(log_expected_in_batch(torch.from_numpy(shares), positions, uniform / items).numpy()[1:])
    sums = (occurs[:, 1:] * scores[1:] / expected).sum(1)
    error = sums.std() / np.sqrt(rounds)
    assert abs(sums.mean() - scores[1:].sum()) < 4 * error
    assert error < 0.02 * scores[1:].sum()
    plain = (occurs[:, 1:] * scores[1:]).sum(1)
    assert abs(plain.mean() - scores[1:].sum()) > 40 * plain.std() / np.sqrt(rounds)


def test_expected_counts_are_sound_at_the_ends() -> None:
    """Tiny shares lose no digits, an only item is certain, a batch of one position is no NaN."""
    tiny = log_expected_in_batch(torch.tensor([1e-9], dtype=torch.float32), 1001)
    assert float(tiny.exp()) == pytest.approx(1e-6, rel=1e-5)
    assert float(log_expected_in_batch(torch.tensor([1.0]), 10)) == 0.0
    assert torch.isfinite(log_expected_in_batch(torch.tensor([0.5]), 1)).all()


@pytest.mark.parametrize("loss", ["in_batch_softmax", "mixed_softmax"])
def test_one_target_in_a_batch(loss: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """Where a batch has no other target, the loss and its gradients are finite (0 without uniform ones)."""
    given = PLAIN | {"data_path": str(ml_mini), "loss": loss}
    config = UniSIDConfig("ItemID", "ml-mini", settings=given)
    loader = make_loaders(config, load_dataset(config)).train
    model = config.model_class(config, loader.dataset)
    batch = next(iter(loader))
    batch[TARGET_LIST] = torch.where(
        torch.arange(batch[TARGET_LIST].numel()).view_as(batch[TARGET_LIST]) == 0, batch[TARGET_LIST], 0
    )
    value = model.calculate_loss(batch)
    value.backward()
    assert float(value) == pytest.approx(0.0, abs=1e-6) or loss == "mixed_softmax"
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("loss", ["in_batch_softmax", "mixed_softmax"])
def test_cold_items_are_no_negatives(loss: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """Under the cold-item split no gradient meets an item without training; uniform draws are fewer items'."""
    given = PLAIN | {"data_path": str(ml_mini), "loss": loss, "split": "cold_items", "cold_share": 0.2}
    config = UniSIDConfig("ItemID", "ml-mini", settings=given)
    dataset = load_dataset(config)
    loader = make_loaders(config, dataset).train
    cold = np.flatnonzero(dataset.split.training_counts(dataset.sequences) == 0)[1:]
    model = config.model_class(config, loader.dataset)
    for batch in loader:
        model.calculate_loss(batch).backward()
    touched = model.items.ids.weight.grad.abs().sum(1).nonzero().flatten().numpy()
    assert set(touched).isdisjoint(cold)
    assert len(touched) > 0.5 * (model.n_items - len(cold))
