"""Score terms: weights against another optimiser, and one figure everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import recbole_unisid
from recbole_unisid.data.split import TEST
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.models.score_terms import ScoreTerm
from recbole_unisid.models.score_terms.fit import fitted_weights
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics
from recbole_unisid.recbole_adapter.trainer import RunTrainer
from recbole_unisid.serving.export import export
from recbole_unisid.serving.recommender import Recommender

ALL = ["seen", "text", "transitions", "neighbours", "popularity"]
WITHOUT_TEXT = ["seen", "seen_last", "seen_lately", "transitions", "neighbours", "popularity"]


def test_weights_are_those_of_another_optimiser() -> None:
    """The prior counts, items that are no candidates do not, and parts of the cases are one sum."""
    generator = np.random.default_rng(1)
    found = generator.normal(size=(3, 200, 12))
    unused = np.zeros(12, dtype=bool)
    unused[[0, 5]] = True
    chances = np.exp(np.einsum("f,fcn->cn", [0.7, 1.5, -0.4], found))
    chances[:, unused] = 0
    targets = np.array([generator.choice(12, p=row / row.sum()) for row in chances])

    def parts() -> Any:
        for rows in (slice(0, 150), slice(150, 200)):
            yield torch.from_numpy(found[:, rows]), torch.from_numpy(targets[rows])

    def loss(weights: Any) -> float:
        scores = np.einsum("f,fcn->cn", weights, found)
        scores[:, unused] = -np.inf
        own = scores[np.arange(200), targets]
        return float((np.log(np.exp(scores).sum(1)) - own).sum() + 0.5 * ((weights - [1, 0, 0]) ** 2).sum())

    expected = minimize(loss, [1, 0, 0], tol=1e-10).x
    for start in (None, torch.tensor([3.0, 0, 2]).double(), torch.from_numpy(expected)):
        weights = fitted_weights([parts, lambda: iter(())], 3, torch.from_numpy(unused), start)
        np.testing.assert_allclose(weights, expected, atol=1e-5)


def test_a_few_cases_first_lead_to_the_same_weights(ml_mini: Path, in_empty_folder: Path) -> None:
    """Of several lists of cases the last decides, wherever the others lead."""
    given = {"data_path": str(ml_mini), "show_progress": False, "score_terms": ["all"]}
    config = UniSIDConfig("ItemID", "ml-mini", given)
    dataset = load_dataset(config)
    batches = list(make_loaders(config, dataset).valid)
    model, few = config.make_model(dataset).eval(), [(batches[0][0][:3], None, None, batches[0][3][:3])]
    found = []
    for cases in ([batches], [few, batches], [few]):
        model.terms.fit(model, *cases)
        found.append(model.terms.weights.clone())
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=0)
    assert not torch.allclose(found[2], found[0], atol=0.1)


def test_popularity_counts_as_much_as_the_setting_says(ml_mini: Path, in_empty_folder: Path) -> None:
    """Its fitted weight alone is multiplied; at 1, as before the setting was, a run has the hash that it had."""
    given = {"data_path": str(ml_mini), "show_progress": False, "use_gpu": False}
    found = {}
    for scale in (1.0, 1.5):
        config = UniSIDConfig("ItemID", "ml-mini", given | {"popularity_scale": scale})
        dataset = load_dataset(config)
        batches = list(make_loaders(config, dataset).valid)
        torch.manual_seed(0)
        model = config.make_model(dataset).eval()
        model.terms.fit(model, batches)
        found[scale] = model.terms.by_name()
        assert config.hashed().get("popularity_scale", 1.0) == scale
    assert "popularity_scale" not in UniSIDConfig("ItemID", "ml-mini", given).hashed()
    assert found[1.0]["popularity"] != 0
    expected = found[1.0] | {"popularity": 1.5 * found[1.0]["popularity"]}
    assert found[1.5] == pytest.approx(expected, rel=1e-6)


def test_without_cases_that_tell_the_score_stays_the_models() -> None:
    """The prior: one case, and features that are the same of all items, or no numbers."""
    for value in (1.0, math.nan):
        same, unused = torch.full((3, 1, 5), value), torch.zeros(5, dtype=torch.bool)
        weights = fitted_weights([lambda same=same: iter([(same, torch.tensor([2]))])], 3, unused)  # type: ignore[misc]
        assert weights.tolist() == pytest.approx([1, 0, 0], abs=1e-6)


def repeating(root: Path, name: str, share: float) -> None:
    """A data set where a share of the items are ones that the user had, the others new to them."""
    generator = np.random.default_rng(0)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(200):
        past: list[int] = []
        for time in range(8):
            new = [item for item in range(40) if item not in past]
            again = past and generator.random() < share
            past.append(int(generator.choice(past if again else new)))
            lines.append(f"u{user}\ti{past[-1]}\t{time}")
    (root / name).mkdir()
    (root / name / f"{name}.inter").write_text("\n".join(lines) + "\n")


def test_the_offset_of_seen_items_follows_how_people_repeat(in_empty_folder: Path) -> None:
    """Above 0 where half of the items are had before, far below where none is; figures without a filter follow."""
    given = {
        "data_path": str(in_empty_folder),
        "output_dir": "runs",
        "epochs": 2,
        "eval_step": 1,
        "show_progress": False,
    }
    found = {}
    for name, share in (("again", 0.5), ("never", 0.0)):
        repeating(in_empty_folder, name, share)
        for terms in (["seen"], []):
            found[name, bool(terms)] = recbole_unisid.run(
                "ItemID", name, given | {"score_terms": terms}, verbose=False
            )
    assert found["again", True]["score_terms"]["seen"] > 0.5
    assert found["never", True]["score_terms"]["seen"] < -1
    assert found["never", False]["score_terms"] is None
    for name in ("again", "never"):
        figures = [found[name, terms]["test"]["full_unfiltered"]["ndcg@10"] for terms in (True, False)]
        assert figures[0] > figures[1]
    assert (
        found["never", True]["test"]["full"] == found["never", False]["test"]["full"]
    )  # seen ones are left out


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("ItemID", {}),
        ("DenseText", {}),
        ("UniSID", {"split": "cold_items"}),
        ("UniSID", {"split": "global_time"}),
        ("SemanticID", {"valid_candidates": "sampled99", "semantics": "joint"}),
    ],
)
def test_runs_with_the_defaults_rank_by_their_terms(
    model: str, settings: dict[str, Any], ml_mini: Path, in_empty_folder: Path
) -> None:
    """Every feature has a weight, and the saved ranks are those that the loaded run gives, whatever is set beside."""
    given = {"data_path": str(ml_mini), "epochs": 1, "eval_step": 1, "show_progress": False} | settings
    if model != "ItemID":
        given |= {"text_encoder": "lsa"} | ({} if model == "DenseText" else {"codebook_sizes": [4, 4]})
    result = recbole_unisid.run(model, "ml-mini", given, verbose=False)
    text = [] if model == "ItemID" else ["text", "text_cold"]
    assert list(result["score_terms"]) == [*WITHOUT_TEXT[:3], *text, *WITHOUT_TEXT[3:]]
    assert all(result["score_terms"].values())
    run = recbole_unisid.load(result["run_dir"])
    config = UniSIDConfig(model, "ml-mini", given)
    assert type(run.model.transformer).__name__ == "FilterTransformer"
    dataset = load_dataset(config)
    dataset.build_sequences()
    sequences, cases = dataset.sequences, dataset.split.targets(TEST)
    owners, asked = sequences.owners(cases), sequences.items[cases]
    table = RankTable.load(Path(result["run_dir"]) / "ranks.npz")
    assert np.array_equal(table.user, sequences.user_ids[owners])
    starts = zip(sequences.offsets[owners], cases, strict=True)
    past = [sequences.items[start:case] for start, case in starts]
    scores = run.scores(past)
    scores[:, 0] = -np.inf
    own = scores[np.arange(len(asked)), asked]
    above, level = (scores > own[:, None] + 1e-5).sum(1), (scores >= own[:, None] - 1e-5).sum(1)
    assert ((above < table.ranks["full_unfiltered"]) & (table.ranks["full_unfiltered"] <= level)).all()


def test_without_validation_targets_terms_add_nothing(ml_mini: Path, in_empty_folder: Path) -> None:
    """One warning, zeros as weights, and the figures of a run without terms; the run loads and is exported."""
    given = {"data_path": str(ml_mini), "epochs": 1, "show_progress": False, "text_encoder": "lsa"}
    given |= {"codebook_sizes": [4, 4], "eval_args": {"split": {"LS": "test_only"}}}
    given |= {"new_item_neighbours": 0}  # found by the text of its term, where it has one
    result = recbole_unisid.run("UniSID", "ml-mini", given, verbose=False)
    assert set(result["score_terms"].values()) == {0.0}
    without = recbole_unisid.run("UniSID", "ml-mini", given | {"score_terms": []}, verbose=False)
    assert result["test"] == without["test"]
    logs = [(Path(one["run_dir"]) / "log.txt").read_text() for one in (result, without)]
    assert [log.count("Nothing is validated on") for log in logs] == [1, 0]
    run = recbole_unisid.load(result["run_dir"])
    pytest.importorskip("onnx")
    exported = Recommender(export(run, in_empty_folder / "export", progress=False))
    scores = run.scores([np.array([1, 2])])[0]
    assert exported.recommend([run.item_ids[1], run.item_ids[2]], 1, True)[0].score == pytest.approx(
        scores[1:].max(), rel=1e-4
    )


def test_a_data_set_without_text_has_the_terms_that_need_none(in_empty_folder: Path) -> None:
    repeating(in_empty_folder, "again", 0.5)
    given = {"data_path": str(in_empty_folder), "epochs": 1, "show_progress": False}
    result = recbole_unisid.run("ItemID", "again", given, verbose=False)
    assert list(result["score_terms"]) == WITHOUT_TEXT
    assert result["score_terms"]["seen"] > 0.5


def test_text_needs_a_model_that_reads_text(ml_mini: Path, in_empty_folder: Path) -> None:
    with pytest.raises(UserError, match="score_terms: text needs a model that reads text"):
        recbole_unisid.run(
            "ItemID", "ml-mini", {"data_path": str(ml_mini), "score_terms": ["text"]}, verbose=False
        )


def test_all_are_those_that_the_model_can_have(ml_mini: Path, in_empty_folder: Path) -> None:
    given = {"data_path": str(ml_mini), "epochs": 1, "show_progress": False, "score_terms": "all,seen"}
    result = recbole_unisid.run("ItemID", "ml-mini", given, verbose=False)
    assert list(result["score_terms"]) == WITHOUT_TEXT
    given |= {"text_encoder": "lsa", "codebook_sizes": [4, 4]}
    result = recbole_unisid.run("SemanticID", "ml-mini", given, verbose=False)
    assert set(result["score_terms"]) == {*WITHOUT_TEXT, "text", "text_cold"}
    assert recbole_unisid.load(result["run_dir"]).model.terms.features == list(result["score_terms"])


class Recent(ScoreTerm):
    """A term of one's own: the newest items of the catalogue first."""

    features = ("recent",)

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.n_items = n_items

    @classmethod
    def from_config(cls, config: Any, dataset: Any) -> Recent:
        return cls(dataset.item_num - 1)

    def forward(self, histories: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        row = torch.arange(self.n_items + 1) / self.n_items
        return row.expand(1, len(histories), -1)

    def append(self, vectors: torch.Tensor | None, count: int) -> None:
        self.n_items += count


def test_a_term_of_ones_own_is_served_and_not_exported(
    ml_mini: Path, nothing_in_use: Path, served_runs: Callable[[str], Path]
) -> None:
    name = recbole_unisid.use(Recent)
    settings = {"data_path": str(ml_mini), "epochs": 1, "show_progress": False, "score_terms": ["seen", name]}
    result = recbole_unisid.run("ItemID", "ml-mini", settings, verbose=False)
    assert result["score_terms"]["recent"] != 0
    run = recbole_unisid.load(result["run_dir"])
    assert run.scores([np.array([1, 2])]).shape == (1, run.n_items + 1)
    with pytest.raises(UserError, match="cannot hold the score term 'Recent'"):
        export(run, nothing_in_use / "export", progress=False)


class Narrow(Recent):
    """A term that gives too few items."""

    def forward(self, histories: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return super().forward(histories, lengths)[:, :, 1:]


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ("sean", "score_terms='sean' is none of seen, text"),
        (["seen", Narrow], r"'Narrow' gives \[1, \d+, \d+\]; finite features \[1, "),
    ],
)
def test_what_is_no_term_is_said_before_the_training(
    terms: Any, said: str, ml_mini: Path, nothing_in_use: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunTrainer, "fit", lambda *_, **__: pytest.fail("trained"))
    named = terms if isinstance(terms, str) else ["seen", recbole_unisid.use(Narrow)]
    given = {"data_path": str(ml_mini), "show_progress": False, "score_terms": named}
    with pytest.raises(UserError, match=said):
        recbole_unisid.run("ItemID", "ml-mini", given, verbose=False)


def test_cold_items_are_no_candidates_of_the_fit(ml_mini: Path, in_empty_folder: Path) -> None:
    """Under the cold-item split nothing of them is known: what they would have scored does not move the weights."""

    given = {
        "data_path": str(ml_mini),
        "text_encoder": "lsa",
        "show_progress": False,
        "codebook_sizes": [4, 4],
        "split": "cold_items",
        "score_terms": ["text"],
    }
    config = UniSIDConfig("UniSID", "ml-mini", given)
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    loaders = make_loaders(config, dataset)
    model = config.make_model(loaders.train.dataset).eval()
    never_trained = model.terms.unused.clone()
    trained = (~never_trained).nonzero()[:50, 0]

    def fitted(items: torch.Tensor, value: float) -> torch.Tensor:
        model.terms["text"].cold[items] = value
        model.terms.fit(model, list(loaders.valid), ranked=list(loaders.valid))
        return model.terms.weights.clone()

    assert torch.equal(fitted(never_trained, 1.0), fitted(never_trained, 0.0))
    assert not torch.equal(fitted(trained, 1.0), fitted(trained, 0.0))
