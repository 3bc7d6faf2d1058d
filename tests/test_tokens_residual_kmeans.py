"""k-means, of one level and level by level: what a fitted codebook is, which fit is kept, codes of equal use."""

import sys

import numpy as np
import pytest
import threadpoolctl
import torch

from recbole_unisid.errors import UserError
from recbole_unisid.tokens import build_tokenizer, residual_kmeans
from recbole_unisid.tokens.quantiser import (
    code_distances,
    directions,
    fitted_lengths,
    nearest_codes,
    squared_distances,
)
from recbole_unisid.tokens.residual_kmeans import KMeans, balanced_codes


def clumps(n=400, seed=0, width=5, centres=12):
    """Points of clumps of very different sizes."""
    rng = np.random.default_rng(seed)
    share = np.arange(1, centres + 1) ** 2.0
    owner = rng.choice(centres, n, p=share / share.sum())
    places = 3 * rng.standard_normal((centres, width))
    return (places[owner] + rng.standard_normal((n, width))).astype(np.float32)


def fit(points, size, distance="euclidean", seed=0, **options):
    found = KMeans(**options).fit(points, size, distance, np.random.default_rng(seed))
    assert found.shape == (size, points.shape[1])
    assert found.dtype == np.float32
    return torch.from_numpy(found)


