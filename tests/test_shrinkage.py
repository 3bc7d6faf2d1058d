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
from recbole_unisid.runs import after_training
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


def test_a_run_moves_its_items_and_keeps_its_weights(
    ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded again they are where the formula has them; weights of score terms are fitted before."""
    monkeypatch.setattr(after_training, "_mean_and_error", lambda _: (0.0, 0.0))
    moved, still = run_of(ml_mini), run_of(ml_mini, shrinkage=0)
    counts, items = moved.items.training_counts, moved.model.items
    parts = [items.semantic(torch.arange(len(counts))).numpy(), items.ids.weight.numpy()]
    wanted = torch.cat(expected(parts, moved.model.terms["text"].vectors.numpy(), counts, 6.0), dim=1)
    few = torch.from_numpy((counts > 0) & (counts < 18))
    assert int(few.sum()) > 20
    torch.testing.assert_close(items.all_items()[few], wanted[few], atol=2e-4, rtol=1e-3)
    often = torch.from_numpy(counts >= 18)
    assert torch.equal(items.all_items()[often], still.model.items.all_items()[often])
    assert moved.model.terms.by_name() == still.model.terms.by_name()
    assert still.model.items.new_items.shift is None
    assert moved.stored.result["moved_items"] == int(few.sum())
    assert still.stored.result["moved_items"] == 0


def among_themselves(root: Path, told: bool) -> Path:
    """A data set whose users keep to one of 60 kinds of 15 items; the text says the kind, or is another item's."""
    rng, lines = np.random.default_rng(1), list[str]()
    for user in range(600):
        kind = rng.integers(60)
        for place, item in enumerate(rng.choice(15, 5 + user % 4, replace=False)):
            lines.append(f"u{user}\tk{kind}n{item}\t{place}\n")
    (root / "kinds").mkdir(parents=True)
    columns = "user_id:token\titem_id:token\ttimestamp:float\n"
    (root / "kinds" / "kinds.inter").write_text(columns + "".join(lines))
    words = [f"kind{kind}" for kind in range(60) for _ in range(15)]
    words = words if told else list(rng.permutation(words))
    rows = (f"k{k // 15}n{k % 15}\t{word} {'abcdefghijklmno'[k % 15] * 3}\n" for k, word in enumerate(words))
    (root / "kinds" / "kinds.item").write_text("item_id:token\ttitle:token_seq\n" + "".join(rows))
    return root


def test_items_move_where_their_text_says_with_whom_they_go(in_empty_folder: Path) -> None:
    """And popularity weighs more then."""
    root, runs = among_themselves(in_empty_folder / "data", told=True), []
    for more in ({}, {"shrinkage": 0, "popularity_scale": 1}):
        settings = settings_of(root, epochs=15, codebook_sizes=[32, 32], **more)
        result = recbole_unisid.run("UniSID", "kinds", settings, verbose=False)
        runs.append((result["moved_items"], recbole_unisid.load(result["run_dir"]).model.terms.by_name()))
    (moved, weights), (none, fitted) = runs
    assert moved > 500
    assert none == 0
    assert weights == pytest.approx(fitted | {"popularity": 1.1 * fitted["popularity"]})


def test_items_stay_where_their_texts_are_mixed_up(in_empty_folder: Path) -> None:
    """The figures are those of a run that moves none."""
    root = among_themselves(in_empty_folder / "data", told=False)
    settings = settings_of(root, epochs=30, codebook_sizes=[32, 32], score_terms=[])
    found = [
        recbole_unisid.run("UniSID", "kinds", {**settings, **more}, verbose=False)
        for more in ({}, {"shrinkage": 0})
    ]
    assert [result["moved_items"] for result in found] == [0, 0]
    assert found[0]["test"] == found[1]["test"]


LOSS, CHANCE = [-0.3, -0.1, -0.2, -0.2], [-0.3, 0.2, -0.1, 0.0]


@pytest.mark.parametrize(
    ("most", "half", "left"),
    [
        ((LOSS, LOSS), (LOSS, LOSS), 0.0),
        ((CHANCE, CHANCE), None, 6.0),
        (([0.1], [0.2]), None, 6.0),
        (([0.0], [0.0]), None, 6.0),
        (([0.1], LOSS), ([0.1], CHANCE), 3.0),
        ((LOSS, [0.1]), ([0.0], [0.1]), 3.0),
        ((LOSS, [0.1]), (LOSS, [0.1]), 0.0),
    ],
)
def test_a_loss_beyond_chance_halves_the_moves_and_then_undoes_them(
    most: tuple[list[float], list[float]],
    half: tuple[list[float], list[float]] | None,
    left: float,
    ml_mini: Path,
    in_empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Targets of all items, or of those that moved, lose by a `shrinkage` of 6 and of 3, or not."""
    told = iter([*most, *(half or ())])

    def gains_of(gains: NDArray[np.float64]) -> tuple[float, float]:
        asked.append(len(gains))
        few = np.array(next(told))
        return mean_and_error(few)

    asked, mean_and_error = list[int](), after_training._mean_and_error
    monkeypatch.setattr(after_training, "_mean_and_error", gains_of)
    run = run_of(ml_mini, popularity_scale=3)
    assert next(told, None) is None
    assert 0 < asked[1] < asked[0]
    shift = run.model.items.new_items.shift
    counts = run.items.training_counts
    farthest = max((count for count in counts if np.exp(-count / left) >= 0.05), default=0) if left else 0
    moved = np.zeros(len(counts), dtype=bool) if shift is None else shift.any(1).numpy()
    assert moved.tolist() == [0 < count <= farthest for count in counts]
    assert run.stored.result["moved_items"] == moved.sum()
    other = run_of(ml_mini, shrinkage=0, popularity_scale=3 if left else 1)
    assert run.model.terms.by_name() == pytest.approx(other.model.terms.by_name())


def test_what_is_measured_is_what_the_moves_gain() -> None:
    """The mean of the gains and its standard error."""
    assert after_training._mean_and_error(np.array([0.1, 0.3])) == pytest.approx((0.2, 0.1))
    assert after_training._mean_and_error(np.array([-0.1])) == (-0.1, np.inf)
    assert after_training._mean_and_error(np.array([])) == (0.0, np.inf)
