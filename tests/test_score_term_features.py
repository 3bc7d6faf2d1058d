"""The features of score terms, each against plain loops."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TRAIN, leave_one_out
from recbole_unisid.models.score_terms import terms, transitions
from recbole_unisid.models.score_terms.popularity import Popularity
from recbole_unisid.models.score_terms.seen import Seen
from recbole_unisid.models.score_terms.text import TextSimilarity
from recbole_unisid.models.score_terms.transitions import LastItemTransitions, Neighbours

N_ITEMS = 30
#: What popularity reads of a configuration; the other terms here read nothing of it.
LEFT_OUT: dict[str, Any] = {"split": "leave_one_out"}


def small_data(seed: int = 0, users: int = 60) -> SimpleNamespace:
    """Random sequences in which items repeat, split, with text vectors."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, 9, users)
    items = generator.integers(1, N_ITEMS + 1, lengths.sum())
    names = np.array(["[PAD]", *map(str, range(N_ITEMS))])
    offsets = np.concatenate([[0], lengths.cumsum()])
    sequences = UserSequences(items, offsets, None, np.arange(users).astype(str), names)
    vectors = generator.normal(size=(N_ITEMS, 12)).astype(np.float32)
    return SimpleNamespace(
        sequences=sequences,
        split=leave_one_out(sequences),
        item_num=N_ITEMS + 1,
        semantics=SimpleNamespace(vectors=vectors),
    )


def histories() -> tuple[torch.Tensor, torch.Tensor, list[list[int]]]:
    """Three histories padded on the right, their lengths, and the same as lists."""
    lists = [[3, 4, 3, 7], [9], [2, 1, 5, 6, 2, 8]]
    padded = torch.tensor([one + [0] * (6 - len(one)) for one in lists])
    return padded, torch.tensor([len(one) for one in lists]), lists


def training_sequences(data: SimpleNamespace) -> list[list[int]]:
    """What is trained on, user by user."""
    sequences, phase = data.sequences, data.split.phase
    bounds = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    return [[int(sequences.items[k]) for k in range(a, b) if phase[k] <= TRAIN] for a, b in bounds]


def test_seen_counts_by_age() -> None:
    padded, lengths, lists = histories()
    found = Seen.from_config(None, small_data())(padded, lengths)
    expected = np.zeros((3, 3, N_ITEMS + 1))
    for row, one in enumerate(lists):
        for age, item in enumerate(reversed(one)):
            expected[0, row, item] = 1
            expected[1, row, item] += age == 0
            expected[2, row, item] += 0.8**age
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_transitions_count_training_pairs_from_the_last_item() -> None:
    data = small_data()
    padded, lengths, lists = histories()
    found = LastItemTransitions.from_config(LEFT_OUT, data)(padded, lengths)[0]
    for row, one in enumerate(lists):
        for item in range(1, N_ITEMS + 1):
            pairs = [p for s in training_sequences(data) for p in itertools.pairwise(s)]
            assert found[row, item].item() == pytest.approx(math.log1p(pairs.count((one[-1], item))))


