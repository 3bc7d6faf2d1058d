"""One level's codebook against its equations written out in Python floats, and what becomes of dead codes."""

import math

import numpy as np
import pytest
import torch

from recbole_unisid.tokens.residual_quantiser import Codebook
from recbole_unisid.tokens.tokenizer import additive_codebooks

LEVELS = [("euclidean", "unit"), ("cosine", "unit"), ("cosine", "fitted")]
START = [[3.0, 4.0], [-2.0, 0.0], [0.0, 0.5]]
SMOOTHING = 1e-5


def exact(values):
    return torch.tensor(values, dtype=torch.float64)


def level(distance="euclidean", code_length="unit", start=START, **options):
    """A codebook in float64 whose codes are the distinct points that it starts from, in their order."""
    codebook = Codebook(len(start), 2, distance, code_length=code_length, **options).double()
    codebook.initialise(exact(start), np.random.default_rng(0), 5)
    return codebook


def unit(vector):
    length = math.hypot(*vector)
    return [x / length for x in vector] if length > 0 else [0.0 for _ in vector]


def dot(one, other):
    return math.fsum(x * y for x, y in zip(one, other, strict=True))


def moved_by_hand(codes, batches, cosine, fitted, decay, count):
    """Van den Oord et al.'s appendix A.1 for each code by itself; `count` is what each starts with."""
    points = [unit(code) if cosine else code for code in codes]
    counts = [count] * len(codes)
    sums = [[x * count for x in point] for point in points]
    projections = [math.hypot(*code) * count for code in codes]
    for inputs, chosen, weights in batches:
        for code in range(len(codes)):
            own = [(x, w) for x, c, w in zip(inputs, chosen, weights, strict=True) if c == code]
            count_now = sum(w for _, w in own)
            sum_now = [sum((unit(x) if cosine else x)[axis] * w for x, w in own) for axis in range(2)]
            projection_now = sum(dot(x, unit(codes[code])) * w for x, w in own)
            counts[code] = decay * counts[code] + (1 - decay) * count_now
            sums[code] = [decay * a + (1 - decay) * b for a, b in zip(sums[code], sum_now, strict=True)]
            projections[code] = decay * projections[code] + (1 - decay) * projection_now
        total, codes = sum(counts), list(codes)
        for code, number in enumerate(counts):
            smooth = (number + SMOOTHING) / (total + len(counts) * SMOOTHING) * total
            mean = [x / smooth for x in sums[code]]
            if cosine:
                length = max(projections[code] / smooth, 1e-6) if fitted else 1.0
                mean = [x * length for x in unit(mean)]
            codes[code] = mean
    return codes, counts, sums, projections


@pytest.mark.parametrize(("distance", "code_length"), LEVELS)
@pytest.mark.parametrize("dead_below", [0.5, 3.0])
def test_the_moving_averages_are_the_equations(distance, code_length, dead_below):
    rng = np.random.default_rng(1)
    # The third batch pulls code 2 to where its inputs look away from it: its length stays above zero.
    batches = [
        (rng.standard_normal((6, 2)).tolist(), [0, 1, 0, 2, 2, 0], [1.0, 2.0, 1.0, 3.0, 1.0, 0.5]),
        (rng.standard_normal((3, 2)).tolist(), [2, 0, 2], [1.0, 1.0, 1.0]),
        ([[-90.0, -120.0], [1.0, 1.0]], [2, 1], [4.0, 1.0]),
    ]
    codebook = level(distance, code_length, decay=0.75, dead_below=dead_below)
    start = codebook.weight.detach().tolist()
    for number in range(1, 4):
        inputs, chosen, weights = batches[number - 1]
        codebook.update(exact(inputs), torch.tensor(chosen), exact(weights))
        expected = moved_by_hand(
            start,
            batches[:number],
            distance == "cosine",
            code_length == "fitted",
            0.75,
            max(dead_below, 1.0),
        )
        found = (codebook.weight, codebook.counts, codebook.sums, codebook.projections)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.detach(), exact(other), rtol=1e-9, atol=1e-12)
    assert code_length == "unit" or float(codebook().norm(dim=1).min()) == pytest.approx(1e-6)


@pytest.mark.parametrize(("distance", "code_length"), LEVELS)
def test_a_codebook_starts_as_codes_of_its_points(distance, code_length):
    """Of as many points as codes each is one: itself, or its direction where codes have length 1."""
    codebook = level(distance, code_length)
    expected = [unit(point) for point in START] if (distance, code_length) == LEVELS[1] else START
    found = sorted(codebook().tolist())
    np.testing.assert_allclose(found, sorted(expected), atol=1e-7)
    assert codebook.counts.tolist() == [2.0, 2.0, 2.0]  # alive: not below `dead_below`


