"""A run that is loaded again scores as it did."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recbole_unisid
from recbole_unisid.data.split import TEST, leave_one_out
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.recbole_adapter.finished_run import StoredConfig, StoredDataset, build_stored_model
from recbole_unisid.recbole_adapter.trainer import RunTrainer
from recbole_unisid.runs.stored import read_run
from recbole_unisid.serving.loaded import LoadedRun

MODELS = ["UniSID", "SemanticID", "ItemID", "DenseText", "SASRec"]


def cases_of(run: LoadedRun) -> tuple[np.ndarray, list[np.ndarray]]:
    """Target and history of every test case of the leave-one-out split."""
    sequences = run.sequences
    assert sequences is not None
    positions = leave_one_out(sequences).targets(TEST)
    users = sequences.users[positions]
    histories = [sequences.items[sequences.offsets[u] : at] for u, at in zip(users, positions, strict=True)]
    return sequences.items[positions], histories


@pytest.mark.parametrize("model", MODELS)
def test_loaded_scores_give_the_ranks_of_the_run(model: str, served_runs: Callable[[str], Path]) -> None:
    """The ranks of ranks.npz, of every test case, out of the loaded model's scores."""
    run = recbole_unisid.load(served_runs(model))
    targets, histories = cases_of(run)
    scores = run.scores(histories)
    table = RankTable.load(run.path / "ranks.npz")
    assert table.target.tolist() == [run.item_ids[target] for target in targets]
    own = scores[np.arange(len(targets)), targets][:, None]
    assert np.isfinite(scores).all()
    # A difference in the last bit may tell a tie apart: nothing beyond that.
    least = (scores[:, 1:] > own + 1e-5).sum(axis=1) + 1
    most = (scores[:, 1:] >= own - 1e-5).sum(axis=1)
    ranks = table.ranks["full_unfiltered"]
    assert ((least <= ranks) & (ranks <= most)).all()
    assert (most - least).mean() < 0.05 * run.n_items


def test_scores_are_state_times_vector_and_terms(served_runs: Callable[[str], Path]) -> None:
    """The folded item vectors hold everything about an item but its score terms, for each of our models."""
    for model in ("UniSID", "SemanticID", "ItemID", "DenseText"):
        run = recbole_unisid.load(served_runs(model))
        histories = [np.array([1, 2, 3]), np.array([7]), np.arange(1, 90)]
        assert run.item_vectors is not None
        expected, terms = run.states(histories) @ run.item_vectors.T, run.model.terms
        for row, history in zip(expected, histories, strict=True):
            recent = torch.from_numpy(history[-run.model.max_seq_length :])[None]
            row += (terms.weights @ terms(recent, torch.tensor([recent.shape[1]]))[:, 0]).numpy()
        np.testing.assert_allclose(run.scores(histories), expected, atol=1e-5, rtol=1e-6)


def test_the_data_set_is_not_needed(served_runs: Callable[[str], Path], tmp_path: Path) -> None:
    """Without the data set, in another place, the same scores come out; there are no sequences then."""
    histories = [np.array([3, 5, 8])]
    before = recbole_unisid.load(served_runs("UniSID")).scores(histories)
    shutil.copytree(served_runs("UniSID"), tmp_path / "elsewhere")
    run = recbole_unisid.load(tmp_path / "elsewhere", data_path=tmp_path / "nothing")
    assert (run.scores(histories) == before).all()
    assert run.sequences is None


def test_codes_and_titles_are_those_of_the_run(served_runs: Callable[[str], Path]) -> None:
    """Codes are tokens.tsv, titles those of the item file, looked up in three ways."""
    run = recbole_unisid.load(served_runs("UniSID"))
    lines = [line.split("\t") for line in (run.path / "tokens.tsv").read_text().splitlines()[1:]]
    assert [item for item, _ in lines] == run.item_ids[1:]
    assert run.codes is not None
    assert [" ".join(map(str, row)) for row in run.codes[1:].tolist()] == [codes for _, codes in lines]
    number = run.number_of("Fargo")
    assert run.titles[number] == "Fargo"
    assert run.number_of(run.item_ids[number]) == run.number_of("FARG") == number
    assert recbole_unisid.load(served_runs("ItemID")).titles == run.titles


@pytest.mark.parametrize(
    ("name", "words"),
    [("Fargoo", ["Fargoo", "Did you mean Fargo"]), ("e", ["part of", "write more"]), ("", ["no item"])],
)
def test_unknown_items_are_named_with_near_ones(
    name: str, words: list[str], served_runs: Callable[[str], Path]
) -> None:
    """One line that helps."""
    with pytest.raises(UserError) as error:
        recbole_unisid.load(served_runs("ItemID")).number_of(name)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("history", [[], [0], [-1], [10**6]])
def test_histories_of_no_item_are_refused(history: list[int], served_runs: Callable[[str], Path]) -> None:
    """Neither padding nor what is beyond the catalogue is an item."""
    run = recbole_unisid.load(served_runs("ItemID"))
    for call in (run.states, run.scores):
        with pytest.raises(UserError, match="item numbers"):
            call([np.array(history, dtype=np.int64)])


def test_loading_leaves_the_random_state_alone(served_runs: Callable[[str], Path]) -> None:
    """A caller's draws are the same with and without a load between them."""
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    recbole_unisid.load(served_runs("UniSID"))
    assert (torch.rand(2) == expected).all()