def test_neighbours_are_cosines_of_what_stands_within_five_places() -> None:
    data = small_data()
    padded, lengths, lists = histories()
    sequences = training_sequences(data)
    counts = np.bincount([item for s in sequences for item in s], minlength=N_ITEMS + 1)
    near = np.zeros((N_ITEMS + 1, N_ITEMS + 1))
    for s in sequences:
        for a in range(len(s)):
            for b in range(a + 1, min(a + 6, len(s))):
                near[s[a], s[b]] += 0.7 ** (b - a - 1)
                near[s[b], s[a]] += 0.7 ** (b - a - 1)
    np.fill_diagonal(near, 0)
    cosine = near / np.sqrt(np.maximum(np.outer(counts, counts), 1))
    expected = [sum(0.8**age * cosine[item] for age, item in enumerate(reversed(one))) for one in lists]
    found = Neighbours.from_config(LEFT_OUT, data)(padded, lengths)[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("interactions", [1, 50])
def test_neighbours_are_the_same_in_blocks(interactions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large catalogue's are counted some rows at a time, to the same bits."""
    data = small_data()
    whole = Neighbours.from_config(LEFT_OUT, data).links
    monkeypatch.setattr(transitions, "_INTERACTIONS", interactions)
    assert len(list(Neighbours._rows(data))) > 1
    parts = Neighbours.from_config(LEFT_OUT, data).links
    assert all(
        torch.equal(getattr(parts, name), getattr(whole, name)) for name in ("starts", "items", "values")
    )


def test_text_is_compared_by_principal_components() -> None:
    """With all components it is the cosine of the centred vectors; the second feature is gated by training counts."""
    data = small_data(users=12)
    padded, lengths, lists = histories()
    term = TextSimilarity.from_config(LEFT_OUT, data)
    centred = data.semantics.vectors - data.semantics.vectors.mean(0)
    unit = np.vstack([np.zeros(12), centred / np.linalg.norm(centred, axis=1, keepdims=True)])
    counts = np.bincount([i for s in training_sequences(data) for i in s], minlength=N_ITEMS + 1)
    assert 0 in counts[1:]
    past = [sum(0.6**age * unit[item] for age, item in enumerate(reversed(one))) for one in lists]
    expected = np.array(past) @ unit.T
    np.testing.assert_allclose(
        term(padded, lengths), [expected, expected * np.exp(-np.maximum(counts, 1) / 5)], atol=1e-5
    )
    narrow = TextSimilarity(torch.from_numpy(data.semantics.vectors), term.cold, width=4)
    values = np.linalg.svd(centred, full_matrices=False)[2][:4]
    projected = centred @ values.T
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    np.testing.assert_allclose(narrow.vectors[1:] @ narrow.vectors[1:].T, projected @ projected.T, atol=1e-5)


def test_popularity_counts_late_items_more_and_knows_no_new_ones() -> None:
    """An item that was never trained on, and one that is added, count as the mean of the others."""
    data = small_data(users=12)
    padded, lengths, lists = histories()
    counts = np.zeros(N_ITEMS + 1)
    for sequence in training_sequences(data):
        for age, item in enumerate(reversed(sequence)):
            counts[item] += 0.8**age
    trained = counts > 0
    assert 0 < (~trained[1:]).sum() < N_ITEMS
    expected = np.log1p(counts) / np.log1p(counts).max()
    usual = expected[trained].mean()
    expected[1:][~trained[1:]] = usual
    term = Popularity.from_config(LEFT_OUT, data)
    np.testing.assert_allclose(term(padded, lengths), np.tile(expected, (1, len(lists), 1)), atol=1e-6)
    term.append(None, 2)
    np.testing.assert_allclose(term(padded, lengths)[0, 1], [*expected, usual, usual], atol=1e-6)


def test_new_items_count_as_popular_as_the_setting_says() -> None:
    """Those of the cold-item split, those added later, and those that are told to be new after training."""
    data, (padded, lengths, _) = small_data(users=12), histories()
    mean = Popularity.from_config(LEFT_OUT, data)
    trained = mean.level != mean.usual
    trained[0] = False
    high = torch.quantile(mean.level[trained], 0.9)
    assert high > mean.usual
    cold = Popularity.from_config({"split": "cold_items", "new_item_popularity": 0.9}, data)
    torch.testing.assert_close(
        cold.level, torch.where(trained, mean.level, high).index_fill(0, torch.tensor(0), 0)
    )
    later = Popularity.from_config(LEFT_OUT | {"new_item_popularity": 0.9}, data)
    assert torch.equal(later.level, mean.level)
    later.count_as_new((cold.level != mean.level).nonzero().flatten())
    assert torch.equal(later.level, cold.level)
    later.append(None, 1)
    torch.testing.assert_close(later(padded, lengths)[0, 0, -1], high)


def test_nothing_is_read_of_what_is_held_out() -> None:
    """Other validation and test items give the same tables."""
    data, other = small_data(), small_data()
    held_out = other.split.phase > TRAIN
    other.sequences.items[held_out] = np.random.default_rng(5).integers(1, N_ITEMS + 1, held_out.sum())
    assert not np.array_equal(data.sequences.items, other.sequences.items)
    for kind in (LastItemTransitions, Neighbours, TextSimilarity, Popularity):
        for name, tensor in kind.from_config(LEFT_OUT, data).state_dict().items():
            assert torch.equal(tensor, kind.from_config(LEFT_OUT, other).state_dict()[name])


def test_terms_are_added_where_they_are_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Part by part, call by call, whoever stops in between: as the sum of all features of all items."""
    data, (padded, lengths, _) = small_data(), histories()
    kinds = {
        "seen": Seen,
        "text": TextSimilarity,
        "transitions": LastItemTransitions,
        "neighbours": Neighbours,
    }
    made = {name: kind.from_config({"model": "UniSID"}, data) for name, kind in kinds.items()}
    found = terms.ScoreTerms(
        made | {"popularity": Popularity.from_config(LEFT_OUT, data)}, torch.zeros(N_ITEMS + 1).bool()
    )
    found.weights.copy_(torch.linspace(-1, 2, len(found.weights)))
    monkeypatch.setattr(terms, "_HELD", 1)  # one history is summed at a time, four are held
    for order in ([0, 1, 2, 0, 2, 1, 1], [2, 2, 0], [1, 0, 1, 2, 1, 0, 0]):
        rows = torch.tensor(order)
        scores = torch.randn(len(order), N_ITEMS + 1, generator=torch.Generator().manual_seed(0))
        whole = torch.einsum("f,fbn->bn", found.weights, found(padded[rows], lengths[rows]))
        expected = scores + whole
        torch.testing.assert_close(
            found.add_to(scores.clone(), padded[rows], lengths[rows]), expected, atol=1e-5, rtol=1e-5
        )
        stopped = found._parts(scores, padded[rows], lengths[rows], 0)
        next(stopped)
        stopped.close()
