"""Intervals that cover what they promise, Holm's correction, comparisons and their file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import leave_one_out
from recbole_unisid.errors import UserError
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.statistics import bootstrap_mean, compare_runs, holm, metric_over_seeds
from recbole_unisid.evaluation.table import RankTable


def table(ranks, users=None, **more):
    cases = len(ranks)
    users = np.arange(cases) if users is None else users
    return RankTable(
        user=np.array([f"u{user}" for user in users]),
        target=np.array([f"i{case}" for case in range(cases)]),
        ranks={"full": np.asarray(ranks), **more},
        history_length=np.full(cases, 4),
        target_popularity=np.full(cases, 7),
    )


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(11)
    users, trials, covered = 400, 2000, 0
    # A paired difference of hit rates over users: -1, 0 or 1, with mean 0.02.
    for trial in range(trials):
        values = generator.choice([-1.0, 0.0, 1.0], size=users, p=[0.09, 0.80, 0.11])
        interval = bootstrap_mean(values, resamples=500, seed=trial)
        covered += interval.low <= 0.02 <= interval.high
    assert abs(covered / trials - 0.95) < 0.015


def test_users_with_several_cases_are_drawn_whole():
    generator = np.random.default_rng(12)
    trials, covered, naive = 1000, 0, 0
    # Six cases a user that agree with one another: 200 users, not 1200 independent cases.
    for trial in range(trials):
        users = np.repeat(np.arange(200), 6)
        values = np.repeat(generator.normal(0.5, 1.0, 200).round(1), 6)
        covered += spans(bootstrap_mean(values, users, resamples=400, seed=trial), 0.5)
        naive += spans(bootstrap_mean(values, resamples=100, seed=trial), 0.5) if trial < 200 else 0
    assert abs(covered / trials - 0.95) < 0.02
    assert naive / 200 < 0.75


def spans(interval, truth):
    return interval.low <= truth <= interval.high


def test_the_bootstrap_equals_drawing_users_one_by_one():
    generator = np.random.default_rng(5)
    values = generator.choice([0.0, 0.3, 1.0], size=300, p=[0.7, 0.2, 0.1])
    quick = bootstrap_mean(values, resamples=20_000)
    drawn = values[generator.integers(0, 300, (20_000, 300))].mean(axis=1)
    assert quick.estimate == pytest.approx(values.mean(), abs=1e-15)
    assert [quick.low, quick.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.002)


def test_p_values_are_even_where_nothing_differs():
    generator = np.random.default_rng(6)
    p_values = [
        bootstrap_mean(generator.normal(size=200).round(1), resamples=400, seed=trial).p_value
        for trial in range(1000)
    ]
    for level in (0.05, 0.2, 0.5):
        assert abs(np.mean(np.array(p_values) < level) - level) < 4 * np.sqrt(level * (1 - level) / 1000)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 40])
def test_holm_equals_statsmodels(count):
    # Rounded, so that some tie; cubed, so that some are small enough to pass.
    p_values = np.round(np.random.default_rng(count).random(count) ** 3, 2).tolist()
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-14)
    assert holm([]) == []


def test_comparing_pairs_the_users_and_averages_the_seeds():
    generator = np.random.default_rng(8)
    base = [generator.integers(1, 40, 3000) for _ in range(3)]
    runs = {
        "Better": [table(np.maximum(1, ranks - 3)) for ranks in base],
        "Base": [table(ranks) for ranks in base],
        "Same": [table(ranks) for ranks in base[::-1]],
    }
    better, same = compare_runs(runs, "Base", metric="recall@10", resamples=2000)
    lift = np.mean([(np.maximum(1, ranks - 3) <= 10).mean() - (ranks <= 10).mean() for ranks in base])
    assert (better.model, same.model, better.reference) == ("Better", "Same", "Base")
    assert better.difference.estimate == pytest.approx(lift, abs=1e-12)
    assert better.relative == pytest.approx(lift / np.mean([(ranks <= 10).mean() for ranks in base]))
    assert better.significant
    assert better.p_holm == pytest.approx(2 * better.difference.p_value)
    # The same runs in another order: no difference at all, and an interval of one point at 0.
    assert same.difference[:3] == pytest.approx((0, 0, 0), abs=1e-15)
    assert (same.significant, same.p_holm) == (False, 1.0)


def test_noise_is_rarely_called_significant_among_many_models():
    generator = np.random.default_rng(9)
    false_alarms = 0
    for trial in range(60):
        runs = {f"M{model}": [table(generator.integers(1, 30, 500))] for model in range(6)}
        found = compare_runs(runs, "M0", metric="recall@10", resamples=1000, seed=trial)
        false_alarms += any(one.significant for one in found)
    assert false_alarms <= 8  # 5 % of 60 is 3; more than 8 has a chance below 1 %


def test_the_spread_is_over_seeds():
    tables = [table([1, 30]), table([1, 2]), table([40, 30])]
    values, spread = metric_over_seeds(tables, "full", "recall@10")
    assert values.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert (spread.mean, spread.deviation, spread.seeds) == (0.5, 0.5, 3)
    assert metric_over_seeds(tables[1:], "full", "recall@10")[1].deviation == pytest.approx(1 / np.sqrt(2))
    assert metric_over_seeds(tables[:1], "full", "recall@10")[1].deviation is None


def test_a_comparison_is_the_bootstrap_of_the_differences_over_whole_users():
    generator = np.random.default_rng(13)
    users = np.repeat(np.arange(60), 4)
    ranks = [generator.integers(1, 30, 240) for _ in range(3)]
    runs = {"A": [table(ranks[0], users)], "B": [table(ranks[1], users), table(ranks[2], users)]}
    (found,) = compare_runs(runs, "A", resamples=300, seed=5)
    one, two, base = (per_user_metric(each, "ndcg@10") for each in (ranks[1], ranks[2], ranks[0]))
    differences = (one + two) / 2 - base
    assert found.difference == pytest.approx(bootstrap_mean(differences, users, 300, seed=5))
    alone = bootstrap_mean(differences, None, 300, seed=5)
    assert (found.difference.low, found.difference.high) != pytest.approx((alone.low, alone.high), abs=1e-3)
    plain, told = compare_runs(runs, "A"), compare_runs(runs, "A", "full", "ndcg@10", 10_000, 0)
    assert plain == told


def test_what_is_significant_has_an_interval_without_zero():
    """By the corrected p-value alone: one resample counts for both, so the interval agrees by itself."""
    generator = np.random.default_rng(14)
    seen = set()
    for trial in range(40):
        base = generator.integers(1, 40, 400)
        runs = {"Base": [table(base)]}
        for model, step in (("A", trial % 4), ("B", 0)):
            runs[model] = [table(np.maximum(1, base + generator.integers(-4, 5, 400) - step))]
        for found in compare_runs(runs, "Base", metric="recall@10", resamples=200, seed=trial):
            assert found.significant == (found.p_holm < 0.05)
            seen.add(found.significant)
            assert not found.significant or not found.difference.low <= 0 <= found.difference.high
    assert seen == {True, False}
    runs = {"Base": [table([30, 30])], "A": [table([1, 1])]}
    (edge,) = compare_runs(runs, "Base", metric="recall@10", resamples=39)
    assert (edge.p_holm, edge.significant) == (0.05, False)  # below 5 %, not at it


def test_a_reference_that_never_hits_has_no_relative_difference():
    runs = {"Base": [table([30, 30, 30])], "A": [table([1, 30, 1])]}
    (found,) = compare_runs(runs, "Base", metric="recall@10", resamples=50)
    assert found.relative is None
    assert found.difference.estimate == pytest.approx(2 / 3)


def test_models_without_the_candidate_set_are_left_out():
    runs = {"A": [table([1, 2], sampled99=np.array([1, 2]))], "Pop": [table([3, 4])]}
    assert compare_runs(runs, "A", "sampled99", "hit@10") == []
    assert compare_runs(runs, "Pop", "sampled99", "hit@10") == []
    runs["B"] = runs["A"]
    assert [one.model for one in compare_runs(runs, "A", "sampled99", "hit@10", 50)] == ["B"]


def test_models_are_compared_on_a_part_of_the_cases():
    base, better = table(np.full(600, 15)), table(np.where(np.arange(600) < 300, 5, 15))

    def part(whole, cases):
        columns = {"user": whole.user[cases], "target": whole.target[cases]}
        return replace(whole, **columns, ranks={name: ranks[cases] for name, ranks in whole.ranks.items()})

    first = slice(300)
    runs = {"Base": [part(base, first)], "Better": [part(better, first)]}
    assert compare_runs(runs, "Base", metric="recall@10")[0].difference.estimate == 1.0
    rest = {"Base": [part(base, slice(300, None))], "Better": [part(better, slice(300, None))]}
    assert compare_runs(rest, "Base", metric="recall@10")[0].difference.estimate == 0.0


def test_runs_on_other_targets_are_not_compared():
    runs = {"A": [table([1, 2])], "B": [table([1, 2, 3])]}
    line = "two runs were not tested on the same users and targets, so they cannot be compared: "
    with pytest.raises(UserError, match=f"^{line}run both on the same data and protocol$"):
        compare_runs(runs, "A")
    with pytest.raises(UserError, match="none of the models compared: A, B"):
        compare_runs(runs, "C")
    same = table([1, 2])
    for other in (replace(same, user=same.user[::-1]), replace(same, target=same.target[::-1])):
        with pytest.raises(UserError, match="not tested on the same users"):
            compare_runs({"A": [same], "B": [other]}, "A")
        for seeds in ([same, other], [same, same, other]):  # nor are the seeds of one model averaged
            with pytest.raises(UserError, match="not tested on the same users"):
                metric_over_seeds(seeds, "full", "recall@10")


def test_a_table_reads_back_and_writes_the_same_bytes(tmp_path):
    first = table([1, 5, 21], sampled99=np.array([1, 1, 100]))
    first.save(tmp_path / "run" / "ranks.npz")
    back = RankTable.load(tmp_path / "run" / "ranks.npz")
    back.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "run" / "ranks.npz").read_bytes()
    assert back.ranks.keys() == first.ranks.keys()
    assert (back.ranks["sampled99"] == first.ranks["sampled99"]).all()
    assert back.user.tolist() == first.user.tolist()
    assert back.history_length.tolist() == [4, 4, 4]
    with np.load(tmp_path / "again.npz", allow_pickle=False) as file:
        assert set(file.files) == {
            "user",
            "target",
            "rank_full",
            "rank_sampled99",
            "history_length",
            "target_popularity",
        }


def test_a_table_keeps_whose_target_has_the_time_of_the_item_before(tmp_path):
    """Of users' positions, or no times, nothing is told; older files have no such column."""
    items, offsets = np.arange(1, 10), np.array([0, 4, 6, 9])
    people, names = np.array(list("abc")), np.array([str(item) for item in range(10)])
    for times, expected in (
        ([5, 5, 6, 6, 1, 2, 3, 3, 3], [1, 0, 1]),
        ([0, 1, 2, 3, 0, 1, 0, 1, 2], None),
        (None, None),
    ):
        kept = None if times is None else np.array(times, dtype=np.float64)
        sequences = UserSequences(items, offsets, kept, people, names)
        split = leave_one_out(sequences)
        found = RankTable.of_cases(sequences, split, np.array([3, 5, 8]), {"full": np.array([1, 2, 3])})
        found.save(tmp_path / "ranks.npz")
        back = RankTable.load(tmp_path / "ranks.npz").same_time
        assert (back if back is None else back.tolist()) == expected


def test_a_candidate_set_of_zeros_is_one_that_the_run_lacks(tmp_path):
    table([4, 2], sampled99=np.zeros(2, dtype=np.int64)).save(tmp_path / "ranks.npz")
    assert list(RankTable.load(tmp_path / "ranks.npz").ranks) == ["full"]


@pytest.mark.parametrize("damage", ["absent", "cut", "empty", "column"])
def test_a_damaged_table_is_one_clear_line(tmp_path, damage):
    path = tmp_path / "ranks.npz"
    table([1, 2, 3]).save(path)
    if damage == "absent":
        path.unlink()
    elif damage == "column":
        np.savez(path, user=np.array(["u"]))
    else:
        path.write_bytes(path.read_bytes()[: 200 if damage == "cut" else 0])
    with pytest.raises(UserError, match=r"ranks\.npz cannot be read") as caught:
        RankTable.load(path)
    assert "\n" not in str(caught.value)