def test_models_without_histories_are_refused(
    ml_mini: Path, in_empty_folder: Path, served_runs: Callable[[str], Path]
) -> None:
    """Pop knows users by number; the line says so."""
    settings = {"data_path": str(ml_mini), "epochs": 1, "show_progress": False}
    folder = recbole_unisid.run("Pop", "ml-mini", settings, verbose=False)["run_dir"]
    with pytest.raises(UserError, match="knows users by number"):
        recbole_unisid.load(folder)


def test_a_run_without_serving_files_gets_them_without_training(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the error line advises works: result.json deleted, the same command, no epoch trained."""
    settings = {"data_path": str(ml_mini), "epochs": 2, "show_progress": False}
    folder = Path(recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)["run_dir"])
    histories = [np.array([4, 2])]
    before = recbole_unisid.load(folder).scores(histories)
    for name in ("serving.json", "items.tsv", "result.json"):
        (folder / name).unlink()
    monkeypatch.setattr(RunTrainer, "_train_epoch", lambda *_, **__: pytest.fail("trained again"))
    recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)
    np.testing.assert_array_equal(recbole_unisid.load(folder).scores(histories), before)


@pytest.mark.parametrize("neighbours", [0, 10])
def test_a_run_of_the_cold_item_split(neighbours: int, ml_mini: Path, in_empty_folder: Path) -> None:
    """Its cold items have the mean ID, or means of some trained ones' that differ."""
    settings = {
        "data_path": str(ml_mini),
        "split": "cold_items",
        "cold_share": 0.3,
        "new_item_neighbours": neighbours,
        "id_join": "concatenate",  # so that the ID has coordinates of its own
        "text_encoder": "lsa",
        "codebook_sizes": [8, 8],
        "distances": ["cosine", "euclidean"],
        "epochs": 1,
        "show_progress": False,
    }
    run = recbole_unisid.load(recbole_unisid.run("UniSID", "ml-mini", settings, verbose=False)["run_dir"])
    counts = run.items.training_counts
    assert run.item_vectors is not None
    ids = run.item_vectors[:, 64:]
    assert ids.shape[1] == 32  # titles say little
    cold = np.flatnonzero(counts == 0)[1:]
    assert len(cold) > 20
    trained = ids[counts > 0].mean(axis=0)
    if neighbours:
        assert np.abs(ids[cold] - trained).max(axis=1).min() > 1e-4
    else:
        np.testing.assert_allclose(ids[cold], np.broadcast_to(trained, ids[cold].shape), atol=1e-6)


@pytest.mark.parametrize("loss", ["in_batch_softmax", "mixed_softmax", "gbce"])
def test_runs_of_every_loss_are_loaded(loss: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """What a loss reads of the training data is not needed afterwards."""
    settings = {"data_path": str(ml_mini), "loss": loss, "epochs": 1, "show_progress": False}
    run = recbole_unisid.load(recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)["run_dir"])
    assert np.isfinite(run.scores([np.array([1, 2])])[:, 1:]).all()


def test_a_model_that_scores_in_its_own_way_has_no_vectors(
    served_runs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors are offered only where state @ vector is the score, so that nobody exports a wrong index."""
    from recbole_unisid.models.unisid import UniSID
    from recbole_unisid.models.whole_sequence import WholeSequenceRecommender

    def halved(self: Any, interaction: Any) -> torch.Tensor:
        scores: torch.Tensor = WholeSequenceRecommender.full_sort_predict(self, interaction) / 2
        return scores

    histories = [np.array([1, 2])]
    run = recbole_unisid.load(served_runs("UniSID"))
    usual = run.scores(histories)
    monkeypatch.setattr(UniSID, "full_sort_predict", halved)
    assert run.item_vectors is None
    np.testing.assert_allclose(run.scores(histories), usual / 2, atol=1e-6)
    with pytest.raises(UserError, match="no item vectors"):
        run.states(histories)


def test_a_device_that_is_not_there_is_refused(served_runs: Callable[[str], Path]) -> None:
    """One line, before anything is built."""
    with pytest.raises(UserError, match="no device 'gpu'; name cpu"):
        recbole_unisid.load(served_runs("ItemID"), device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU here for device 'cuda:1'"):
            recbole_unisid.load(served_runs("ItemID"), device="cuda:1")


@pytest.mark.parametrize(
    ("model", "words"), [("HGN", "known users only"), ("GRU4RecF", "reads more of its data set")]
)
def test_models_that_need_more_than_histories_are_refused(
    model: str, words: str, ml_mini: Path, in_empty_folder: Path
) -> None:
    """RecBole's models of users, and of item features, train as ever and say why they cannot be loaded."""
    settings = {"data_path": str(ml_mini), "epochs": 1, "show_progress": False}
    folder = recbole_unisid.run(model, "ml-mini", settings, verbose=False)["run_dir"]
    with pytest.raises(UserError, match=words) as error:
        recbole_unisid.load(folder)
    assert "\n" not in str(error.value)


def test_weights_of_another_shape_are_refused(served_runs: Callable[[str], Path]) -> None:
    """Should a manifest vouch for them, the model still says that they are not its own."""
    stored, other = (read_run(served_runs(model)) for model in ("ItemID", "UniSID"))
    config = StoredConfig(stored.settings, "cpu")
    dataset = StoredDataset(config, stored.catalogue, 40, stored.semantics())
    with pytest.raises(UserError, match="not those of this ItemID") as error:
        build_stored_model(config, dataset, other.weights)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="reads 'class' of the data set"):
        dataset.num("class")
