"""Items without a training interaction: UniSID treats them as new once training has ended, in leave-one-out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import recbole_unisid
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.items.fold import fold_items
from recbole_unisid.items.representation import ItemRepresentation
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.finished_run import StoredConfig, StoredDataset, build_stored_model
from recbole_unisid.recbole_adapter.trainer import RunTrainer
from recbole_unisid.runs import after_training
from recbole_unisid.runs.folder import RunFolder
from recbole_unisid.runs.single import train
from recbole_unisid.runs.stored import read_run
from recbole_unisid.serving.add_items import add_items
from recbole_unisid.serving.loaded import LoadedRun

#: Other splits than leave-one-out.
SPLITS: dict[str, dict[str, Any]] = {
    "global_time": {"split": "global_time"},
    "ratio": {"eval_args": {"split": {"RS": [0.6, 0.2, 0.2]}}},
}


def settings_of(ml_mini: Path, **more: Any) -> dict[str, Any]:
    """Quick settings; the ID has coordinates of its own."""
    settings = {
        "data_path": str(ml_mini),
        "id_join": "concatenate",
        "text_encoder": "lsa",
        "codebook_sizes": [8, 8],
        "distances": ["cosine", "euclidean"],
        "epochs": 4,
        "eval_step": 1,
        "show_progress": False,
    }
    return settings | more


def never_trained(run: LoadedRun) -> Tensor:
    """Whether an item was never trained on, bool [n_items + 1]; there are some."""
    found = torch.from_numpy(run.items.training_counts == 0)
    found[0] = False
    assert 10 < int(found.sum()) < run.n_items / 2
    return found


def weighted_means(run: LoadedRun) -> Tensor:
    """By the formula, item by item: the vectors of those that were never trained on, ascending."""
    items, never = run.model.items, never_trained(run)
    texts = run.model.terms["text"].vectors[: len(never)]
    numbers = torch.arange(len(never))
    own = torch.cat([items.semantic(numbers), items.ids.weight[: len(never)]], dim=1)
    trained = (~never).nonzero().flatten()[1:]
    means = []
    for item in never.nonzero().flatten():
        cosines = torch.cosine_similarity(texts[trained], texts[item][None], dim=1)
        near = cosines.argsort(descending=True)[:10]
        weights = (cosines[near] / 0.03).exp()
        means.append((weights / weights.sum()) @ own[trained[near]])
    return torch.stack(means)


@pytest.mark.parametrize("split", ["global_time", "ratio"])
def test_under_other_splits_they_stay_as_they_are(split: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """By the calendar they are many: means of trained ones lose there. They are of mean popularity."""
    settings = settings_of(ml_mini, epochs=1, **SPLITS[split])
    run = recbole_unisid.load(recbole_unisid.run("UniSID", "ml-mini", settings, verbose=False)["run_dir"])
    assert run.model.items.untrained is None
    assert run.model.items.new_items.shift is None
    level, never = run.model.terms["popularity"].level, never_trained(run)
    trained = (~never).nonzero().flatten()[1:]
    torch.testing.assert_close(level[never], level[trained].mean().expand(int(never.sum())))


def test_they_are_means_of_the_nearest_and_as_popular_as_new_ones(
    ml_mini: Path, in_empty_folder: Path
) -> None:
    """By the formula; all other items have their own parts."""
    settings = settings_of(ml_mini, epochs=1, new_item_popularity=0.8, shrinkage=0)
    run = recbole_unisid.load(recbole_unisid.run("UniSID", "ml-mini", settings, verbose=False)["run_dir"])
    items, never = run.model.items.requires_grad_(False), never_trained(run)
    assert torch.equal(items.untrained, never)
    vectors = items.all_items()
    torch.testing.assert_close(vectors[never], weighted_means(run), atol=1e-5, rtol=1e-5)
    trained = (~never).nonzero().flatten()[1:]
    assert torch.equal(vectors[trained, 64:], items.ids.weight[trained])
    level = run.model.terms["popularity"].level
    torch.testing.assert_close(level[never], torch.quantile(level[trained], 0.8).expand(int(never.sum())))


def test_training_knows_nothing_of_it(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights, losses, validations and best epoch, with new items and without; other scores after that."""
    during, results, weights = [], [], []
    step = RunTrainer._train_epoch

    def noted(self: Any, *given: Any, **named: Any) -> Any:
        during.append(self.model.items.untrained)
        return step(self, *given, **named)

    monkeypatch.setattr(RunTrainer, "_train_epoch", noted)
    monkeypatch.setattr(
        after_training, "_mean_and_error", lambda _: (0.0, 0.0)
    )  # items stay moved, whatever it does here
    for neighbours in (10, 0):
        settings = settings_of(ml_mini, new_item_neighbours=neighbours)
        results.append(recbole_unisid.run("UniSID", "ml-mini", settings, verbose=False))
        weights.append(load_file(Path(results[-1]["run_dir"]) / "model.safetensors"))
    assert during == [None] * 8
    told = ("epoch", "loss", "valid")
    new, old = ([[epoch[key] for key in told] for epoch in result["history"]] for result in results)
    assert new == old
    assert results[0]["best_epoch"] == results[1]["best_epoch"]
    learned = [{k: v for k, v in one.items() if not k.startswith("terms.")} for one in weights]
    assert learned[0].pop("items.untrained").any()
    assert learned[0].pop("items.new_items.shift").any()
    assert learned[0].keys() == learned[1].keys()
    assert all(torch.equal(value, learned[1][name]) for name, value in learned[0].items())
    assert results[0]["test"] != results[1]["test"]


