"""The quantiser as a trained layer: gradients, moving averages, dead codes, weights."""

import numpy as np
import pytest
import torch

from recbole_unisid.errors import UserError
from recbole_unisid.tokens.codebook import Codebook
from recbole_unisid.tokens.estimators import rotation_trick, straight_through
from recbole_unisid.tokens.quantiser import directions, quantise
from recbole_unisid.tokens.residual_quantiser import ResidualQuantiser

MIXED = ["cosine", "cosine", "euclidean"]


def vectors(n=200, width=8, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32))


def layer(**options):
    return ResidualQuantiser(8, [16, 8, 12], MIXED, **options)


def test_straight_through_has_the_inputs_gradient():
    z, q = vectors(4).requires_grad_(), vectors(4, seed=1)
    out = straight_through(z, q)
    torch.testing.assert_close(out, q)
    (gradient,) = torch.autograd.grad(out, z, grad_outputs=q)
    torch.testing.assert_close(gradient, q)


def test_rotation_trick_turns_the_gradient_with_the_vector():
    z, q = vectors(5).double().requires_grad_(), vectors(5, seed=1).double()
    out = rotation_trick(z, q)
    torch.testing.assert_close(out, q)
    upstream = vectors(5, seed=2).double()
    (gradient,) = torch.autograd.grad(out, z, grad_outputs=upstream)
    for row in range(5):  # R as the paper writes it, a matrix
        a, b = z[row].detach() / z[row].norm(), q[row] / q[row].norm()
        r = (a + b) / (a + b).norm()
        rotation = torch.eye(8).double() - 2 * torch.outer(r, r) + 2 * torch.outer(b, a)
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(8).double())
        torch.testing.assert_close(gradient[row], q[row].norm() / z[row].norm() * rotation.T @ upstream[row])


def test_rotation_trick_without_a_rotation_passes_straight_through():
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]], requires_grad=True)
    q = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 0.0]])
    out = rotation_trick(z, q)
    out.sum().backward()
    torch.testing.assert_close(out.detach(), q)
    torch.testing.assert_close(z.grad, torch.ones(3, 2))


def test_forward_is_the_quantiser_and_its_losses():
    quantiser, z = layer().eval(), vectors()
    quantiser.initialise(z)
    out = quantiser(z)
    parts = quantise(z, quantiser.codebooks(), MIXED)
    assert torch.equal(out.codes, parts.codes)
    assert torch.equal(out.codes, quantiser.encode(z))
    torch.testing.assert_close(out.quantised, parts.quantised.sum(dim=1))
    expected = sum(
        ((parts.quantised[:, level] - parts.residuals[:, level]) ** 2).mean() for level in range(3)
    )
    torch.testing.assert_close(out.commitment_loss, expected)


@pytest.mark.parametrize("learning", ["ema", "gradient"])
@pytest.mark.parametrize("code_length", ["unit", "fitted"])
def test_weights_are_repetitions(learning, code_length):
    """Distinct vectors with weights train as the batch with all repetitions does."""
    z, counts = vectors(40), torch.randint(1, 5, (40,), generator=torch.Generator().manual_seed(0))
    once = layer(learning=learning, code_length=code_length, dead_below=0)
    often = layer(learning=learning, code_length=code_length, dead_below=0)
    repeated = z.repeat_interleave(counts, dim=0)
    for _ in range(3):
        a, b = once(z, counts), often(repeated)
    torch.testing.assert_close(a.commitment_loss, b.commitment_loss)
    torch.testing.assert_close(a.codebook_loss, b.codebook_loss)
    for left, right in zip(once.codebooks(), often.codebooks(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


def test_ema_is_the_moving_average_of_its_inputs():
    codebook = Codebook(2, 2, "euclidean", decay=0.75)
    points = torch.tensor([[0.0, 0.0], [4.0, 4.0]])
    codebook.initialise(points, np.random.default_rng(0), 10)
    low = int(codebook().norm(dim=1).argmin())
    batch = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
    codebook.update(batch, torch.tensor([low, low]), torch.ones(2))
    # counts: 0.75 * 2 + 0.25 * 2 = 2; sums: 0.75 * 0 + 0.25 * (2, 2) = (0.5, 0.5)
    torch.testing.assert_close(codebook()[low], torch.tensor([0.25, 0.25]), atol=1e-4, rtol=0)
    torch.testing.assert_close(codebook.counts[1 - low], torch.tensor(1.5))


@pytest.mark.parametrize("code_length", ["unit", "fitted"])
def test_lengths_of_cosine_codes(code_length):
    quantiser = layer(code_length=code_length, dead_below=0)
    for step in range(5):
        quantiser(3 * vectors(seed=step))
    lengths = quantiser.codebooks()[0].norm(dim=1)
    if code_length == "unit":
        torch.testing.assert_close(lengths, torch.ones(16))
    else:
        assert 3 < float(lengths.mean()) < 12  # near the projections of vectors of length about 8


def test_dead_codes_are_replaced_by_inputs():
    quantiser, z = layer(dead_below=1.0), vectors()
    quantiser(z)
    with torch.no_grad():
        quantiser.levels[2].weight[5] = 1e6
        quantiser.levels[2].counts[5] = 0
    replaced = quantiser.levels[2].replace_dead(z, torch.Generator().manual_seed(0))
    assert replaced >= 1
    assert (quantiser.levels[2]()[5] == z).all(dim=1).any()


def test_nothing_learns_in_evaluation():
    quantiser = layer()
    quantiser(vectors())
    before = {name: tensor.clone() for name, tensor in quantiser.state_dict().items()}
    quantiser.eval()(vectors(seed=1))
    assert all(torch.equal(before[name], tensor) for name, tensor in quantiser.state_dict().items())


def test_a_resumed_layer_goes_on_alike():
    first = layer(dead_below=8.0)  # high, so that codes are replaced at random all the time
    for step in range(3):
        first(vectors(seed=step))
    second = layer(dead_below=8.0)
    second.load_state_dict(first.state_dict())
    for step in range(3, 5):
        first(vectors(seed=step))
        second(vectors(seed=step))
    assert all(torch.equal(a, b) for a, b in zip(first.codebooks(), second.codebooks(), strict=True))


def test_gradient_codebooks_move_to_their_inputs():
    quantiser, z = layer(learning="gradient", dead_below=0), vectors()
    optimiser = torch.optim.Adam([p for p in quantiser.parameters() if p.requires_grad], lr=0.05)
    quantiser.initialise(vectors(seed=9))
    losses = []
    for _ in range(30):
        out = quantiser(z)
        optimiser.zero_grad()
        out.codebook_loss.backward()
        optimiser.step()
        losses.append(out.codebook_loss.item())
    assert losses[-1] < 0.8 * losses[0]
    torch.testing.assert_close(quantiser.codebooks()[1], directions(quantiser.levels[1].weight))


def test_ema_codebooks_have_no_gradient():
    assert not [parameter for parameter in layer().parameters() if parameter.requires_grad]


@pytest.mark.parametrize("options", [{"learning": "emma"}, {"estimator": "rotate"}, {"decay": 1.0}])
def test_bad_settings(options):
    with pytest.raises(UserError, match=next(iter(options))):
        layer(**options)
