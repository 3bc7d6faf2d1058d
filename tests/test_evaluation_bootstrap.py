"""The bootstrap by itself: p-values counted by hand, users of unequal weight, chunks, settings."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_unisid.evaluation import statistics
from recbole_unisid.evaluation.statistics import bootstrap_mean


@pytest.mark.parametrize("cells", [1, 700, 100_000])
def test_the_same_seed_gives_the_same_interval_in_chunks_of_any_size(monkeypatch, cells):
    values = np.random.default_rng(7).normal(size=500)
    whole = bootstrap_mean(values, resamples=300, seed=3)
    assert whole != bootstrap_mean(values, resamples=300, seed=4)
    monkeypatch.setattr(statistics, "_CELLS", cells)  # 1, 1 and 200 resamples at a time
    assert bootstrap_mean(values, resamples=300, seed=3) == pytest.approx(whole, rel=1e-12)
    chunks = list(statistics._resampled_means(values, None, 300, 3))
    assert sum(len(chunk) for chunk in chunks) == 300
    assert max(len(chunk) for chunk in chunks) == max(1, cells // 500)


def test_nothing_cannot_be_resampled():
    with pytest.raises(ValueError, match=r"^there is nothing to resample: no case$"):
        bootstrap_mean(np.empty(0))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_difference_that_never_changes_sign_has_the_smallest_p_value(sign):
    """No resample stands on the other side: 2 (1 + 0) / (1 + resamples)."""
    found = bootstrap_mean(sign * np.array([0.5, 0.5, 0.5]), resamples=399)
    assert found == pytest.approx((sign * 0.5, sign * 0.5, sign * 0.5, 2 / 400))


def test_resamples_at_zero_stand_on_both_sides():
    assert bootstrap_mean(np.zeros(5), resamples=99) == (0.0, 0.0, 0.0, 1.0)
    # Of four users with 1, 1, 1 and -1 a resample's mean is 0 or less where two or more of four draws are -1.
    at_most_zero = 1 - 0.75**4 - 4 * 0.25 * 0.75**3
    for sign in (1, -1):
        found = bootstrap_mean(sign * np.array([1.0, 1.0, 1.0, -1.0]), resamples=40_000)
        assert found.p_value == pytest.approx(2 * at_most_zero, abs=0.02)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_users_of_unequal_weight_equal_drawing_them_one_by_one(level):
    """A mean over cases: a user with nine cases weighs nine times as much as one with one."""
    generator = np.random.default_rng(8)
    sizes = generator.integers(1, 10, 80)
    users = generator.permutation(np.repeat(np.arange(80), sizes))
    values = generator.normal(size=80)[users] + 0.1 * generator.normal(size=len(users))
    found = bootstrap_mean(values, np.array([f"u{user}" for user in users]), 20_000, level)
    sums = np.bincount(users, values)
    drawn = generator.integers(0, 80, (20_000, 80))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    assert found.estimate == pytest.approx(values.mean())
    expected = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    assert [found.low, found.high] == pytest.approx(expected, abs=0.012)


def test_cases_without_users_are_users_of_their_own():
    values = np.random.default_rng(9).normal(size=50)
    assert bootstrap_mean(values) == bootstrap_mean(values, np.arange(50), 10_000, 0.95, 0)
