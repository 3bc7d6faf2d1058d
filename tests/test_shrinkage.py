"""Items with little training: UniSID moves them towards those of near text once training has ended."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_never_trained import settings_of
from torch import Tensor, nn

import recbole_unisid
from recbole_unisid.items import new_items
from recbole_unisid.items.fold import fold_items, folded_counts
from recbole_unisid.items.new_items import shrink_to_neighbours
from recbole_unisid.items.representation import ItemRepresentation, SemanticTokens
from recbole_unisid.serving.loaded import LoadedRun

COUNTS = np.array([0, 1, 3, 0, 9, 2, 40, 1, 12, 5, 30])


class Model(nn.Module):
    """Ten items of two levels of tokens and an ID, with texts that they are compared by."""

    def __init__(self, neighbours: int = 3, added: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        codes = torch.cat([torch.zeros(1, 2, dtype=torch.int64), torch.randint(0, 4, (10, 2))])
        self.items = ItemRepresentation(10, SemanticTokens(codes, [4, 4], 5), id_width=3, added=added)
        self.items.new_items.neighbours = neighbours
        self.texts = torch.randn(11, 7)
        self.items.new_items.like = lambda numbers: self.texts[numbers]
        self.requires_grad_(False).eval()

    def parts(self) -> list[NDArray[np.float32]]:
        """As they are, untouched by anything that comes after training."""
        items = self.items
        return [items.semantic(torch.arange(11)).numpy(), items.ids.weight.numpy()]


def expected(
    parts: list[NDArray[np.float32]],
    texts: NDArray[np.float32],
    counts: NDArray[np.int64],
    rate: float,
    near: int = 10,
) -> list[Tensor]:
    """The formula, item by item."""
    found = [part.copy() for part in parts]
    for item in range(1, len(counts)):
        share = np.exp(-counts[item] / rate)
        if not counts[item] or share < 0.05:
            continue
        others = np.array([other for other in np.flatnonzero(counts) if other != item])
        cosines = (
            texts[others] @ texts[item] / np.linalg.norm(texts[others], axis=1) / np.linalg.norm(texts[item])
        )
        nearest = np.argsort(-cosines, kind="stable")[:near]
        weights = np.exp(cosines[nearest] / 0.03)
        weights /= weights.sum()
        for part, before in zip(found, parts, strict=True):
            vectors = before[others[nearest]]
            mean = weights @ vectors
            mean *= weights @ np.linalg.norm(vectors, axis=1) / np.linalg.norm(mean)
            part[item] = (1 - share) * before[item] + share * mean
    return [torch.from_numpy(part) for part in found]


@pytest.mark.parametrize("held", [1, 1 << 24])
@pytest.mark.parametrize("added", [True, False])
def test_items_move_by_the_formula(added: bool, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The less they were trained on the more; in evaluation alone, folded too, and those that come after stay."""
    monkeypatch.setattr(new_items, "_HELD", held)
    model = Model(added=added)
    wanted = expected(model.parts(), model.texts.numpy(), COUNTS, 5.0, 3)
    before = model.items.all_items()
    shrink_to_neighbours(model, COUNTS, 5.0)
    semantic, ids = model.items.parts(torch.arange(11))
    torch.testing.assert_close(semantic, wanted[0])
    torch.testing.assert_close(ids, wanted[1])
    vectors = model.items.all_items()
    moved = (vectors != before).any(1)
    assert moved.nonzero().flatten().tolist() == [1, 2, 4, 5, 7, 8, 9]
    torch.testing.assert_close(fold_items(model.items).vectors(), vectors)
    assert folded_counts(model.items)["tables"] == sum(
        table.numel() for table in fold_items(model.items).tables
    )
    assert torch.equal(model.train().items.all_items(), before)
    model.eval().items.append(torch.tensor([[1, 2]]))
    model.texts = torch.cat([model.texts, torch.randn(1, 7)])
    torch.testing.assert_close(model.items.all_items()[:-1], vectors)


@pytest.mark.parametrize(
    ("neighbours", "rate", "counts", "most"),
    [
        (0, 5.0, COUNTS, 100),
        (3, 0.0, COUNTS, 100),
        (3, 5.0, np.full(11, 40), 100),
        (3, 5.0, np.eye(11, dtype=np.int64)[4], 100),
        (3, 5.0, COUNTS, 6),
    ],
)
def test_nothing_moves(
    neighbours: int, rate: float, counts: NDArray[np.int64], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without neighbours, without shrinkage, where all were trained on often, one alone, or too many little."""
    monkeypatch.setattr(new_items, "MOST_MOVED", most)
    model = Model(neighbours)
    shrink_to_neighbours(model, counts, rate)
    assert model.items.new_items.shift is None


def test_items_without_text_or_ids() -> None:
    """Without a text vector an item stays; without IDs the semantic part moves alone, without tokens nothing does."""
    model = Model()
    model.texts[[5, 6]] = 0
    before = model.items.all_items()
    shrink_to_neighbours(model, COUNTS, 5.0)
    assert torch.equal(model.items.all_items()[5], before[5])
    model = Model()
    model.texts[5:] = 0  # three have text and training: none is moved to those without
    wanted = expected(model.parts(), model.texts.numpy()[:5], COUNTS[:5], 5.0)[0][:5]
    shrink_to_neighbours(model, COUNTS, 5.0)
    torch.testing.assert_close(model.items.parts(torch.arange(5))[0], wanted)
    model = Model()
    wanted = expected(model.parts(), model.texts.numpy(), COUNTS, 5.0, 3)[0]
    model.items.ids = model.items.lift = None
    shrink_to_neighbours(model, COUNTS, 5.0)
    torch.testing.assert_close(model.items.all_items(), wanted)
    alone = SimpleNamespace(items=ItemRepresentation(10, id_width=3))
    alone.items.new_items.neighbours = 3
    shrink_to_neighbours(alone, COUNTS, 5.0)
    assert alone.items.new_items.shift is None


def run_of(ml_mini: Path, **more: Any) -> LoadedRun:
    """A run, loaded."""
    result = recbole_unisid.run("UniSID", "ml-mini", settings_of(ml_mini, epochs=2, **more), verbose=False)
    run = recbole_unisid.load(result["run_dir"])
    run.model.requires_grad_(False)
    return run


def test_a_run_moves_its_items_and_keeps_its_weights(ml_mini: Path, in_empty_folder: Path) -> None:
    """Loaded again they are where the formula has them; weights of score terms are fitted before."""
    moved, still = run_of(ml_mini), run_of(ml_mini, shrinkage=0)
    counts, items = moved.items.training_counts, moved.model.items
    parts = [items.semantic(torch.arange(len(counts))).numpy(), items.ids.weight.numpy()]
    wanted = torch.cat(expected(parts, moved.model.terms["text"].vectors.numpy(), counts, 5.0), dim=1)
    few = torch.from_numpy((counts > 0) & (counts < 15))
    assert int(few.sum()) > 20
    torch.testing.assert_close(items.all_items()[few], wanted[few], atol=2e-4, rtol=1e-3)
    often = torch.from_numpy(counts >= 15)
    assert torch.equal(items.all_items()[often], still.model.items.all_items()[often])
    assert moved.model.terms.by_name() == still.model.terms.by_name()
    assert still.model.items.new_items.shift is None
