"""Metrics and slices against loops in plain Python, and metrics against ranx."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.metrics import metrics_from_ranks, per_user_metric, protocol_metrics
from recbole_unisid.evaluation.ranks import ranks_from_scores
from recbole_unisid.evaluation.slices import make_slices, popularity_thresholds, slice_metrics


def oracle(ranks, cutoff):
    """Hit, NDCG and reciprocal rank from an explicit list of relevances, rank by rank."""
    hits, gains, reciprocal = 0.0, 0.0, 0.0
    for rank in ranks:
        relevance = [1.0 if place == rank else 0.0 for place in range(1, max(ranks) + 1)]
        hits += sum(relevance[:cutoff])
        gains += sum(rel / math.log(place + 1, 2) for place, rel in enumerate(relevance[:cutoff], start=1))
        reciprocal += 1.0 / (relevance.index(1.0) + 1)
    return hits / len(ranks), gains / len(ranks), reciprocal / len(ranks)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=15), st.integers(2, 25))
def test_metrics_equal_the_oracle(ranks, cutoff):
    found = metrics_from_ranks(np.array(ranks), (cutoff,))
    expected = oracle(ranks, cutoff)
    names = (f"recall@{cutoff}", f"ndcg@{cutoff}", "mrr")
    assert [found[name] for name in names] == pytest.approx(expected, abs=1e-12)
    assert metrics_from_ranks(np.array(ranks), (cutoff,), "hit")[f"hit@{cutoff}"] == found[names[0]]


def test_ranking_and_metrics_equal_ranx_where_nothing_ties(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling would take ranx a minute
    from ranx import Qrels, Run, evaluate

    generator = torch.Generator().manual_seed(4)
    rows, n_items = 60, 80
    scores = torch.rand(rows, n_items + 1, generator=generator, dtype=torch.float64)
    assert len(scores.unique()) == scores.numel()
    targets = torch.randint(1, n_items + 1, (rows,), generator=generator)
    seen_rows = torch.arange(rows).repeat_interleave(5)
    seen = (seen_rows, torch.randint(1, n_items + 1, (5 * rows,), generator=generator))
    banned = {(int(row), int(item)) for row, item in zip(*seen, strict=True)}
    qrels = Qrels({f"q{row}": {f"d{int(targets[row])}": 1} for row in range(rows)})
    ranks = ranks_from_scores(scores, targets, seen)
    for candidates, keep in (
        ("full_unfiltered", lambda row, item: True),
        ("full", lambda row, item: item == int(targets[row]) or (row, item) not in banned),
    ):
        run = Run(
            {
                f"q{row}": {
                    f"d{item}": float(scores[row, item]) for item in range(1, n_items + 1) if keep(row, item)
                }
                for row in range(rows)
            }
        )
        names = ["recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr"]
        theirs = evaluate(qrels, run, names, make_comparable=True)
        ours = metrics_from_ranks(ranks[candidates])
        assert {name: ours[name] for name in names} == pytest.approx(theirs, abs=1e-12)


def test_names_are_those_of_the_result_file():
    found = protocol_metrics({"full": np.array([3]), "sampled99": np.array([1])})
    assert list(found["full"]) == [
        "recall@5",
        "recall@10",
        "recall@20",
        "ndcg@5",
        "ndcg@10",
        "ndcg@20",
        "mrr",
    ]
    assert list(found["sampled99"]) == ["hit@1", "hit@5", "hit@10", "ndcg@5", "ndcg@10", "mrr"]


@pytest.mark.parametrize("name", ["recall", "recall@0", "recall@x", "precision@5", "mrr@5", ""])
def test_an_unknown_metric_is_refused(name):
    with pytest.raises(UserError, match=f"no metric is called '{name}'"):
        per_user_metric(np.array([1]), name)


def test_a_rank_that_is_none_is_no_hit():
    with pytest.raises(ValueError, match="ranks begin at 1, not at 0"):
        per_user_metric(np.array([3, 0]), "recall@10")


def test_no_target_at_all_is_one_clear_line():
    line = "no user has a target to be measured on: use a data set or a split with longer histories"
    with pytest.raises(UserError, match=f"^{line}$"):
        metrics_from_ranks(np.empty(0, dtype=np.int64))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any))
def test_head_holds_a_fifth_of_the_interactions_and_tail_the_last_one(counts):
    head, mid = popularity_thresholds(np.array([0, *counts]))
    total = sum(counts)
    # The smallest set of whole counts from the top that reaches the share: less falls short of it.
    for threshold, share in ((head, 0.2), (mid, 0.8)):
        assert sum(count for count in counts if count >= threshold) >= share * total * (1 - 1e-12)
        assert sum(count for count in counts if count > threshold) < share * total * (1 + 1e-12)


def test_slices_equal_the_oracle():
    generator = np.random.default_rng(2)
    counts = np.concatenate([[0], generator.geometric(0.1, 200) - 1])
    targets = generator.integers(1, 201, 900)
    popularity, history = counts[targets], generator.integers(1, 30, 900)
    ranks, same = generator.integers(1, 40, 900), generator.integers(0, 2, 900)
    table = slice_metrics(ranks, popularity, history, make_slices(counts, history, True), same_time=same)
    head, mid = popularity_thresholds(counts)
    middle = int(np.median(history))
    members = {
        "head": lambda pop, length, same: pop >= head,
        "mid": lambda pop, length, same: mid <= pop < head,
        "tail": lambda pop, length, same: pop < mid,
        "cold0": lambda pop, length, same: pop == 0,
        "cold1_5": lambda pop, length, same: 1 <= pop <= 5,
        "short": lambda pop, length, same: length <= middle,
        "long": lambda pop, length, same: length > middle,
        "same_time": lambda pop, length, same: same == 1,
        "later": lambda pop, length, same: same == 0,
    }
    assert list(table) == list(members)
    for name, member in members.items():
        chosen = [
            int(rank)
            for rank, *measured in zip(ranks, popularity, history, same, strict=True)
            if member(*measured)
        ]
        row = table[name]
        assert row["n"] == len(chosen) > 0
        assert (row["recall@10"], row["ndcg@10"]) == pytest.approx(oracle(chosen, 10)[:2], abs=1e-12)
        for metric in ("recall@10", "ndcg@10"):
            low, high = row["interval"][metric]
            assert low < row[metric] < high
            assert high - low < 6 / math.sqrt(len(chosen))
    assert str(head) in table["head"]["rule"]
    assert str(middle) in table["short"]["rule"]


def test_a_slice_without_cases_has_no_figures():
    slices = make_slices(np.array([0, 3, 3]), np.array([4]))
    row = slice_metrics(np.array([2]), np.array([3]), np.array([4]), slices)["cold0"]
    assert (row["n"], row["recall@10"], row["interval"]["ndcg@10"]) == (0, None, None)


def test_cases_of_one_user_widen_a_slices_interval():
    generator = np.random.default_rng(3)
    ranks = np.repeat(generator.integers(1, 21, 300), 5)
    users, ones = np.repeat(np.arange(300), 5), np.ones(1500, dtype=np.int64)
    slices = make_slices(np.array([0, 1]), ones)
    whole, apart = (slice_metrics(ranks, ones, ones, slices, owner)["short"] for owner in (users, None))

    def width(row):
        return row["interval"]["recall@10"][1] - row["interval"]["recall@10"][0]

    assert whole["recall@10"] == apart["recall@10"]
    assert width(whole) > 1.7 * width(apart)
