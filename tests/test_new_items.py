"""Items that were never trained on: their parts are means over trained items of nearest text or semantic parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from recbole_unisid.items import new_items
from recbole_unisid.items.fold import fold_items, folded_counts
from recbole_unisid.items.representation import ItemRepresentation, SemanticTokens

TRAINED = torch.tensor([1, 2, 4, 5, 7, 8, 9])
NEW = [3, 6, 10]


def items_of(neighbours: int = 3, *, added: bool = True, semantic: bool = True) -> ItemRepresentation:
    """Ten items of two levels of tokens and an ID of three numbers, all weights random; three are new."""
    torch.manual_seed(1)
    codes = torch.cat([torch.zeros(1, 2, dtype=torch.int64), torch.randint(0, 4, (10, 2))])
    tokens = SemanticTokens(codes, [4, 4], 5) if semantic else None
    items = ItemRepresentation(10, tokens, id_width=3, added=added)
    items.leave_untrained(TRAINED)
    items.new_items.neighbours = neighbours
    return items.eval()


def means(own: NDArray[np.float32], parts: list[NDArray[np.float32]], neighbours: int) -> list[Tensor]:
    """The formula, item by item: what `parts` [11, width] become for the new ones."""
    found = [part.copy() for part in parts]
    trained = TRAINED.numpy()
    for new in NEW:
        lengths = np.linalg.norm(own[trained], axis=1) * np.linalg.norm(own[new])
        cosines = own[trained] @ own[new] / lengths
        near = np.argsort(-cosines, kind="stable")[:neighbours]
        weights = np.exp(cosines[near] / 0.03)
        for part, before in zip(found, parts, strict=True):
            part[new] = (weights / weights.sum()) @ before[trained[near]]
    return [torch.from_numpy(part) for part in found]


@pytest.mark.parametrize("held", [1, 1 << 24])
@pytest.mark.parametrize("neighbours", [1, 3, 100])
def test_a_new_items_parts_are_weighted_means_of_the_nearest(
    neighbours: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the formula, however many are compared at a time; trained items have their own parts."""
    monkeypatch.setattr(new_items, "_HELD", held)
    items = items_of(neighbours)
    with torch.no_grad():
        # Continuous parts have no ties, of which any may be taken.
        own, ids = torch.randn(11, 5), items.ids.weight
        monkeypatch.setattr(SemanticTokens, "forward", lambda _, numbers: own[numbers])
        semantic, id_part = items.parts(torch.arange(11))
        wanted = means(own.numpy(), [own.numpy(), ids.numpy()], min(neighbours, len(TRAINED)))
        torch.testing.assert_close(semantic, wanted[0])
        torch.testing.assert_close(id_part[1:], wanted[1][1:])
        torch.testing.assert_close(items.all_items(), semantic + id_part @ items.lift.weight.T)
        some = torch.tensor([6, 2, 6])
        torch.testing.assert_close(items(some), items.all_items()[some])
    assert not torch.allclose(semantic[NEW], own[NEW], atol=0.1)


def test_trained_items_without_text_are_no_neighbours() -> None:
    """Nor where most have none, so that a cosine of 0 is among the highest: one alone is the whole mean."""
    items = items_of(3)
    given = torch.zeros(11, 7)
    given[NEW], given[4] = torch.randn(len(NEW), 7), torch.randn(7)
    given[3] = -given[4]  # even what is as unlike as can be
    items.new_items.like = lambda numbers: given[numbers]
    with torch.no_grad():
        semantic, ids = items.parts(torch.tensor(NEW))
        torch.testing.assert_close(semantic, items.semantic(torch.tensor([4] * 3)))
        torch.testing.assert_close(ids, items.ids.weight[[4] * 3])


def test_items_are_compared_by_what_is_like_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors given, in place of semantic parts; where one is zero, nothing is near, and its ID is the mean of all."""
    items = items_of(2)
    given = torch.randn(11, 7)
    given[6] = 0
    items.new_items.like = lambda numbers: given[numbers]
    with torch.no_grad():
        semantic, ids = items.parts(torch.arange(11))
        own = items.semantic(torch.arange(11)).numpy()
        wanted = means(given.numpy() + 1e-9, [own, items.ids.weight.numpy()], 2)
        others = [number for number in range(1, 11) if number != 6]
        torch.testing.assert_close(semantic[others], wanted[0][others])
        torch.testing.assert_close(ids[others], wanted[1][others])
        assert np.array_equal(semantic[6].numpy(), own[6])
        torch.testing.assert_close(ids[6], items.ids.weight[TRAINED].mean(0))


def test_parts_keep_their_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part in half precision, as products have it under autocast, is so for new items, too."""
    items, own = items_of(), torch.randn(11, 5)
    with torch.no_grad():
        monkeypatch.setattr(SemanticTokens, "forward", lambda _, numbers: own[numbers])
        whole = items.parts(torch.arange(11))[0]
        monkeypatch.setattr(SemanticTokens, "forward", lambda _, numbers: own[numbers].bfloat16())
        half = items.parts(torch.arange(11))[0]
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float()[TRAINED], own.bfloat16().float()[TRAINED])
    torch.testing.assert_close(half.float(), whole, atol=0.15, rtol=0.1)