def test_a_code_that_no_input_chooses_stays_where_it_is():
    codebook = level(decay=0.5)
    before = codebook().detach().clone()
    for _ in range(3):
        codebook.update(torch.ones(4, 2).double(), torch.zeros(4, dtype=torch.int64), torch.ones(4).double())
    torch.testing.assert_close(codebook()[1:], before[1:], rtol=1e-3, atol=0)
    assert float((codebook()[0] - before[0]).norm()) > 0.1
    assert codebook.counts.tolist() == [0.125 * 2 + 0.875 * 4, 0.25, 0.25]


def test_averages_do_not_move_a_codebook_that_learns_by_gradients():
    codebook = level(learning="gradient")
    before = codebook.weight.detach().clone()
    codebook.update(torch.ones(4, 2).double(), torch.zeros(4, dtype=torch.int64), torch.ones(4).double())
    assert torch.equal(codebook.weight, before)
    assert codebook.weight.requires_grad
    assert codebook.counts.tolist() == pytest.approx(
        [0.8 * 2 + 0.2 * 4, 1.6, 1.6]
    )  # dead codes are still found


@pytest.mark.parametrize(("distance", "code_length"), LEVELS)
def test_dead_codes_become_inputs(distance, code_length):
    """Those below `dead_below` and no others; a new code counts as one that is just alive."""
    codebook = level(distance, code_length, dead_below=1.5)
    before = codebook.weight.detach().clone()
    codebook.counts[:] = torch.tensor([1.4, 1.5, 0.0])
    inputs = exact([[6.0, 8.0], [0.0, -7.0]])
    assert codebook.replace_dead(inputs, torch.Generator().manual_seed(0)) == 2
    assert torch.equal(codebook.weight[1], before[1])
    codes = [unit(x) for x in inputs.tolist()] if (distance, code_length) == LEVELS[1] else inputs.tolist()
    for code in (0, 2):
        new = codebook.weight[code].tolist()
        assert any(new == pytest.approx(one) for one in codes)
        point = unit(new) if distance == "cosine" else new
        assert codebook.sums[code].tolist() == pytest.approx([1.5 * x for x in point])
        assert float(codebook.projections[code]) == pytest.approx(1.5 * math.hypot(*new))
    assert codebook.counts.tolist() == [1.5, 1.5, 1.5]
    assert codebook.replace_dead(inputs, torch.Generator().manual_seed(0)) == 0


@pytest.mark.parametrize("weights", [None, [0.0, 1.0, 3.0]])
def test_the_new_codes_are_drawn_as_often_as_the_inputs_occur(weights):
    size = 4000
    codebook = Codebook(size, 2, "euclidean")
    codebook.counts[:] = 0
    inputs = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]])
    given = None if weights is None else torch.tensor(weights)
    assert codebook.replace_dead(inputs, torch.Generator().manual_seed(3), given) == size
    shares = np.bincount(codebook.weight[:, 1].long().numpy(), minlength=4)[1:] / size
    expected = [1 / 3] * 3 if weights is None else [0, 0.25, 0.75]
    np.testing.assert_allclose(shares, expected, atol=0.04)
    again = Codebook(size, 2, "euclidean")
    again.counts[:] = 0
    again.replace_dead(inputs, torch.Generator().manual_seed(3), given)
    assert torch.equal(again.weight, codebook.weight)


def test_vectors_for_given_codes_are_means_of_what_is_left():
    """Level by level, and zero for a code without items; the vectors given are left as they were."""
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((30, 4)).astype(np.float32)
    codes = np.stack([rng.choice([0, 2, 3], 30), rng.choice([1, 4], 30)], axis=1)
    given = vectors.copy()
    books = additive_codebooks(vectors, codes, [5, 6])
    assert np.array_equal(vectors, given)
    assert [(book.shape, book.dtype) for book in books] == [((5, 4), np.float32), ((6, 4), np.float32)]
    left = vectors.astype(np.float64)
    for level_number, book in enumerate(books):
        for code in range(len(book)):
            members = codes[:, level_number] == code
            expected = left[members].mean(axis=0) if members.any() else np.zeros(4)
            np.testing.assert_allclose(book[code], expected, atol=1e-6)
        left -= book[codes[:, level_number]]
