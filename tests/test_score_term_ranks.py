"""Weights of score terms moved by what they rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import recbole_unisid
from recbole_unisid.models.score_terms import ScoreTerm, ranked, terms
from recbole_unisid.models.score_terms.fit import fitted_weights
from recbole_unisid.models.score_terms.ranked import FACTOR, ranked_weights
from recbole_unisid.recbole_adapter.config import UniSIDConfig

Parts = Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]]


def cases(count: int = 400, items: int = 30, seed: int = 1) -> tuple[Any, Any, Any]:
    """Features [3, count, items], of which the second is quite wrong in a tenth of the cases; unused items; targets."""
    generator = np.random.default_rng(seed)
    found = generator.normal(size=(3, count, items))
    unused = np.zeros(items, dtype=bool)
    unused[[0, 7]] = True
    chances = np.exp(np.einsum("f,fcn->cn", [1.0, 1.5, 0.5], found))
    chances[:, unused] = 0
    targets = np.array([generator.choice(items, p=row / row.sum()) for row in chances])
    found[1, np.arange(0, count, 10), targets[::10]] = -8
    return found, unused, targets


def given(found: Any, targets: Any, *cuts: int) -> list[Parts]:
    """The cases as parts that end at `cuts`, each as a tensor of its own."""
    edges = [0, *cuts, len(targets)]

    def part(start: int, stop: int) -> Parts:
        rows = torch.from_numpy(found[:, start:stop]).float(), torch.from_numpy(targets[start:stop])
        return lambda: iter([rows])

    return [part(start, stop) for start, stop in pairwise(edges)]


def ndcg(weights: Any, found: Any, unused: Any, targets: Any) -> NDArray[np.float64]:
    """NDCG@10 of every case among all items that are used; of equal scores the target comes last."""
    scores = np.einsum("f,fcn->cn", weights, found.astype(np.float32)).astype(np.float32)
    scores[:, unused] = -np.inf
    rank = (scores >= scores[np.arange(len(targets)), targets][:, None]).sum(1)
    return np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0)


def by_hand(weights: Any, found: Any, unused: Any, targets: Any) -> Any:
    """The same search, with all items ranked."""
    weights = np.array(weights, dtype=np.float64)
    while True:
        now, best, gained = ndcg(weights, found, unused, targets), None, 0.0
        for place in range(len(weights)):
            for factor in (FACTOR, 1 / FACTOR):
                moved = weights.copy()
                moved[place] *= factor
                gain = ndcg(moved, found, unused, targets) - now
                if gain.mean() > max(gained, gain.std(ddof=1) / len(gain) ** 0.5):
                    best, gained = moved, gain.mean()
        if best is None:
            return weights
        weights = best


def test_the_moves_are_those_of_a_plain_search() -> None:
    """However the cases are cut; targets are ranked higher than by the likelihood."""
    found, unused, targets = cases()
    parts, mask = given(found, targets), torch.from_numpy(unused)
    start = fitted_weights(parts, 3, mask)
    expected = by_hand(start.numpy(), found, unused, targets)
    for cuts in ((), (150, 300)):
        weights = ranked_weights(given(found, targets, *cuts), start, mask)
        np.testing.assert_allclose(weights, expected, rtol=1e-6)
    before, after = (ndcg(w, found, unused, targets).mean() for w in (start.numpy(), expected))
    assert after > 1.03 * before


def test_what_is_within_chance_moves_nothing() -> None:
    """A gain of one case of many is its own standard error; of one case, or none, nothing is known."""
    found, unused = np.zeros((2, 50, 12)), np.zeros(12, dtype=bool)
    found[0, :, 2:] = (
        1.0  # rank 10: items 2 to 10, which the second feature may overtake, come before item 11
    )
    found[0, :, 11] = 0.9
    targets, mask, start = np.full(50, 11), torch.from_numpy(unused), torch.ones(2, dtype=torch.float64)
    found[1, :, 11] = 0.0
    assert torch.equal(ranked_weights(given(found, targets), start, mask), start)
    found[1, 0, 11] = 0.09  # overtakes all when it weighs a quarter more
    assert ndcg([1, 1.25], found, unused, targets).sum() > ndcg([1, 1], found, unused, targets).sum()
    assert torch.equal(ranked_weights(given(found, targets), start, mask), start)
    found[1, :2, 11] = 0.09
    assert ranked_weights(given(found, targets), start, mask).tolist() != [1, 1]
    assert torch.equal(ranked_weights(given(found[:, :1], targets[:1]), start, mask), start)
    assert torch.equal(ranked_weights([lambda: iter(())], start, mask), start)


def test_items_that_are_no_candidates_are_ranked_with_no_target() -> None:
    """Whatever they would score, and where fewer items are used than a list could hold."""
    found, unused, targets = cases()
    mask, weights = torch.from_numpy(unused), []
    for value in (-50.0, 50.0):
        found[:, :, unused] = value
        weights.append(ranked_weights(given(found, targets), torch.ones(3).double(), mask))
    assert torch.equal(*weights)
    assert not torch.equal(weights[0], torch.ones(3).double())


def test_a_short_list_leaves_out_what_cannot_reach_the_first_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the items of each case give the weights of all of them here; the target is never left out."""
    found, unused, targets = cases(items=60)
    mask, start = torch.from_numpy(unused), torch.ones(3).double()
    whole = ranked_weights(given(found, targets), start, mask)
    monkeypatch.setattr(ranked, "KEPT", 30)
    torch.testing.assert_close(ranked_weights(given(found, targets), start, mask), whole)