def test_without_neighbours_the_id_is_the_mean_of_all() -> None:
    """Its tokens are its own; an item without tokens has no others to be like."""
    for items in (items_of(0), items_of(3, semantic=False)):
        with torch.no_grad():
            semantic, ids = items.parts(torch.arange(11))
            assert torch.equal(ids[TRAINED], items.ids.weight[TRAINED])
            torch.testing.assert_close(ids[NEW], items.ids.weight[TRAINED].mean(0).expand(3, -1))
            assert semantic is None or torch.equal(semantic, items.semantic(torch.arange(11)))


def test_training_reads_the_weights_themselves() -> None:
    """No batch has a new item; nothing is compared at every step."""
    items = items_of().train()
    assert torch.equal(items.parts(torch.arange(11))[1], items.ids.weight)


@pytest.mark.parametrize("added", [True, False])
def test_folded_new_items_have_a_level_of_their_own(added: bool) -> None:
    """The fold gives the same vectors, and its numbers are those that are counted."""
    items = items_of(added=added)
    folded, counts = fold_items(items), folded_counts(items)
    with torch.no_grad():
        torch.testing.assert_close(folded.vectors(), items.all_items())
    assert folded.codes[:, 2].tolist() == [0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 3]
    assert counts["tables"] == sum(table.numel() for table in folded.tables) == (8 + 4) * 5
    assert counts["codes"] == folded.codes[1:].numel() == 30


def test_items_that_come_later_are_like_the_trained_alone() -> None:
    """One by one or together; those that came before are not compared with."""
    codes = torch.tensor([[3, 1], [3, 1], [0, 2]])
    together, in_turn = items_of(), items_of()
    together.append(codes)
    for row in codes:
        in_turn.append(row[None])
    with torch.no_grad():
        assert torch.equal(together.all_items(), in_turn.all_items())
        assert torch.equal(together.all_items()[:11], items_of().all_items())
        assert torch.equal(together.all_items()[11], together.all_items()[12])


def test_neighbours_by_given_vectors_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until other items are untrained; what comes out is as if they were found anew. Parts that learn are."""
    found, nearest = list[int](), new_items._nearest

    def noted(like: object, new: Tensor, *given: Any) -> new_items._Nearest:
        found.append(len(new))
        return nearest(like, new, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(new_items, "_nearest", noted)
    given = torch.randn(13, 7)
    given[6] = 0

    def compared(items: ItemRepresentation, numbers: Tensor) -> Tensor:
        """Without anything kept."""
        items.new_items._kept = None
        with torch.no_grad():
            return items(numbers)

    items, numbers, some = items_of(2), torch.arange(11), torch.tensor([10, 2, 6, 3, 10])
    items.new_items.like = lambda numbers: given[numbers]
    with torch.no_grad():
        first, few, again = items(numbers), items(some), items(numbers)
        assert found == [2]
        assert torch.equal(first, again)
        torch.testing.assert_close(few, first[some])
        items.ids.weight += 1  # weights may change: their means follow
        moved = items(numbers)
        assert found == [2]
        assert not torch.equal(moved, first)
        assert torch.equal(moved, compared(items, numbers))
        items.append(torch.tensor([[3, 1], [0, 2]]))
        del found[:]
        grown = items.all_items()
        assert found == [4]
        assert torch.equal(grown, compared(items, torch.arange(13)))
        assert torch.equal(grown[:11], moved)
        items.untrained[3] = False  # as weights are loaded: in place
        assert torch.equal(items.all_items(), compared(items, torch.arange(13)))
        items.new_items.neighbours = 1
        assert torch.equal(items.all_items(), compared(items, torch.arange(13)))
        items.new_items.like = None
        del found[:]
        items.all_items()
        items.all_items()
        assert found == [4, 4]


def test_a_large_catalogue_is_compared_with_some_of_its_trained_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those spread evenly over it; the nearest of all is none of them here."""
    given, known = torch.eye(12), torch.arange(1, 11)
    given[11] = given[2] + 0.5 * given[5]
    whole = new_items._nearest(lambda items: given[items], torch.tensor([11]), known, 1)
    assert whole.numbers.tolist() == [[2]]
    monkeypatch.setattr(new_items, "MOST_COMPARED", 5)
    some = new_items._nearest(lambda items: given[items], torch.tensor([11]), known, 1)
    assert some.numbers.tolist() == [[5]]
    monkeypatch.setattr(new_items, "MOST_COMPARED", 10)
    assert new_items._nearest(lambda items: given[items], torch.tensor([11]), known, 1).numbers.tolist() == [
        [2]
    ]


def test_new_items_of_which_none_has_text_have_their_own_parts() -> None:
    """All are then as one without text is: its codes, and the mean ID."""
    items, texts = items_of(), torch.randn(11, 4)
    texts[NEW] = 0
    items.new_items.like = lambda numbers: texts[numbers]
    semantic, ids = items.parts(torch.arange(11))
    assert torch.equal(semantic, items.semantic(torch.arange(11)))
    torch.testing.assert_close(ids[NEW], items.ids.weight[TRAINED].mean(0).expand(3, -1))
