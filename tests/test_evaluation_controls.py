"""Leak controls against plain loops, on day-long ties, and on the published Beauty figures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_unisid.data.leaks import identifier_places, numbered_by_appearance
from recbole_unisid.data.sequences import group_by_user, shuffle_ties
from recbole_unisid.data.split import TEST, TRAIN, leave_one_out
from recbole_unisid.evaluation.controls import control_metrics, control_ranks, order_leak, order_note
from recbole_unisid.evaluation.metrics import metrics_from_ranks


def day_long(seed, n_users=3000, n_items=500, named=None):
    """Users who take runs of items a day, the file ordered by identifier within the day."""
    generator = np.random.default_rng(seed)
    named = np.arange(n_items) if named is None else named
    rows = []
    for user in range(n_users):
        for day in range(4):
            # Items of one day are near one another in the order of the names, as ASINs are.
            near = generator.integers(0, n_items) + generator.choice(15, 3, replace=False)
            rows += [(user, item % n_items + 1, day * 86400.0) for item in sorted(near)]
    users, items, times = (np.array(column) for column in zip(*rows, strict=True))
    ids = np.array(["[PAD]", *(f"B{place:05d}" for place in named)])
    return group_by_user(users, items, times, np.array([f"u{user}" for user in range(n_users)]), ids)


def brute_force(sequences, phase, rule):
    """Score every item for every target by a rule, and count candidates scored as high or higher."""
    split = leave_one_out(sequences)
    counts = split.training_counts(sequences)
    order = sorted(range(1, sequences.n_items + 1), key=lambda item: sequences.item_ids[item])
    place = {item: number for number, item in enumerate(order)}
    answers = {"full": [], "full_unfiltered": []}
    for position in split.targets(phase):
        user = sequences.users[position]
        history = sequences.items[sequences.offsets[user] : position].tolist()
        target, last = sequences.items[position], history[-1]

        def score(item, last=last):
            step = place[item] - place[last]
            return {
                "popularity": counts[item],
                "next_id": -step if step > 0 else -np.inf,
                "previous_id": step if step < 0 else -np.inf,
                "repeat_last": 0.0 if item == last else -np.inf,
            }[rule]

        for candidates, banned in (("full", set(history)), ("full_unfiltered", set())):
            others = [item for item in order if item != target and item not in banned]
            answers[candidates].append(1 + sum(score(item) >= score(target) for item in others))
    return answers


@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_every_control_equals_brute_force(phase):
    generator = np.random.default_rng(1)
    # Few items and many repeats: ties, targets that were seen before, targets that equal the last.
    sequences = group_by_user(
        np.repeat(np.arange(40), 7),
        generator.integers(1, 13, 280),
        None,
        np.array([f"u{user}" for user in range(40)]),
        np.array(["[PAD]", *generator.permutation([f"B{n}x" for n in range(10, 22)])]),
    )
    found = control_ranks(sequences, leave_one_out(sequences), phase)
    assert list(found) == ["popularity", "next_id", "previous_id", "repeat_last"]
    for rule, sets in found.items():
        expected = brute_force(sequences, phase, rule)
        assert {name: ranks.tolist() for name, ranks in sets.items()} == expected


def test_shuffling_day_long_ties_brings_the_id_controls_together():
    raw = day_long(1)
    shuffled = shuffle_ties(raw, 7)
    leaking = control_ranks(raw, leave_one_out(raw))
    mended = control_ranks(shuffled, leave_one_out(shuffled))
    assert "the order of this data leaks" in order_leak(leaking)
    assert order_leak(mended) is None
    gaps = [
        np.subtract(
            *(
                metrics_from_ranks(ranks[name]["full_unfiltered"])["recall@10"]
                for name in ("next_id", "previous_id")
            )
        )
        for ranks in (leaking, mended)
    ]
    assert gaps[0] > 0.3
    # Each rule finds about 40 % of 3000 targets: the gap's standard deviation is about .016.
    assert abs(gaps[1]) < 0.05


def test_names_are_ordered_as_numbers_where_they_are_numbers():
    assert identifier_places(np.array(["[PAD]", "10", "9", "100"])).tolist() == [0, 2, 1, 3]
    assert identifier_places(np.array(["[PAD]", "i10", "j9", "i100"])).tolist() == [0, 1, 3, 2]
    assert identifier_places(np.array(["[PAD]", "B00A", "B009", "A9"])).tolist() == [0, 3, 2, 1]
    for names in (["i0", "i9", "i10", "i100"], ["2", "10", "33"], ["B0a", "B0b", "C"], ["01", "07", "10"]):
        assert (
            identifier_places(np.array(["[PAD]", *names[::-1]])).tolist()[:0:-1] == [1, 2, 3, 4][: len(names)]
        )


def test_items_numbered_by_first_appearance_are_told_from_items_named_at_the_source():
    source = day_long(2, n_users=300)
    assert numbered_by_appearance(source) is None
    _, first = np.unique(source.items, return_index=True)
    appearance = np.empty(source.n_items, dtype=np.int64)
    appearance[source.items[np.sort(first)] - 1] = np.arange(source.n_items)
    renumbered = day_long(2, n_users=300, named=appearance)
    assert "numbered by first appearance" in numbered_by_appearance(renumbered)
    # A climbing order found there is the numbering's own: the note says so and does not warn.
    ranks = control_ranks(renumbered, leave_one_out(renumbered))
    assert order_note(renumbered, ranks) == numbered_by_appearance(renumbered)
    ranks = control_ranks(source, leave_one_out(source))
    assert "the order of this data leaks" in order_note(source, ranks)


def beauty(name):
    root = Path(__file__).parents[1]
    places = [os.environ.get("RECBOLE_UNISID_DATA"), root / "dataset", root.parent / "shared" / "data"]
    for place in filter(None, places):
        path = Path(place) / name / f"{name}.inter"
        if path.exists():
            rows = pd.read_csv(path, sep="\t", dtype=str)
            users, user_ids = pd.factorize(rows.iloc[:, 0])
            items, item_ids = pd.factorize(rows.iloc[:, 1])
            names = np.array(["[PAD]", *item_ids], dtype=str)
            times = rows.iloc[:, 2].to_numpy(dtype=np.float64)
            return group_by_user(users, items + 1, times, np.array(user_ids, dtype=str), names)
    pytest.skip(f"{name} is not here: put it under dataset/ or name its parent in RECBOLE_UNISID_DATA")


def test_beauty_gives_the_known_figures():
    sequences = beauty("amazon-beauty")
    ranks = control_ranks(sequences, leave_one_out(sequences))
    found = {name: sets["full_unfiltered"]["recall@10"] for name, sets in control_metrics(ranks).items()}
    assert found["next_id"] == pytest.approx(0.0312, abs=0.0002)
    assert found["previous_id"] == pytest.approx(0.0053, abs=0.0002)
    assert found["popularity"] == pytest.approx(0.0106, abs=0.0002)
    assert numbered_by_appearance(sequences) is None


def test_scientific_says_that_its_ids_mean_nothing():
    assert "numbered by first appearance" in numbered_by_appearance(beauty("amazon-scientific-18"))
