"""TIGER through the same command, run folder, resume and report as the other models."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

import recbole_unisid
from recbole_unisid import products
from recbole_unisid.data.split import TEST
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.candidates import sample_negatives
from recbole_unisid.models.backbones.base import Backbone
from recbole_unisid.models.backbones.hstu import Hstu
from recbole_unisid.models.backbones.transformer import CausalTransformer, FilterTransformer
from recbole_unisid.models.tiger import TIGER
from recbole_unisid.recbole_adapter.collector import RankRecorder
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import TARGET_POSITION, load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics
from recbole_unisid.recbole_adapter.trainer import RunTrainer
from recbole_unisid.report.gather import gather_report
from recbole_unisid.runs import single
from recbole_unisid.serving.loaded import load

QUICK: dict[str, Any] = {
    "epochs": 3,
    "text_encoder": "lsa",
    "codebook_sizes": [8, 8],
    "show_progress": False,
    "use_gpu": False,
}
SMALL_T5: dict[str, Any] = {
    "architecture": "encoder_decoder",
    "semantic_dim": 16,
    "n_layers": 1,
    "n_heads": 2,
    "head_dim": 8,
    "inner_size": 32,
    "user_tokens": 10,
    "MAX_ITEM_LIST_LENGTH": 5,
    "train_batch_size": 256,
    "schedule": "inverse_sqrt",
    "warmup_steps": 5,
}


def run(root: Path, **more: Any) -> dict[str, Any]:
    settings = QUICK | {"data_path": str(root)} | more
    result: dict[str, Any] = recbole_unisid.run("TIGER", "ml-mini", settings, verbose=False)
    return result


def built(root: Path, **more: Any) -> tuple[TIGER, Any, Any]:
    """An untrained model, its test loader and its data."""
    config = UniSIDConfig("TIGER", "ml-mini", settings=QUICK | {"data_path": str(root)} | more)
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    loaders = make_loaders(config, dataset)
    torch.manual_seed(0)
    model = TIGER(config, dataset).eval()
    for weight in model.parameters():  # no two items alike, as after training
        weight.data.add_(0.2 * torch.randn_like(weight))
    return model, loaders.test, dataset


@pytest.mark.parametrize("more", [{"ranker": "beam", "beams": 30}, {"ranker": "exact"}, SMALL_T5])
def test_run_folder_and_report(more: dict[str, Any], ml_mini: Path, in_empty_folder: Path) -> None:
    """Every file of the contract; the ranker stands in the result and beside the name in every table."""
    result = run(ml_mini, **more, seeds="3,4")
    for one in result:
        folder = Path(one["run_dir"])
        names = {path.name for path in folder.iterdir()}
        assert {"config.yaml", "result.json", "ranks.npz", "model.safetensors", "tokens.tsv"} <= names
        people = json.loads((folder / "examples.json").read_text())["people"]
        assert {"head", "tail", "short", "long"} <= set(one["test"]["slices"])
        with np.load(folder / "ranks.npz") as ranks:
            full = dict(zip(ranks["user"].tolist(), ranks["rank_full"].tolist(), strict=True))
            assert {person["user"]: person["rank"] for person in people}.items() <= full.items()
            for person in people:  # what is recommended is what was ranked
                place = [*person["recommended"], person["target"]].index(person["target"]) + 1
                assert place == person["rank"] or (place == 11 and person["rank"] > 10)
            if more.get("ranker") == "beam":
                assert ranks["rank_full_unfiltered"].max() == 31
                assert (ranks["rank_sampled99"] <= 100).all()
                assert len(np.unique(ranks["rank_sampled99"])) > 10  # exact, not the beam's ties
    board = next(Path("runs/ml-mini").glob("benchmark-*/leaderboard.md")).read_text()
    if more.get("ranker") == "beam":
        ranker = result[0]["ranker"]
        assert (ranker["name"], ranker["width"], ranker["users"]) == ("beam", 30, 40)
        assert 0.5 < ranker["top10_share"] <= 1
        assert "TIGER (beam 30)" in board
        assert "a beam of 30 holds" in board
        assert "rank 31" in board
    else:
        assert result[0]["ranker"] == {"name": "exact"}
        assert "TIGER (exact)" in board


def test_tokens_of_others_stand_in_one_leaderboard(ml_mini: Path, in_empty_folder: Path) -> None:
    """Codes from files, however long their paths: each row names its own."""
    folders = [run(ml_mini, epochs=1)["run_dir"]]
    lines = (Path(folders[0]) / "tokens.tsv").read_text().splitlines()
    place = Path("a-folder-with-a-long-name/that-fills-a-label-by-itself/codes-of-others")
    place.mkdir(parents=True)
    names, codes = zip(*(line.split("\t") for line in lines[1:]), strict=True)
    for file, values in (("as_they_were", codes), ("turned_round", codes[::-1])):
        rows = [f"{name}\t{value}" for name, value in zip(names, values, strict=True)]
        (place / f"{file}.tsv").write_text("\n".join([lines[0], *rows]) + "\n")
        folders.append(
            run(ml_mini, epochs=1, tokenizer="file", tokens_file=str(place / f"{file}.tsv"))["run_dir"]
        )
    labels = [row.model for row in gather_report(folders).board.rows]
    assert len(set(labels)) == 3
    assert all(any(name in label for label in labels) for name in ("as_they_were", "turned_round"))


@pytest.mark.parametrize(("name", "kind"), [("filter", FilterTransformer), ("hstu", Hstu)])
def test_the_causal_form_takes_any_backbone(
    name: str, kind: type[Backbone], ml_mini: Path, in_empty_folder: Path
) -> None:
    """It is trained, kept and loaded; attention is as wide as `attention_dim` says."""
    result = run(ml_mini, backbone=name, n_heads=2, attention_dim=32, epochs=1)
    writer = load(Path(result["run_dir"])).model.writer
    assert type(writer.transformer) is kind
    assert {layer.heads for layer in writer.transformer.modules() if hasattr(layer, "heads")} == {2}
    plain = built(ml_mini, n_heads=2, head_dim=16)[0].writer.transformer
    assert type(plain) is CausalTransformer
    assert plain.blocks[0].attention.query_key_value.out_features == 3 * 32


def test_other_models_have_no_ranker(ml_mini: Path, in_empty_folder: Path) -> None:
    settings = {"epochs": 1, "show_progress": False, "data_path": str(ml_mini)}
    assert recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)["ranker"] is None


@pytest.mark.parametrize("more", [{}, SMALL_T5])
def test_training_lowers_the_loss(more: dict[str, Any], ml_mini: Path, in_empty_folder: Path) -> None:
    history = run(ml_mini, **more, epochs=6, learning_rate=0.01)["history"]
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]


@pytest.mark.parametrize(
    "more", [{"ranker": "beam"}, SMALL_T5, SMALL_T5 | {"relative_rate": True, "softmax_over": "codes"}]
)
def test_stopped_run_goes_on_bit_for_bit(
    more: dict[str, Any], ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout, the schedule and the order of batches go on where they were."""
    given = {"train_batch_size": 300, "checkpoint_minutes": 0, **more}
    whole = run(ml_mini, **given, output_dir="whole")
    check, calls = RunTrainer._check_nan, 0

    def stop_in_the_second_epoch(self: Any, loss: torch.Tensor) -> None:
        nonlocal calls
        calls += bool(self.history)
        if calls == 3:
            raise KeyboardInterrupt
        check(self, loss)

    monkeypatch.setattr(RunTrainer, "_check_nan", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run(ml_mini, **given, output_dir="parts")
    monkeypatch.setattr(RunTrainer, "_check_nan", check)
    parts = run(ml_mini, **given, output_dir="parts")
    assert [e["loss"] for e in parts["history"]] == [e["loss"] for e in whole["history"]]
    assert parts["test"] == whole["test"]


@pytest.mark.parametrize("more", [{}, SMALL_T5])
def test_one_row_through_predict_agrees_with_the_full_scores(
    more: dict[str, Any], ml_mini: Path, in_empty_folder: Path
) -> None:
    """RecBole counts FLOPs with one row; its scores are the catalogue's, padding or not."""
    model, loader, _ = built(ml_mini, ranker="exact", **more)
    batch = next(iter(loader))[0]
    with torch.no_grad():
        scores = model.full_sort_predict(batch)  # [batch, n_items]
        row = batch[3:4]
        row.update(Interaction({"item_id": torch.tensor([7])}))
        assert torch.isneginf(scores[:, 0]).all()
        torch.testing.assert_close(model.predict(row), scores[3, [7]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("more", [{}, SMALL_T5])
def test_a_beam_lists_items_with_their_exact_likelihoods(
    more: dict[str, Any], ml_mini: Path, in_empty_folder: Path
) -> None:
    """Whatever the chunks that memory is bounded by."""
    model, loader, _ = built(ml_mini, ranker="beam", beams=25, **more)
    batch = next(iter(loader))[0]
    with torch.no_grad():
        exact, listed = model.exact_scores(batch), model.full_sort_predict(batch)
        held = listed > -torch.inf
        assert (held.sum(1) == 25).all()
        torch.testing.assert_close(listed[held], exact[held], rtol=0, atol=1e-4)
        model.numbers = 1  # a user and a prefix at a time
        torch.testing.assert_close(model.full_sort_predict(batch), listed, rtol=0, atol=1e-4)


def test_ranks_of_a_beam(ml_mini: Path, in_empty_folder: Path) -> None:
    """Beyond the beam a rank is width + 1; sampled candidates have the exact scorer's ranks."""
    model, loader, dataset = built(ml_mini, ranker="beam", beams=200)
    targets, negatives = dataset.split.targets(TEST), sample_negatives(dataset.sequences)
    by_beam, by_exact = (RankRecorder(dataset.sequences, targets, negatives, "user_id") for _ in range(2))
    with torch.no_grad():
        for batch, *_ in loader:
            assert TARGET_POSITION in batch
            by_beam.record(model.full_sort_predict(batch), batch, model)
            by_exact.record(model.exact_scores(batch), batch)
    beam, exact = by_beam.result(), by_exact.result()
    assert np.array_equal(beam["sampled99"], exact["sampled99"])
    listed = beam["full_unfiltered"] <= 200
    assert 0 < listed.sum() < len(listed)
    assert (beam["full_unfiltered"][~listed] == 201).all()
    assert (beam["full"][~listed] == 201).all()
    assert (beam["full_unfiltered"][listed] <= exact["full_unfiltered"][listed]).all()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"collisions": "none"}, "share their codes .*--collisions=suffix"),
        ({"architecture": "mamba"}, "architecture=mamba must be one of causal_items"),
        ({"ranker": "fast"}, "ranker=fast must be one of"),
        ({"ranker": "beam", "beams": 10}, "beams=10 cannot be measured at 20"),
    ],
)
def test_settings_that_cannot_be_used(
    more: dict[str, Any], message: str, ml_mini: Path, in_empty_folder: Path
) -> None:
    with pytest.raises(UserError, match=message):
        run(ml_mini, **more, epochs=1)


@pytest.mark.parametrize(("architecture", "shapes"), [("encoder_decoder", "1024"), ("causal_items", "64")])
def test_shapes_are_kept_before_texts_are_encoded(
    architecture: str, shapes: str, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN reads once, at its first product, how many shapes it keeps; a run's first products encode its texts."""
    kept: list[str] = []

    def encoded(*given: Any) -> Any:
        kept.append(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"])
        return item_semantics(*given)

    monkeypatch.setattr(products, "_GIVEN", False)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    monkeypatch.setattr(single, "item_semantics", encoded)
    more = SMALL_T5 if architecture == "encoder_decoder" else {}
    run(ml_mini, **more, epochs=1)
    assert kept == [shapes]
