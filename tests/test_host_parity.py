"""RecBole's models through our command equal RecBole's own classes, to the last printed digit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import read_by
from recbole.config import Config
from recbole.data.utils import create_dataset, data_preparation
from recbole.model.layers import FeedForward
from recbole.utils import get_model, get_trainer, init_seed

import recbole_unisid
from recbole_unisid.recbole_adapter import dropout
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dropout import chunk_dropout, draws_as_torch_does

SEQUENTIAL = [
    "SASRec",
    "GRU4Rec",
    "BERT4Rec",
    "Caser",
    "NARM",
    "FDSA",
    "SASRecF",
    "CORE",
    "LightSANs",
    "SINE",
    "FEARec",
]
GENERAL = ["Pop", "ItemKNN", "BPR"]
SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "train_batch_size": 512,
    "eval_batch_size": 256,
    "seed": 7,
    "exact_times": False,
    "MAX_ITEM_LIST_LENGTH": 10,
    # Deep and with many digits, so that one swapped pair of items shows.
    "topk": [20, 500],
    "valid_metric": "NDCG@20",
    "metric_decimal_place": 8,
    "show_progress": False,
    "use_gpu": False,
}


class ReferenceConfig(Config):
    """RecBole's Config, mended only where it crashes on NumPy 2."""

    def compatibility_settings(self) -> None:
        pass


