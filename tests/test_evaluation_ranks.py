"""Ranks by comparison against an oracle that loops in plain Python, and their bad inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.ranks import ranks_among_sampled, ranks_from_scores


def oracle(scores, target, banned=(), only=None):
    """1 + others scored at least as high, written out item by item in Python floats."""
    candidates = only if only is not None else range(1, len(scores))
    worse_or_equal = 1
    for item in candidates:
        if item == target or item == 0 or item in banned:
            continue
        if float(scores[item]) >= float(scores[target]):
            worse_or_equal += 1
    return worse_or_equal


@st.composite
def evaluations(draw):
    n_items = draw(st.integers(2, 12))
    rows = draw(st.integers(1, 5))
    # Few distinct values: most draws have ties; -inf stands for "not listed".
    value = st.sampled_from([-math.inf, -1.5, 0.0, 0.25, 3.0])
    scores = [[draw(value) for _ in range(n_items + 1)] for _ in range(rows)]
    item = st.integers(1, n_items)
    targets = [draw(item) for _ in range(rows)]
    seen = [draw(st.lists(item, max_size=6)) for _ in range(rows)]
    negatives = [[draw(st.integers(0, n_items)) for _ in range(4)] for _ in range(rows)]
    return scores, targets, seen, negatives


@settings(max_examples=200, deadline=None)
@given(evaluations(), st.integers(1, 40))
def test_every_candidate_set_equals_the_oracle(case, block):
    scores, targets, seen, negatives = case
    pairs = [(row, item) for row, items in enumerate(seen) for item in items]
    rows, items = (
        (torch.tensor(column, dtype=torch.int64) for column in zip(*pairs, strict=True))
        if pairs
        else (
            torch.empty(0, dtype=torch.int64),
            torch.empty(0, dtype=torch.int64),
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recbole_unisid.evaluation.ranks._BLOCK", block)  # rows and columns are cut anywhere
        found = ranks_from_scores(
            torch.tensor(scores), torch.tensor(targets), (rows, items), torch.tensor(negatives)
        )
    for row, target in enumerate(targets):
        assert found["full_unfiltered"][row] == oracle(scores[row], target)
        assert found["full"][row] == oracle(scores[row], target, set(seen[row]))
        assert found["sampled4"][row] == oracle(scores[row], target, only=negatives[row])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_scores_of_any_width_are_compared_as_they_are(dtype):
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(20, 301, generator=generator).to(dtype)
    targets = torch.randint(1, 301, (20,), generator=generator)
    found = ranks_from_scores(scores, targets)["full_unfiltered"]
    assert found.tolist() == [oracle(scores[row], int(targets[row])) for row in range(20)]


def test_padding_is_never_looked_at():
    scores = torch.tensor([[math.nan, 1.0, 2.0], [math.inf, 1.0, 2.0]])
    assert ranks_from_scores(scores, torch.tensor([2, 2]))["full_unfiltered"].tolist() == [1, 1]


def test_a_target_seen_earlier_stays_a_candidate():
    seen = (torch.tensor([0, 0, 0]), torch.tensor([2, 2, 1]))
    ranks = ranks_from_scores(torch.tensor([[0.0, 5.0, 4.0, 3.0]]), torch.tensor([2]), seen)
    assert ranks["full"].tolist() == [1]
    assert ranks["full_unfiltered"].tolist() == [2]


def test_without_seen_or_negatives_there_is_one_candidate_set():
    assert list(ranks_from_scores(torch.zeros(1, 3), torch.tensor([1]))) == ["full_unfiltered"]


def test_a_target_outside_a_models_list_ranks_after_the_list():
    scores = torch.full((2, 101), -math.inf)
    scores[:, 1:21] = torch.arange(20.0)
    seen = (torch.zeros(15, dtype=torch.int64), torch.arange(1, 16))
    negatives = torch.arange(31, 41).repeat(2, 1)
    ranks = ranks_from_scores(scores, torch.tensor([50, 17]), seen, negatives, listed=20)
    # Filtering 15 of the 20 must not lift what was not listed to rank 6.
    assert ranks["full_unfiltered"].tolist() == [21, 4]
    assert ranks["full"].tolist() == [21, 4]
    # None of the negatives is listed either: they tie with an unlisted target, and ties count against.
    assert ranks["sampled10"].tolist() == [11, 1]
    assert ranks_from_scores(scores, torch.tensor([50, 17]))["full_unfiltered"].tolist() == [100, 4]


def test_a_list_shorter_than_the_cutoffs_is_refused():
    with pytest.raises(UserError, match="best 10 items cannot be measured at 20"):
        ranks_from_scores(torch.zeros(1, 30), torch.tensor([1]), listed=10)


#: What to do about it.
DIVERGED = "so nothing can be ranked; training has diverged: lower learning_rate or set clip_grad_norm"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("item", [1, 3, 4])
def test_a_score_that_is_no_number_is_an_error_and_names_its_place(bad, item):
    scores = torch.zeros(3, 5)
    scores[1, item] = bad
    with pytest.raises(UserError, match=rf"item {item} as (nan|inf) \(row 1.*batch\), {DIVERGED}$"):
        ranks_from_scores(scores, torch.tensor([1, 1, 1]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", ["target", "candidate"])
def test_a_bad_score_among_sampled_candidates_is_an_error_and_names_its_row(bad, place):
    """Some models score the candidates alone, so nobody has looked at these scores before."""
    own, others = torch.zeros(4), torch.zeros(4, 3)
    targets, negatives = torch.tensor([5, 6, 7, 8]), torch.tensor([[1, 2, 3]]).repeat(4, 1)
    if place == "target":
        own[2:] = bad
    else:
        others[2:, 1] = bad
    with pytest.raises(UserError, match=rf"no number \(row 2 of an evaluation batch\), {DIVERGED}$"):
        ranks_among_sampled(own, others, targets, negatives)


def test_what_is_no_candidate_counts_nothing_and_may_have_any_score():
    """0 and the target itself; -inf is a score (not listed), and any row may have other candidates."""
    own = torch.tensor([1.0, -math.inf])
    others = torch.tensor([[math.nan, math.inf, 1.0, 0.5], [-math.inf, 2.0, math.nan, -math.inf]])
    negatives = torch.tensor([[0, 9, 3, 4], [1, 2, 0, 4]])
    found = ranks_among_sampled(own, others, torch.tensor([9, 7]), negatives)
    assert list(found) == ["sampled4"]
    assert found["sampled4"].tolist() == [2, 4]
    assert found["sampled4"].dtype == np.int64


def test_padding_among_the_seen_items_is_none():
    scores = torch.tensor([[9.0, 1.0, 2.0, 3.0]])
    seen = (torch.tensor([0, 0]), torch.tensor([0, 3]))
    assert ranks_from_scores(scores, torch.tensor([1]), seen)["full"].tolist() == [2]


def test_a_row_whose_user_has_seen_nothing_is_ranked_among_all():
    """The last row, which no seen item belongs to, has a rank all the same."""
    scores = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).repeat(3, 1)
    seen = (torch.tensor([1, 1]), torch.tensor([2, 3]))
    assert ranks_from_scores(scores, torch.tensor([1, 1, 1]), seen)["full"].tolist() == [3, 1, 3]


@pytest.mark.parametrize("shape", [(5,), (2, 5, 1)])
def test_scores_that_are_no_table_are_refused(shape):
    with pytest.raises(ValueError, match="do not fit"):
        ranks_from_scores(torch.zeros(shape), torch.tensor([1, 1]))


@pytest.mark.parametrize(
    ("targets", "reason"), [([0, 1], r"items 1 \.\. 4"), ([1, 5], r"items 1 \.\. 4"), ([1], "do not fit")]
)
def test_targets_that_are_no_items_are_refused(targets, reason):
    with pytest.raises(ValueError, match=f"targets.*{reason}"):
        ranks_from_scores(torch.zeros(2, 5), torch.tensor(targets))


def test_no_case_gives_no_rank():
    ranks = ranks_from_scores(torch.zeros(0, 5), torch.empty(0, dtype=torch.int64))
    assert ranks["full_unfiltered"].shape == (0,)
    assert ranks["full_unfiltered"].dtype == np.int64
