"""Score terms: weights against another optimiser, and one figure everywhere."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize

import recbole_unisid
from recbole_unisid.config.settings import registered
from recbole_unisid.data.split import TEST
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.files import sha256_of
from recbole_unisid.models.score_terms import ScoreTerm, ScoreTerms
from recbole_unisid.models.score_terms.fit import fitted_weights
from recbole_unisid.models.score_terms.text import TextSimilarity
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics
from recbole_unisid.recbole_adapter.trainer import RunTrainer
from recbole_unisid.runs.manifest import write_manifest
from recbole_unisid.serving.add_items import add_items
from recbole_unisid.serving.export import export
from recbole_unisid.serving.recommender import Recommender, RecommenderError

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
        weights = fitted_weights(parts, 3, torch.from_numpy(unused), start)
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


def test_without_cases_that_tell_the_score_stays_the_models() -> None:
    """The prior: one case, and features that are the same of all items, or no numbers."""
    for value in (1.0, math.nan):
        same, unused = torch.full((3, 1, 5), value), torch.zeros(5, dtype=torch.bool)
        weights = fitted_weights(lambda same=same: iter([(same, torch.tensor([2]))]), 3, unused)  # type: ignore[misc]
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


@pytest.fixture(scope="module")
def finished(ml_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of UniSID with all terms."""
    root = tmp_path_factory.mktemp("terms")
    settings = {
        "data_path": str(ml_mini),
        "output_dir": str(root),
        "cache_dir": str(root / "cache"),
        "epochs": 2,
        "eval_step": 1,
        "text_encoder": "lsa",
        "codebook_sizes": [8, 8],
        "score_terms": ALL,
        "show_progress": False,
    }
    return Path(recbole_unisid.run("UniSID", "ml-mini", settings, verbose=False)["run_dir"])


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


def some_histories(n_items: int) -> list[np.ndarray]:
    """Histories of all lengths, repeats among them, and longer ones than the model reads."""
    generator = np.random.default_rng(3)
    return [generator.integers(1, n_items + 1, length) for length in (1, 2, 3, 7, 20, 49, 50, 51, 80)]


