"""A batch in two shards: the loss and gradients of the whole, the same bits with any number of threads."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recbole_unisid.models import shards
from recbole_unisid.models.backbones.dropout import FastDropout, draw_fast, drawing_from
from recbole_unisid.models.shards import ahead, divide, each, halves, in_shards, safe_in_threads
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.random_state import repeatable_sums
from recbole_unisid.recbole_adapter.semantics import item_semantics

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


def loss_and_slopes(model: Any, batch: Any, seed: int = 3) -> dict[str, Tensor]:
    """Of a model, by parameter; the same negatives and the same dropout for one seed."""
    torch.manual_seed(seed)
    model.loss.generator.manual_seed(seed)
    model.zero_grad()
    with repeatable_sums(True):
        loss = model.calculate_loss(batch)
        (3 * loss).backward()
    return {"loss": loss.detach()} | {
        name: x.grad for name, x in model.named_parameters() if x.grad is not None
    }


def made(data: Path, name: str = "UniSID", **settings: Any) -> tuple[Any, Any]:
    text = {"text_encoder": "lsa", "codebook_sizes": [16, 16]} if name == "UniSID" else {}
    given = (
        {"data_path": str(data), "use_gpu": False, "show_progress": False, "negatives": 20} | text | settings
    )
    config = UniSIDConfig(name, "ml-mini", settings=given)
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    loaders = make_loaders(config, dataset)
    torch.manual_seed(1)
    model = config.make_model(dataset).train()
    draw_fast(model)
    divide(model)
    return model, next(iter(loaders.train))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "softmax", "backbone": "hstu"},
        {"loss": "mixed_softmax", "backbone": "recurrence", "lookahead_weight": 0.5},
        {"label_smoothing": 0.2, "semantics": "joint", "text_encoder": "lsa", "collisions": "none"},
    ],
)
def test_shards_have_the_loss_and_gradients_of_the_whole(
    settings: dict[str, Any], ml_mini: Path, in_empty_folder: Path
) -> None:
    """Whatever stands around the loss; a parameter that no shard reads has no gradient."""
    model, batch = made(ml_mini, **NO_DROPOUT, **settings)
    found = loss_and_slopes(model, batch)
    if settings.get("semantics") == "joint":  # its codebooks have moved
        model, batch = made(ml_mini, **NO_DROPOUT, **settings)
    assert model.divided is not None
    model.divided = None
    whole = loss_and_slopes(model, batch)
    assert found.keys() == whole.keys()
    for name, slope in whole.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-4, atol=1e-6, msg=name)


def test_threads_leave_every_bit_as_it_is(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout included, however the threads take turns; what fails in one is raised."""
    model, batch = made(ml_mini)
    alone = loss_and_slopes(model, batch)
    assert not torch.equal(loss_and_slopes(model, batch, seed=4)["loss"], alone["loss"])
    with ThreadPoolExecutor(2) as workers:
        monkeypatch.setattr(shards, "WORKERS", workers)
        for _ in range(5):
            found = loss_and_slopes(model, batch)
            assert all(torch.equal(found[name], slope) for name, slope in alone.items())
        model.transformer.norm.weight = nn.Parameter(torch.ones(3))
        with pytest.raises(RuntimeError, match="shape"):
            loss_and_slopes(model, batch)


def test_what_is_unknown_is_not_cut(ml_mini: Path, in_empty_folder: Path) -> None:
    """A backbone or loss of somebody else may draw random numbers of torch's own, or look at the whole batch."""
    model, batch = made(ml_mini, name="ItemID")
    with torch.no_grad():  # nothing is added up for a gradient
        assert not model.calculate_loss(batch).requires_grad
    assert made(ml_mini, name="ItemID", loss="bce")[0].divided is None
    feed_forward = model.transformer.blocks[0].feed_forward
    feed_forward.append(nn.Dropout(0.3))  # not one that draws fast
    model.divided = None
    divide(model)
    assert model.divided is None
    del feed_forward[-1]
    for part in ("loss", "transformer"):
        own = type(getattr(model, part))
        getattr(model, part).__class__ = type("Another", (own,), {})
        model.divided = None
        divide(model)
        assert model.divided is None
        getattr(model, part).__class__ = own
    divide(model)
    assert model.divided is not None