def test_a_stopped_run_goes_on_to_the_same_end(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped once they are new, before anything is measured: checkpoints hold nothing of it."""
    whole = recbole_unisid.run("UniSID", "ml-mini", settings_of(ml_mini, output_dir="whole"), verbose=False)
    settings = settings_of(ml_mini, output_dir="parts")
    config = UniSIDConfig("UniSID", "ml-mini", settings)
    folder = RunFolder(config)
    folder.path.mkdir(parents=True)
    folder.begin()
    trained = train(config, folder)
    assert trained.trainer.model.items.untrained is not None
    monkeypatch.setattr(RunTrainer, "_train_epoch", lambda *_, **__: pytest.fail("trained again"))
    parts = recbole_unisid.run("UniSID", "ml-mini", settings, verbose=False)
    assert parts["test"] == whole["test"]


def test_a_finished_run_scores_as_it_did(served_runs: Callable[[str], Path]) -> None:
    """Loaded, its test targets that were never trained on have the ranks of ranks.npz; folded, the same vectors."""
    run = recbole_unisid.load(served_runs("UniSID"))
    never, table = never_trained(run), RankTable.load(run.path / "ranks.npz")
    numbers, users = {name: number for number, name in enumerate(run.item_ids)}, run.sequences
    assert users is not None
    targets = np.array([numbers[name] for name in table.target])
    at = np.flatnonzero(never[torch.from_numpy(targets)].numpy())
    assert len(at) > 3
    places = users.offsets[1:] - 1  # the last of each user is tested
    assert (users.items[places] == targets).all()
    histories = [users.items[users.offsets[user] : places[user]] for user in at]
    scores = run.scores(histories)
    own = scores[np.arange(len(at)), targets[at]][:, None]
    least, most = (scores[:, 1:] > own + 1e-5).sum(1) + 1, (scores[:, 1:] >= own - 1e-5).sum(1)
    ranks = table.ranks["full_unfiltered"][at]
    assert ((least <= ranks) & (ranks <= most)).all()
    assert run.item_vectors is not None
    np.testing.assert_allclose(fold_items(run.model.items).vectors(), run.item_vectors, atol=1e-6)


def test_untrained_items_of_another_size_are_refused(served_runs: Callable[[str], Path]) -> None:
    """A damaged file is no model."""
    stored = read_run(served_runs("UniSID"))
    config = StoredConfig(stored.settings)
    dataset = StoredDataset(config, stored.catalogue, 40, stored.semantics())
    for name in ("items.untrained", "items.new_items.shift"):
        for damaged in (stored.weights[name][:-1], stored.weights[name][..., :-1]):
            with pytest.raises(UserError, match="not those of this UniSID"):
                build_stored_model(config, dataset, stored.weights | {name: damaged})


def test_added_items_come_to_them(served_runs: Callable[[str], Path], tmp_path: Path) -> None:
    """They are like the trained ones alone; nothing old changes, though neighbours are kept from before."""
    folder = tmp_path / "run"
    shutil.copytree(served_runs("UniSID"), folder)
    (tmp_path / "new.csv").write_text(
        "item_id,movie_title,class\nn1,Fargo,Crime Drama\nn2,Space Sheriff,Sci-Fi\n"
    )
    before = recbole_unisid.load(folder)
    never, old = never_trained(before), before.item_vectors
    assert old is not None
    add_items(folder, tmp_path / "new.csv", show_progress=False)
    run = recbole_unisid.load(folder)
    items = run.model.items
    assert torch.equal(items.untrained, torch.cat([never, torch.ones(2, dtype=torch.bool)]))
    assert run.item_vectors is not None
    np.testing.assert_allclose(run.item_vectors[:-2], old, atol=1e-6)
    level = run.model.terms["popularity"].level
    assert torch.equal(level[-2:], level[:-2][never][:1].expand(2))


def test_a_warm_start_trains_them_anew(
    served_runs: Callable[[str], Path], ml_mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is untrained during training; which ones are, is found of the new data."""
    run, during, check = served_runs("UniSID"), [], RunTrainer._check_nan
    start = recbole_unisid.load(run)
    folder = tmp_path / "ml-more"
    folder.mkdir()
    name = start.item_ids[int(never_trained(start).nonzero()[0])]
    rows = (ml_mini / "ml-mini" / "ml-mini.inter").read_text()
    others = [item for item in start.item_ids[1:] if item != name][:3]
    more = "".join(f"someone\t{item}\t4\t{10**9 + at}\n" for at, item in enumerate([name, *others]))
    (folder / "ml-more.inter").write_text(rows + more)
    shutil.copy(ml_mini / "ml-mini" / "ml-mini.item", folder / "ml-more.item")

    def noted(self: Any, loss: Tensor) -> None:
        during.append(self.model.items.untrained)
        check(self, loss)

    monkeypatch.setattr(RunTrainer, "_check_nan", noted)
    settings = {"from": str(run), "data_path": str(tmp_path), "output_dir": str(tmp_path / "runs")}
    result = recbole_unisid.run(
        dataset="ml-more", config_dict=settings | {"show_progress": False}, verbose=False
    )
    assert during
    assert not any(one is not None for one in during)
    found = recbole_unisid.load(result["run_dir"])
    never = never_trained(found)
    assert not never[found.item_ids.index(name)]
    assert torch.equal(found.model.items.untrained, never)


def test_a_model_without_the_setting_keeps_their_own_parts(served_runs: Callable[[str], Path]) -> None:
    """So do UniSID's recipes `plain` and `paper`, whose runs have no such setting above 0."""
    for model in ("SemanticID", "ItemID", "DenseText"):
        folder = served_runs(model)
        assert (
            not {"items.untrained", "items.new_items.shift"} & load_file(folder / "model.safetensors").keys()
        )
        assert recbole_unisid.load(folder).model.items.untrained is None


def test_nothing_is_kept_where_all_are_trained(ml_mini: Path, in_empty_folder: Path) -> None:
    """A run of a data set without such items has the weights that it had."""
    folder = in_empty_folder / "data" / "ml-known"
    folder.mkdir(parents=True)
    head, *rows = (ml_mini / "ml-mini" / "ml-mini.inter").read_text().splitlines()
    first = sorted({row.split("\t")[1] for row in rows[:200]})
    rows = [
        f"{user}\t{item}\t4\t{at}" for user in range(6) for at, item in enumerate(first[user:] + first[:user])
    ]
    (folder / "ml-known.inter").write_text("\n".join([head, *rows]) + "\n")
    shutil.copy(ml_mini / "ml-mini" / "ml-mini.item", folder / "ml-known.item")
    settings = settings_of(folder.parent, epochs=1)
    result = recbole_unisid.run("UniSID", "ml-known", settings, verbose=False)
    assert "items.untrained" not in load_file(Path(result["run_dir"]) / "model.safetensors")
    assert json.loads((Path(result["run_dir"]) / "result.json").read_text())["data"]["items"] == len(first)


def test_items_that_a_split_has_set_apart_stay_so() -> None:
    """Nothing is decided twice, nor without neighbours."""
    from recbole_unisid.items.new_items import treat_untrained_as_new
    from recbole_unisid.items.representation import SemanticTokens

    trained = np.array([False, True, False, True])
    for neighbours, apart, expected in ((2, None, [2]), (0, None, None), (2, torch.tensor([1, 2]), [3])):
        items = ItemRepresentation(
            3, SemanticTokens(torch.zeros(4, 1, dtype=torch.int64), [2], 4), id_width=2
        )
        items.new_items.neighbours = neighbours
        if apart is not None:
            items.leave_untrained(apart)
        treat_untrained_as_new(SimpleNamespace(items=items, terms=None), trained)
        found = None if items.untrained is None else items.untrained.nonzero().flatten().tolist()
        assert found == expected