def test_a_loaded_run_adds_the_terms(finished: Path) -> None:
    """The scores are state @ vector and the weighted features, by hand."""
    run = recbole_unisid.load(finished)
    terms: ScoreTerms = run.model.terms
    assert list(run.stored.result["score_terms"]) == terms.features
    assert bool((terms.weights != 0).all())
    past = some_histories(run.n_items)
    assert run.item_vectors is not None
    base = run.states(past) @ run.item_vectors.T
    for history, row, score in zip(past, base, run.scores(past), strict=True):
        recent = torch.from_numpy(history[-50:])[None]
        features = terms(recent, torch.tensor([recent.shape[1]]))[:, 0]
        np.testing.assert_allclose(
            score[1:], (row + (terms.weights @ features).numpy())[1:], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("index", ["exact", "hnsw"])
def test_an_export_recommends_what_the_run_does(finished: Path, tmp_path: Path, index: str) -> None:
    pytest.importorskip("onnx")
    run = recbole_unisid.load(finished)
    export(run, tmp_path / "export", index, progress=False)
    exported = Recommender(tmp_path / "export")
    past = some_histories(run.n_items)
    scores = run.scores(past)
    scores[:, 0] = -np.inf
    for seen in (True, False):
        answers = exported.recommend_many([[run.item_ids[i] for i in one] for one in past], 10, seen)
        for history, row, answer in zip(past, scores.copy(), answers, strict=True):
            if not seen:
                row[history] = -np.inf
            best = np.argsort(-row, kind="stable")[:10]
            assert [one.id for one in answer] == [run.item_ids[item] for item in best]
            np.testing.assert_allclose([one.score for one in answer], row[best], rtol=1e-4, atol=1e-4)


def test_damaged_terms_of_an_export_are_refused(finished: Path, tmp_path: Path) -> None:
    """A link to an item that is not there, behind right checksums."""
    pytest.importorskip("onnx")
    folder = export(recbole_unisid.load(finished), tmp_path / "export", progress=False)
    tensors = load_file(folder / "vectors.safetensors")
    tensors["neighbours.items"][0] = 10**6
    save_file(tensors, folder / "vectors.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text())
    path = folder / "vectors.safetensors"
    manifest["files"][path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    del manifest["sha256"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RecommenderError, match="score terms that are damaged"):
        Recommender(folder)


def test_new_items_are_found_by_their_text(finished: Path, tmp_path: Path) -> None:
    """Its text counts as that of an item trained on once; old scores stay, a further version keeps the first's."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    old = recbole_unisid.load(folder)
    twin = old.number_of("Space Jam (1996)") if "Space Jam (1996)" in old.titles else 5
    rows = [f'n{k},"{old.titles[twin]}",Adventure Comedy,1996' for k in (1, 2)]
    for number, row in enumerate(rows):
        (tmp_path / f"{number}.csv").write_text(f"item_id,movie_title,class,release_year\n{row}\n")
        add_items(folder, tmp_path / f"{number}.csv", show_progress=False)
    run = recbole_unisid.load(folder)
    past = some_histories(old.n_items)
    np.testing.assert_allclose(run.scores(past)[:, :-2], old.scores(past), atol=1e-5)
    text: TextSimilarity = run.model.terms["text"]
    assert text.cold[-2:].tolist() == pytest.approx([math.exp(-1 / 5)] * 2)
    assert torch.allclose(text.vectors[-1], text.vectors[-2])
    assert text.vectors[-1].norm().item() == pytest.approx(1)
    with_new = [np.array([old.n_items + 1, twin]), np.array([old.n_items + 2])]
    assert np.isfinite(run.scores(with_new)).all()
    once = recbole_unisid.load(folder, catalogue=2)
    np.testing.assert_allclose(once.scores(past), run.scores(past)[:, :-1], atol=1e-5)


@pytest.mark.parametrize("text", [False, True])
def test_all_of_an_older_run_are_those_that_it_has(
    text: bool, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with ``score_terms: [all]`` from before there was popularity gives the scores that it gave."""
    given = {"data_path": str(ml_mini), "epochs": 1, "eval_step": 1, "show_progress": False}
    given |= {"text_encoder": "lsa", "codebook_sizes": [4, 4]} if text else {}
    with monkeypatch.context() as then:
        known = {name: kind for name, kind in registered("score_terms").items() if name != "popularity"}
        then.setattr("recbole_unisid.models.score_terms.terms.registered", lambda _: known)
        result = recbole_unisid.run("UniSID" if text else "ItemID", "ml-mini", given, verbose=False)
        before = recbole_unisid.load(result["run_dir"]).scores([np.array([1, 2])])
    run = recbole_unisid.load(result["run_dir"])
    assert run.model.terms.features == list(result["score_terms"])
    assert "popularity" not in run.model.terms
    np.testing.assert_array_equal(run.scores([np.array([1, 2])]), before)


LINKS, LEVEL = "terms.transitions.links.", "terms.popularity.level"
MANY = 1 << 22


@pytest.mark.parametrize(
    "damage",
    [
        {LINKS + "items": lambda items: items.index_fill(0, torch.tensor(0), 10**6)},
        {LINKS + "items": lambda items: items.index_fill(0, torch.tensor(0), 0)},
        {LINKS + "starts": lambda starts: starts.index_fill(0, torch.tensor(1), -1)},
        {LINKS + "starts": lambda starts: torch.cat([starts, starts[-1:].expand(MANY)])},
        {LINKS + part: lambda old: old[:1].repeat(MANY) for part in ("items", "values")}
        | {LINKS + "starts": lambda starts: (starts > 0) * MANY},
        {LINKS + part: lambda old: old[:1].repeat(101) for part in ("items", "values")}
        | {LINKS + "starts": lambda starts: (starts > 0) * 101},
        {LEVEL: lambda level: level.repeat(MANY // len(level))},
    ],
    ids=["no item", "padding", "not in order", "too many items", "too many links", "of one item", "levels"],
)
def test_links_of_a_damaged_run_are_refused(
    damage: dict[str, Any], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a right checksum; room is made for none that are more than the items can have."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    weights = load_file(folder / "model.safetensors")
    weights |= {name: change(weights[name]).contiguous() for name, change in damage.items()}
    save_file(weights, folder / "model.safetensors")
    manifest = read_manifest_without_check(folder)
    write_manifest(folder, list(manifest.pop("files")), manifest)
    made: list[int] = []
    real = torch.Tensor.new_empty

    def new_empty(self: torch.Tensor, *size: Any, **others: Any) -> torch.Tensor:
        made.append(math.prod(size[0] if len(size) == 1 else size))
        return real(self, *size, **others)

    monkeypatch.setattr(torch.Tensor, "new_empty", new_empty)
    with pytest.raises(UserError, match="weights are not those"):
        recbole_unisid.load(folder)
    assert 0 < max(made) < MANY // 10


def read_manifest_without_check(folder: Path) -> dict[str, Any]:
    """The entries of ``serving.json`` that its writer was given."""
    manifest = json.loads((folder / "serving.json").read_text())
    return {key: value for key, value in manifest.items() if key not in ("schema", "fingerprint")}


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
        model.terms.fit(model, list(loaders.valid))
        return model.terms.weights.clone()

    assert torch.equal(fitted(never_trained, 1.0), fitted(never_trained, 0.0))
    assert not torch.equal(fitted(trained, 1.0), fitted(trained, 0.0))