def test_a_run_has_the_weights_that_its_setting_says(ml_mini: Path, in_empty_folder: Path) -> None:
    """By ranks, the default, another hash than by the likelihood, as before the setting was; without terms the same."""
    settings = {"data_path": str(ml_mini), "output_dir": "runs", "epochs": 2, "show_progress": False}
    settings |= {"text_encoder": "lsa"}
    found = {
        how: recbole_unisid.run("DenseText", "ml-mini", settings | {"term_weights": how}, verbose=False)
        for how in ("likelihood", "ranks")
    }
    assert found["ranks"]["run_dir"] != found["likelihood"]["run_dir"]
    assert found["ranks"]["score_terms"] != found["likelihood"]["score_terms"]
    figures = [found[how]["valid"]["full_unfiltered"]["ndcg@10"] for how in ("ranks", "likelihood")]
    assert figures[0] > figures[1]

    def hashed(**given: Any) -> dict[str, Any]:
        return UniSIDConfig("DenseText", "ml-mini", settings | given).hashed()

    assert hashed() == hashed(term_weights="ranks")
    assert hashed()["term_weights"] == "ranks"
    assert "term_weights" not in hashed(term_weights="likelihood")
    assert hashed(score_terms=[]) == hashed(score_terms=[], term_weights="likelihood")
    assert "term_weights" not in hashed(score_terms=[])


@pytest.mark.parametrize("own", [-0.5, 0.02, 1.0])
def test_what_is_ranked_is_what_is_used(own: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the likelihood gives the model's score next to no weight, or one below 0, too."""
    monkeypatch.setattr(terms, "fitted_weights", lambda *_: torch.tensor([own, 0.3, 0.4]).double())
    ranked_from = []

    def noted(_features: Any, weights: torch.Tensor, *_: Any) -> torch.Tensor:
        ranked_from.append(weights.clone())
        return weights * torch.tensor([1.25, 1.0, 1.25])

    monkeypatch.setattr(terms, "ranked_weights", noted)
    some = terms.ScoreTerms({"two": Two()}, torch.zeros(5, dtype=torch.bool))
    some.fit(torch.nn.Module(), [], ranked=[])
    expected = torch.tensor([0.3, 0.4]) / max(own, 0.05)
    torch.testing.assert_close(ranked_from[0], torch.tensor([1.0, *expected]).double())
    torch.testing.assert_close(some.weights, expected * torch.tensor([1 / 1.25, 1.0]))


class Two(ScoreTerm):
    """Two features that are nothing."""

    features = ("one", "other")

    @classmethod
    def from_config(cls, config: Any, dataset: Any) -> Two:
        return cls()

    def forward(self, histories: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return torch.zeros(2, len(histories), 5)

    def append(self, vectors: torch.Tensor | None, count: int) -> None:
        pass