def reference(model: str, settings: dict[str, Any]) -> dict[str, float]:
    """What RecBole's quick start does, without its imports of ray."""
    config = ReferenceConfig(model=model, config_dict=dict(settings))
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    network = get_model(model)(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    trainer.fit(train, valid, saved=True, show_progress=False)
    if settings.get("train_stage") == "pretrain":
        return {"saved": trainer.saved_model_file}
    return {key: float(value) for key, value in trainer.evaluate(test, load_best_model=True).items()}


def both_sides(
    model: str, root: Path, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> tuple[dict[str, Any], dict[str, float]]:
    """Our result and RecBole's metrics, from the same settings."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # RecBole pickles its Config (#2212)
    settings = read_by(model, SETTINGS | {"data_path": str(root)} | more)
    result = recbole_unisid.run(model=model, dataset="ml-mini", config_dict=settings, verbose=False)
    shared = UniSIDConfig(model, "ml-mini", settings=settings).resolved()
    shared |= {"checkpoint_dir": "reference"}
    if model == "S3Rec":
        saved = reference(model, shared | {"train_stage": "pretrain"})["saved"]
        return result, reference(model, shared | {"train_stage": "finetune", "pre_model_path": saved})
    return result, reference(model, shared)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e3])
def test_the_chunked_gelu_has_the_bits_of_recboles(scale: float) -> None:
    """Values and gradients, of a size that ends within a chunk."""
    x = torch.randn(3, 50, 997, generator=torch.Generator().manual_seed(0)) * scale
    slope = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    theirs, ours = x.clone().requires_grad_(), x.clone().requires_grad_()
    wanted = theirs * 0.5 * (1.0 + torch.erf(theirs / math.sqrt(2.0)))  # RecBole's line
    found = FeedForward.gelu(None, ours)
    assert type(found.grad_fn).__name__ == "_GeluBackward"
    wanted.backward(slope)
    found.backward(slope)
    assert torch.equal(found, wanted)
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.77])
def test_the_chunked_dropout_has_the_bits_of_torchs(rate: float) -> None:
    """Values, gradients and what the generator gives next, of a size that ends within a chunk."""
    x = torch.randn(3, 50, 997, generator=torch.Generator().manual_seed(0))
    x[0, 0, :3] = torch.tensor([math.inf, math.nan, -0.0])
    network = torch.nn.Sequential(torch.nn.Dropout(rate), torch.nn.Dropout1d(rate))
    found = []
    for mended in (False, True):
        if mended:
            chunk_dropout(network)
        inputs = x.clone().requires_grad_()
        torch.manual_seed(5)
        dropped = network[0](inputs)
        assert (type(dropped.grad_fn).__name__ == "_DropoutBackward") == (mended and draws_as_torch_does())
        dropped.backward(x.nan_to_num(0, 1, 1))
        assert inputs.grad is not None
        found.append([dropped.detach(), inputs.grad, torch.rand(9)])
    for wanted, ours in zip(*found, strict=True):
        assert torch.equal(wanted.view(torch.int32), ours.view(torch.int32))
    assert type(network[1]) is torch.nn.Dropout1d  # another layer is left alone
    assert network.eval()[0](x) is x


def test_dropout_of_another_generator_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a build of torch draws in another way, its own layer runs."""
    network = torch.nn.Sequential(torch.nn.Dropout(0.5))
    chunk_dropout(network)
    monkeypatch.setattr(dropout, "draw", lambda kept, *_: kept.fill_(True))
    draws_as_torch_does.cache_clear()
    try:
        assert not draws_as_torch_does()
        assert type(network(torch.ones(9999, requires_grad=True)).grad_fn).__name__ == "MulBackward0"
    finally:
        draws_as_torch_does.cache_clear()


@pytest.mark.parametrize("model", [*SEQUENTIAL, *GENERAL])
def test_equals_recbole(
    model: str, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of RecBole's metrics are equal, and ours come from the same scores."""
    result, expected = both_sides(model, ml_mini, monkeypatch)
    assert result["test"]["recbole"] == expected
    assert expected["mrr@500"] > 0
    ours = result["test"]["full" if model in GENERAL else "full_unfiltered"]
    # Ties count against the model with us, by RecBole's luck otherwise. Pop ranks by training counts with us alone.
    if model != "Pop":
        assert ours["ndcg@20"] <= expected["ndcg@20"] + 1e-7
    if model not in GENERAL:
        assert ours["ndcg@20"] == pytest.approx(expected["ndcg@20"], abs=1e-7)
        assert result["test"]["full"]["recall@20"] >= ours["recall@20"]


def test_s3rec_two_stages_in_one_run(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pretraining and finetuning in one command equal RecBole's two runs."""
    result, expected = both_sides("S3Rec", ml_mini, monkeypatch, pretrain_epochs=2, save_step=1)
    assert result["test"]["recbole"] == expected


@pytest.mark.parametrize("model", ["SASRec", "BPR"])
def test_coverage_metrics(
    model: str, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metrics that crash in RecBole 1.2.1 (#2191) come out, and within their bounds."""
    names = ["ItemCoverage", "GiniIndex", "TailPercentage", "AveragePopularity", "ShannonEntropy", "NDCG"]
    settings = read_by(model, SETTINGS | {"data_path": str(ml_mini), "metrics": names, "epochs": 1})
    result = recbole_unisid.run(model=model, dataset="ml-mini", config_dict=settings, verbose=False)
    found = result["test"]["recbole"]
    assert {key.partition("@")[0] for key in found} == {name.lower() for name in names}
    assert 0 < found["itemcoverage@20"] <= 1
    assert 0 < found["giniindex@20"] < 1
    assert 0 <= found["tailpercentage@20"] <= 1
    assert found["averagepopularity@20"] > 0


def test_sampled_candidates_of_recbole(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uni100 draws what RecBole draws, although our own figures come from a second, full pass."""
    evaluation = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni100"}
    result, expected = both_sides("GRU4Rec", ml_mini, monkeypatch, eval_args=evaluation)
    assert result["test"]["recbole"] == expected
    assert result["test"]["full"]["recall@20"] < expected["recall@20"]


@pytest.mark.parametrize(
    ("model", "args"),
    [
        ("GRU4Rec", {"split": {"RS": [0.8, 0.1, 0.1]}}),
        ("SASRec", {"split": {"RS": [7, 1, 2]}}),
        ("SASRec", {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "none"}),
    ],
)
def test_equals_recbole_under_its_ratio_split(
    model: str, args: dict[str, Any], ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several targets a user: RecBole's own figures to the last digit, and ours from the same scores."""
    result, expected = both_sides(model, ml_mini, monkeypatch, eval_args=args)
    assert result["test"]["recbole"] == expected
    assert result["test"]["full_unfiltered"]["ndcg@20"] == pytest.approx(expected["ndcg@20"], abs=1e-7)