def test_work_goes_to_threads_and_comes_back_in_order() -> None:
    """With this thread's state of gradients; work within a thread stays there; what fails is raised."""

    def square(number: int) -> tuple[int, bool, list[int]]:
        time.sleep(0.01 * (number % 2))
        return number**2, torch.is_grad_enabled(), each(lambda other: other + number, [1, 2])

    wanted = [(n**2, False, [1 + n, 2 + n]) for n in range(9)]
    with torch.no_grad():
        assert each(square, range(9)) == [*ahead(square, range(9))] == wanted
        with ThreadPoolExecutor(2) as workers, pytest.MonkeyPatch.context() as patch:
            patch.setattr(shards, "WORKERS", workers)
            assert each(square, range(9)) == [*ahead(square, range(9))] == wanted
            for call in (each, ahead):
                with pytest.raises(ZeroDivisionError):
                    list(call(lambda number: 1 // number, range(-1, 9)))


def test_halves() -> None:
    """By targets, not by rows; in one piece where one half would have none."""

    def asked(*counts: int) -> Tensor:
        return torch.arange(9) < torch.tensor(counts)[:, None]

    assert halves(asked(1, 1, 1, 1)) == [2, 2]
    assert halves(asked(2, 2, 9, 1)) == [2, 2]
    assert halves(asked(9, 1, 1, 1)) == [4]
    assert halves(asked(0, 3, 3)) == [2, 1]
    assert halves(asked(0, 9)) == [2]
    assert halves(asked(5)) == [1]


def test_a_sum_over_shards_in_its_own_threads() -> None:
    """Tensors without a gradient, and parameters that are not learned, have none; nothing is left on the tape."""
    apart = torch.arange(6.0).requires_grad_()
    fixed, scale = torch.tensor(2.0), nn.Parameter(torch.tensor(3.0))
    frozen = nn.Parameter(torch.tensor(5.0), requires_grad=False)

    def share(number: int, own: Tensor, common: Tensor) -> Tensor:
        return (own * common * scale * frozen).sum() + number

    total = in_shards(share, [[part] for part in apart.split([2, 4])], [fixed], [scale, frozen])
    assert total.item() == 15 * 2 * 3 * 5 + 1
    total.backward()
    assert apart.grad is not None
    assert apart.grad.tolist() == [30.0] * 6
    assert scale.grad == 150
    assert frozen.grad is None


def test_a_forked_process_has_no_threads_and_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes can be forked: it would wait for threads that it does not have."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork on this system")
    with ThreadPoolExecutor(2) as workers:
        monkeypatch.setattr(shards, "WORKERS", workers)
        assert each(abs, [-1, 2]) == [1, 2]
        child = multiprocessing.get_context("fork").Process(target=each, args=(abs, [-1, 2]))
        child.start()
        child.join(60)
        assert child.exitcode == 0


def test_terms_of_somebody_else_stay_in_one_thread(ml_mini: Path, in_empty_folder: Path) -> None:
    """What is not written here may keep what it made from call to call."""
    model, _ = made(ml_mini, name="ItemID", score_terms=["all"])
    assert safe_in_threads(model)
    model.terms["seen"].__class__ = type("Another", (type(model.terms["seen"]),), {})
    assert not safe_in_threads(model)


@pytest.mark.parametrize("rate", [0.5, 0.1])
def test_dropout(rate: float) -> None:
    """A share of the values, the rest scaled up; by the seed, and nothing in evaluation."""
    layer, values = FastDropout(rate), torch.ones(999, 7)
    torch.manual_seed(1)
    dropped = layer(values)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - rate)], rel=2e-5)
    assert abs(float((dropped == 0).float().mean()) - rate) < 0.02
    assert float(FastDropout(rate)(torch.ones(1 << 20)).mean()) == pytest.approx(1, abs=0.005)
    torch.manual_seed(1)
    torch.testing.assert_close(layer(values, 2 * values), 2 + dropped)
    with drawing_from(torch.Generator().manual_seed(1)):
        assert torch.equal(layer(values), dropped)
        assert not torch.equal(layer(values), dropped)
    assert torch.equal(layer.eval()(values), values)
    assert torch.equal(layer(values, values), 2 * values)
    assert not FastDropout(1.0)(values).any()
    assert torch.equal(FastDropout(0.0)(values), values)
    assert layer(values.double()).dtype == torch.float64
    network = nn.Sequential(nn.Dropout(rate), nn.Dropout1d(rate), nn.ReLU())
    draw_fast(network)
    assert [type(part) for part in network] == [FastDropout, nn.Dropout1d, nn.ReLU]