def error(points, book, distance="euclidean"):
    return float(code_distances(torch.from_numpy(points), book, distance).min(dim=1).values.sum())


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_every_code_is_the_mean_of_the_points_that_choose_it(distance):
    """At a cosine level the direction of the mean of their directions."""
    points = clumps()
    book = fit(points, 10, distance)
    tensor = torch.from_numpy(points)
    chosen = nearest_codes(tensor, book, distance)
    for code in range(10):
        members = tensor[chosen == code]
        mean = directions(members).mean(dim=0) if distance == "cosine" else members.mean(dim=0)
        mean = directions(mean) if distance == "cosine" else mean
        torch.testing.assert_close(book[code], mean, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_more_iterations_never_raise_the_error_and_more_than_enough_change_nothing(distance):
    points = clumps()
    errors = [error(points, fit(points, 10, distance, iterations=n), distance) for n in (1, 2, 3, 200)]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert torch.equal(fit(points, 10, distance, iterations=200), fit(points, 10, distance, iterations=1000))


@pytest.mark.parametrize("balance", [0.0, 0.05])
def test_of_several_fits_the_one_with_the_least_error_is_kept(balance):
    points = clumps()
    alone = []
    rng = np.random.default_rng(2)
    for _ in range(6):  # the fits that restarts make, one by one
        alone.append(KMeans(balance=balance).fit(points, 10, "euclidean", rng))
    errors = [error(points, torch.from_numpy(book)) for book in alone]
    assert errors.index(min(errors)) not in (0, 5)
    assert min(errors) < 0.999 * errors[0]
    kept = fit(points, 10, seed=2, restarts=6, balance=balance)
    assert np.array_equal(kept.numpy(), alone[errors.index(min(errors))])


@pytest.mark.parametrize("n", [1, 9, 10, 11])
def test_as_many_distinct_points_as_codes_are_the_codes(n):
    """Of fewer the codes left over repeat some; one point more and there are means."""
    distinct = clumps(n, seed=n)
    book = fit(np.concatenate([distinct, distinct[::-1]]), 10)
    found = {tuple(code) for code in book.tolist()}
    given = {tuple(point) for point in distinct.tolist()}
    assert len(given) == n
    assert found == given if n <= 10 else len(found) == 10 and found != given


def test_seeds_come_from_a_sample_of_its_own_where_points_are_plenty(monkeypatch):
    """At most `_SEEDING_POINTS` a code are read, none twice; where they are fewer, all are."""
    read = []
    plus_plus = residual_kmeans.kmeans_plusplus

    def watched(points, *arguments, **options):
        read.append(points)
        return plus_plus(points, *arguments, **options)

    monkeypatch.setattr(residual_kmeans, "kmeans_plusplus", watched)
    monkeypatch.setattr(residual_kmeans, "_SEEDING_POINTS", 4)
    points = clumps(81)
    fit(points, 20)
    fit(points[:80], 20)
    sample, everything = read
    assert len(np.unique(sample, axis=0)) == 80
    assert {tuple(row) for row in sample.tolist()} <= {tuple(row) for row in points.tolist()}
    assert np.array_equal(everything, points[:80])


def test_an_empty_code_takes_the_point_that_is_served_worst():
    """Five codes at one place: the points that are far from it become codes, the furthest first."""
    points = torch.tensor([[0.0], [0.1], [50.0], [90.0], [20.0], [70.0], [0.2]])
    codes = torch.zeros(3, 1)
    distances = squared_distances(points, codes)
    found = residual_kmeans._means(points, codes, distances, torch.zeros(7, dtype=torch.int64), "euclidean")
    assert found[0].item() == pytest.approx(float(points.mean()))
    assert found[1:, 0].tolist() == [90.0, 70.0]


def test_the_mean_of_one_point_is_the_point():
    points, codes = torch.tensor([[4.0], [6.0], [10.0]]), torch.zeros(2, 1)
    distances = squared_distances(points, codes)
    assert residual_kmeans._means(
        points, codes, distances, torch.tensor([0, 0, 1]), "euclidean"
    ).tolist() == [
        [5],
        [10],
    ]


@pytest.mark.parametrize(("place", "balance"), [(20, 3.0), (12, 1.0), (8, 0.5)])
def test_the_last_iteration_is_plain_however_strong_the_balance(place, balance):
    """Equal use draws the code of ten far points towards ninety others; in the end each point has its nearest."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.standard_normal(90), place + rng.standard_normal(10)])[:, None].astype("f")
    tensor = torch.from_numpy(points)
    seeds = residual_kmeans._seeds(points, 2, np.random.default_rng(0))
    drawn = residual_kmeans._alternate(tensor, seeds, "euclidean", 100, balance)
    chosen = squared_distances(tensor, drawn).argmin(dim=1)
    plain = torch.stack([tensor[chosen == code].mean(dim=0) for code in range(2)])
    assert drawn.max() < 0.7 * plain.max()
    torch.testing.assert_close(fit(points, 2, balance=balance), plain)


def test_balanced_codes_are_used_about_equally():
    points = torch.from_numpy(clumps(600))
    book = fit(points.numpy(), 12)
    distances = squared_distances(points, book)
    plain = torch.bincount(distances.argmin(dim=1), minlength=12)
    even = torch.bincount(balanced_codes(distances, 0.5), minlength=12)
    assert plain.max() > 2 * 50 > 4 * plain.min()
    assert 35 <= even.min() <= even.max() <= 65


def test_softness_counts_in_mean_squared_distances():
    """Hardly any softness takes the nearest code, and neither the scale nor what all codes share matters."""
    points = torch.from_numpy(clumps(600))
    distances = squared_distances(points, fit(points.numpy(), 12))
    nearest = distances.argmin(dim=1)
    assert (balanced_codes(distances, 1e-4) == nearest).float().mean() > 0.95
    soft = balanced_codes(distances, 0.3)
    assert (soft == nearest).float().mean() < 0.9
    for scale in (2.0**-20, 2.0**20):
        assert torch.equal(soft, balanced_codes(distances * scale, 0.3))


def test_balanced_codes_are_sinkhorns_plan():
    """Against as many rounds in logarithms and float64: rows to 1, then columns to as many points each."""
    points = torch.from_numpy(clumps(300))
    distances = squared_distances(points, fit(points.numpy(), 12))
    least = distances.double().min(dim=1).values.mean()
    plan = -distances.double() / (0.5 * least)
    for _ in range(residual_kmeans._SINKHORN_ROUNDS):
        plan = plan - plan.logsumexp(dim=1, keepdim=True)
        plan = plan - plan.logsumexp(dim=0, keepdim=True)
    assert (balanced_codes(distances, 0.5) == plan.argmax(dim=1)).float().mean() > 0.99


def test_balancing_costs_little_error_and_makes_codes_more_even():
    points = clumps(2000)
    plain, even = fit(points, 16, restarts=3), fit(points, 16, restarts=3, balance=0.3)

    def spread(book):
        counts = torch.bincount(nearest_codes(torch.from_numpy(points), book, "euclidean"), minlength=16)
        return float(counts.double().std())

    assert spread(even) < 0.8 * spread(plain)
    assert error(points, even) < 1.3 * error(points, plain)


SETTINGS = {
    "code_length": "unit",
    "iterations": 3,
    "restarts": 2,
    "balance": 0.1,
    "centre": False,
    "points_per_code": 20,
    "split": 0.25,
}


@pytest.mark.parametrize("changed", [None, *SETTINGS])
def test_residual_kmeans_fits_each_level_to_what_is_left(changed):
    """With every setting, codebooks are those of k-means on the residuals, level by level."""
    options = SETTINGS if changed is None else {changed: SETTINGS[changed]}
    points = clumps(300) + 2
    tokenizer = build_tokenizer("residual_kmeans", [10, 4, 6], seed=3, **options).fit(points, False)
    told = {"code_length": "fitted", "iterations": 25, "restarts": 1, "balance": 0.05, "centre": True}
    told |= {"points_per_code": 256, "split": 0.0, **options}
    assert tokenizer.options() == told
    assert type(tokenizer)([4]).seed == 2020
    rng = np.random.default_rng(3)
    sample = np.sort(rng.choice(300, 200, replace=False)) if told["points_per_code"] == 20 else slice(None)
    mean = points.astype(np.float64).mean(axis=0) if told["centre"] else np.zeros(5)
    np.testing.assert_allclose(tokenizer.mean, mean, atol=1e-6)
    left = torch.from_numpy(points[sample] - tokenizer.mean)
    engine = KMeans(told["iterations"], told["restarts"], told["balance"])
    for size, distance, book in zip(
        (10, 4, 6), ("cosine", "cosine", "euclidean"), tokenizer.codebooks, strict=True
    ):
        whole = size - {10: 2, 4: 1, 6: 2}[size] * (told["split"] > 0)  # a quarter, rounded to even
        fitted = engine.fit(left.numpy(), whole, distance, rng)
        if whole < size:
            fitted = residual_kmeans.split_crowded(left.numpy(), fitted, size, distance, engine, rng)
        expected = torch.from_numpy(fitted)
        if distance == "cosine" and told["code_length"] == "fitted":
            expected = fitted_lengths(left, expected)
        torch.testing.assert_close(torch.from_numpy(book), expected)
        left = left - expected[nearest_codes(left, expected, distance)]


def test_all_points_are_fitted_where_they_are_just_few_enough():
    points = clumps(200)
    exact, more = (
        build_tokenizer("residual_kmeans", [10, 4], points_per_code=number).fit(points, False)
        for number in (20, 256)
    )
    assert all(np.array_equal(a, b) for a, b in zip(exact.codebooks, more.codebooks, strict=True))


REFUSED = [
    {"iterations": 0},
    {"restarts": 0},
    {"points_per_code": 0},
    {"balance": -0.1},
    {"balance": float("inf")},
    {"balance": float("nan")},
    {"code_length": "units"},
    {"split": -0.1},
    {"split": 0.6},
]


@pytest.mark.parametrize("options", REFUSED)
def test_settings_that_fit_nothing_are_refused(options):
    with pytest.raises(UserError, match=rf"^(iterations, .*)?{next(iter(options))}"):
        build_tokenizer("residual_kmeans", [4], **options)


def test_the_smallest_settings_are_allowed():
    options = {"iterations": 1, "restarts": 1, "points_per_code": 1, "balance": 0.0, "split": 0.0}
    tokenizer = build_tokenizer("residual_kmeans", [4], **options).fit(clumps(20), False)
    assert tokenizer.options() == {"code_length": "fitted", "centre": True, **options}


def test_the_largest_share_that_is_split_is_a_half():
    """All codes come in pairs then, and those of a cosine level keep length 1 where that is asked for."""
    settings = {"code_length": "unit", "split": 0.5, "balance": 0.0, "centre": False}
    tokenizer = build_tokenizer("residual_kmeans", [8], ["cosine"], **settings).fit(clumps(60), False)
    assert np.linalg.norm(tokenizer.codebooks[0], axis=1) == pytest.approx(np.ones(8), rel=1e-5)
    assert len(np.unique(tokenizer.codebooks[0], axis=0)) == 8


def test_a_single_item_is_not_centred_unless_asked():
    (item,) = data = clumps(1)
    tokenizer = build_tokenizer("residual_kmeans", [2], ["euclidean"], centre=False).fit(data, False)
    assert tokenizer.mean.tolist() == [0] * len(item)
    assert tokenizer.codebooks[0].tolist() == [item.tolist()] * 2


@pytest.mark.parametrize(
    ("asked", "terminal", "shown"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_a_progress_bar_is_shown_on_request_and_on_a_terminal(asked, terminal, shown, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    build_tokenizer("residual_kmeans", [4, 4]).fit(clumps(30), asked)
    assert ("2/2" in capsys.readouterr().err) == shown


def test_crowded_codes_are_cut_in_two():
    """40 points in two heaps around 0 share a code with 3 codes; the fourth parts the heaps."""
    heaps = {-1.0: 20, 1.0: 20, 50.0: 3, 90.0: 4}
    points = np.repeat(np.array([*heaps], dtype="f"), [*heaps.values()])[:, None]
    rng, engine = np.random.default_rng(0), KMeans()
    three = engine.fit(points, 3, "euclidean", rng)
    assert sorted(three[:, 0]) == [0, 50, 90]
    four = residual_kmeans.split_crowded(points, three, 4, "euclidean", engine, rng)
    assert four[:2, 0].tolist() == [code for code in three[:, 0] if code]
    assert sorted(four[2:, 0]) == [-1, 1]
    every = residual_kmeans.split_crowded(points, three, 6, "euclidean", engine, rng)
    assert sorted(every[:, 0]) == [-1, 1, 50, 50, 90, 90]


def test_a_code_without_points_is_cut_into_itself():
    points, codebook = np.array([[1.0], [2.0]], dtype="f"), np.array([[1.0], [2.0], [2.0]], dtype="f")
    rng = np.random.default_rng(0)
    found = residual_kmeans.split_crowded(points, codebook, 6, "euclidean", KMeans(), rng)
    assert found[:, 0].tolist() == [1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("distances", [["euclidean"], ["cosine"]])
def test_split_lowers_the_largest_share_at_equal_size(distances):
    rng = np.random.default_rng(5)
    vectors = np.concatenate([rng.normal(0, 0.3, (600, 8)), rng.normal(0, 3, (200, 8))]).astype("f")
    largest = []
    for split in (0.0, 0.25):
        settings = {"balance": 0.0, "split": split}
        tokenizer = build_tokenizer("residual_kmeans", [16], distances, **settings).fit(vectors, False)
        assert len(tokenizer.codebooks[0]) == 16
        assert tokenizer.options()["split"] == split
        largest.append(np.bincount(tokenizer.encode(vectors)[:, 0]).max())
    assert largest[1] < largest[0]


def test_seeds_are_drawn_with_one_thread_of_blas(monkeypatch):
    """Two threads that spin for products of a few rows took seven times as long on a busy machine."""
    threads = []
    real = residual_kmeans.kmeans_plusplus

    def seen(*given, **named):
        threads.extend(
            pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"
        )
        return real(*given, **named)

    monkeypatch.setattr(residual_kmeans, "kmeans_plusplus", seen)
    with threadpoolctl.threadpool_limits(2, "blas"):
        fit(clumps(), 10)
    assert set(threads) <= {1}
