"""From interactions and scores to every figure of a result, against one oracle in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recbole_unisid.data.sequences import group_by_user
from recbole_unisid.data.split import TEST, TRAIN, VALID, leave_one_out
from recbole_unisid.evaluation.candidates import sample_negatives, seen_pairs
from recbole_unisid.evaluation.metrics import protocol_metrics
from recbole_unisid.evaluation.ranks import ranks_from_scores
from recbole_unisid.evaluation.table import RankTable

N_ITEMS = 120


def interactions():
    """Users of 0 to 9 interactions (those of fewer than 3 have no test target), with repeats."""
    generator = np.random.default_rng(21)
    lengths = np.arange(80) % 10
    users = np.repeat(np.arange(80), lengths)
    return group_by_user(
        users,
        generator.integers(1, N_ITEMS + 1, len(users)),
        None,
        np.array([f"u{user}" for user in range(80)]),
        np.array(["[PAD]", *(f"i{item}" for item in range(1, N_ITEMS + 1))]),
    )


def by_hand(sequences, scores, negatives, held_out):
    """Ranks, one user at a time, in Python floats; `held_out` 1 is the last item, 2 the one before."""
    cases = []
    for user in range(sequences.n_users):
        items = sequences.of(user).tolist()
        if len(items) < 2 + held_out:
            continue
        history, target = items[:-held_out], items[-held_out]
        value = [float(score) for score in scores[len(cases)]]
        ranks = {}
        for name, candidates in (
            ("full", set(range(1, N_ITEMS + 1)) - set(history)),
            ("full_unfiltered", set(range(1, N_ITEMS + 1))),
            ("sampled99", set(negatives[user].tolist()) - {0}),
        ):
            ranks[name] = 1 + sum(value[item] >= value[target] for item in candidates - {target})
        popularity = sum(
            past.count(target)
            for past in (
                sequences.of(other).tolist()[: {0: 0, 1: 1, 2: 2, 3: 2}.get(length, length - 2)]
                for other, length in enumerate(sequences.lengths.tolist())
            )
        )
        cases.append((f"u{user}", f"i{target}", ranks, len(history), popularity))
    return cases


@pytest.mark.parametrize(("phase", "held_out"), [(TEST, 1), (VALID, 2)])
@pytest.mark.parametrize("values", [3, 10**6])  # scores that nearly all tie, and that hardly ever do
def test_every_figure_equals_the_oracle(phase, held_out, values):
    sequences = interactions()
    split = leave_one_out(sequences)
    positions = split.targets(phase)
    users = sequences.owners(positions)
    generator = torch.Generator().manual_seed(5)
    scores = torch.randint(0, values, (len(positions), N_ITEMS + 1), generator=generator).float()
    negatives = sample_negatives(sequences)
    rows, items = seen_pairs(sequences, positions)
    ranks = ranks_from_scores(
        scores,
        torch.from_numpy(sequences.items[positions]),
        (torch.from_numpy(rows), torch.from_numpy(items)),
        torch.from_numpy(negatives[users]),
    )
    table = RankTable.of_cases(sequences, split, positions, ranks)
    cases = by_hand(sequences, scores.tolist(), negatives, held_out)
    assert table.user.tolist() == [case[0] for case in cases]
    assert table.target.tolist() == [case[1] for case in cases]
    assert table.history_length.tolist() == [case[3] for case in cases]
    assert table.target_popularity.tolist() == [case[4] for case in cases]
    for name, metrics in protocol_metrics(table.ranks).items():
        expected = [case[2][name] for case in cases]
        assert table.ranks[name].tolist() == expected
        for metric, value in metrics.items():
            kind, _, cutoff = metric.partition("@")
            gains = {
                "recall": [rank <= int(cutoff or 0) for rank in expected],
                "hit": [rank <= int(cutoff or 0) for rank in expected],
                "ndcg": [1 / math.log2(rank + 1) if rank <= int(cutoff or 0) else 0 for rank in expected],
                "mrr": [1 / rank for rank in expected],
            }[kind]
            assert value == pytest.approx(sum(gains) / len(gains), abs=1e-12)


def test_users_without_targets_are_no_cases_and_are_still_trained_on():
    sequences = interactions()
    split = leave_one_out(sequences)
    owners = set(sequences.owners(split.targets(TEST)).tolist())
    assert owners == {user for user in range(80) if user % 10 >= 3}
    trained = set(sequences.owners(split.targets(TRAIN)).tolist())
    assert trained == {user for user in range(80) if user % 10 >= 2}
