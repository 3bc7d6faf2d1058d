"""Score terms of a finished run: loaded, exported, with new items, of an older version, and damaged."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import recbole_unisid
from recbole_unisid.config.settings import registered
from recbole_unisid.errors import UserError
from recbole_unisid.files import sha256_of
from recbole_unisid.models.score_terms import ScoreTerms
from recbole_unisid.models.score_terms.text import TextSimilarity
from recbole_unisid.runs.manifest import write_manifest
from recbole_unisid.serving.add_items import add_items
from recbole_unisid.serving.export import export
from recbole_unisid.serving.recommender import Recommender, RecommenderError

ALL = ["seen", "text", "transitions", "neighbours", "popularity"]
WITHOUT_TEXT = ["seen", "seen_last", "seen_lately", "transitions", "neighbours", "popularity"]


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
