"""The quantiser as a trained layer: losses, moving averages, dead codes, weights, gradients past a choice."""

import numpy as np
import pytest
import torch

from recbole_unisid.errors import UserError
from recbole_unisid.tokens.quantiser import directions, quantise
from recbole_unisid.tokens.residual_quantiser import (
    Codebook,
    ResidualQuantiser,
    rotation_trick,
    straight_through,
)
from recbole_unisid.tokens.rqvae import Rqvae, mlp

MIXED = ["cosine", "cosine", "euclidean"]


def vectors(n=200, width=8, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32))


def layer(**options):
    return ResidualQuantiser(8, [16, 8, 12], MIXED, **options)


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


@pytest.mark.parametrize("learning", ["ema", "gradient"])
def test_losses_weigh_vectors_and_reach_one_side_each(learning):
    """`counted` alone weighs the losses; commitment draws the inputs, the codebook loss the codes."""
    quantiser, z = layer(learning=learning).eval(), vectors(30).requires_grad_()
    quantiser.initialise(vectors(100, seed=1))
    rng = np.random.default_rng(2)
    weights, counted = (torch.from_numpy(rng.integers(0, 4, 30).astype(np.float32)) for _ in range(2))
    out = quantiser(z, weights, counted)
    parts = quantise(z, quantiser.codebooks(), MIXED)
    commitment = codebook = 0.0
    for level, distance in enumerate(MIXED):
        r, q = parts.residuals[:, level].detach(), parts.quantised[:, level].detach()
        target = directions(r) if distance == "cosine" else r  # codes of length 1 stand for directions
        commitment += float((counted * ((r - q) ** 2).mean(dim=1)).sum() / counted.sum())
        codebook += float((counted * ((target - q) ** 2).mean(dim=1)).sum() / counted.sum())
    assert out.commitment_loss.item() == pytest.approx(commitment, rel=1e-5)
    assert out.codebook_loss.item() == pytest.approx(codebook if learning == "gradient" else 0.0, rel=1e-5)
    out.commitment_loss.backward()
    assert z.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in quantiser.parameters())
    z.grad = None
    if learning == "gradient":
        out.codebook_loss.backward()
        assert z.grad is None
        assert all(parameter.grad.abs().sum() > 0 for parameter in quantiser.parameters())
    light = quantiser(z, counted=counted / 1000)  # proportions matter, not how much all count together
    torch.testing.assert_close(light.commitment_loss, out.commitment_loss)
    nothing = quantiser(z, counted=torch.zeros(30))
    assert nothing.commitment_loss.item() == 0.0


@pytest.mark.parametrize("direct", [False, True])
def test_direct_codes_get_the_gradient_of_a_table(direct):
    """The value is the same either way; with `direct` the codes learn from what is made of ``q`` too."""
    quantiser, z = layer(learning="gradient", direct=direct).eval(), vectors(30)
    quantiser.initialise(vectors(100, seed=1))
    out = quantiser(z)
    parts = quantise(z, quantiser.codebooks(), MIXED)
    upstream = vectors(30, seed=3)
    wanted = torch.autograd.grad(parts.quantised.sum(dim=1), list(quantiser.parameters()), upstream)
    torch.testing.assert_close(out.quantised, parts.quantised.sum(dim=1))
    if not direct:
        assert not out.quantised.requires_grad
        return
    found = torch.autograd.grad(out.quantised, list(quantiser.parameters()), upstream)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_the_estimator_asked_for_passes_the_gradient():
    z, upstream = vectors(20).requires_grad_(), vectors(20, seed=3)
    gradients = []
    for name, estimator in (("straight_through", straight_through), ("rotation", rotation_trick)):
        quantiser = layer(estimator=name).eval()
        quantiser.initialise(vectors(100, seed=1))
        q = quantise(z.detach(), quantiser.codebooks(), MIXED).quantised.sum(dim=1)
        (found,) = torch.autograd.grad(quantiser(z).quantised, z, upstream)
        (wanted,) = torch.autograd.grad(estimator(z, q), z, upstream)
        torch.testing.assert_close(found, wanted)
        gradients.append(found)
    torch.testing.assert_close(gradients[0], upstream)


@pytest.mark.parametrize("code_length", ["unit", "fitted"])
def test_the_first_call_starts_the_codebooks_level_by_level(code_length):
    """From k-means of the input and of what the levels before leave, once; the seed decides."""
    z = vectors(300)
    quantiser, again, other = (layer(code_length=code_length, seed=seed) for seed in (2020, 2020, 1))
    assert not quantiser.initialised
    for one in (quantiser, again, other):
        one.eval()(z)
    assert quantiser.initialised
    books = quantiser.codebooks()
    assert all(torch.equal(a, b) for a, b in zip(books, again.codebooks(), strict=True))
    assert not torch.equal(books[2], other.codebooks()[2])
    quantiser(vectors(300, seed=5))
    assert all(torch.equal(a, b) for a, b in zip(books, quantiser.codebooks(), strict=True))
    parts = quantise(z, books, MIXED)  # every level is a fixed point of k-means on what is left to it
    for level, distance in enumerate(MIXED):
        for code, found in enumerate(books[level]):
            members = parts.residuals[parts.codes[:, level] == code, level]
            mean = members.mean(dim=0)
            if distance == "cosine":
                found, mean = directions(found), directions(directions(members).mean(dim=0))
            torch.testing.assert_close(found, mean, atol=1e-5, rtol=1e-5)


def test_the_settings_of_a_layer_unless_told():
    told = {"learning": "ema", "estimator": "straight_through", "code_length": "unit", "decay": 0.8}
    told |= {"dead_below": 2.0, "kmeans_iterations": 100, "seed": 2020, "direct": False}
    plain, explicit = layer(), layer(**told)
    for step in range(4):
        a, b = (one(vectors(seed=step).requires_grad_()) for one in (plain, explicit))
        assert torch.equal(a.quantised, b.quantised)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, explicit.state_dict()[name])
    assert (plain.initialised.dtype, plain.steps.dtype) == (torch.bool, torch.int64)  # as files have them


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_layer_learns_from_inputs_of_another_precision(dtype):
    """Its averages stay float32, and dead codes are replaced all the same."""
    other, same = layer(dead_below=4.0), layer(dead_below=4.0)
    for step in range(3):
        z = vectors(seed=step).bfloat16()
        other(z.to(dtype))
        same(z.float())
    for one, two in zip(other.codebooks(), same.codebooks(), strict=True):
        torch.testing.assert_close(one, two)


def test_dead_codes_are_drawn_anew_each_step_and_by_the_seed():
    """A code that dies in every step becomes other inputs, and vectors of weight 0 are never drawn."""
    z, weights = vectors(400), torch.ones(400)
    weights[200:] = 0
    drawn = {}
    for seed in (1, 2):
        quantiser = layer(dead_below=1e9, seed=seed)  # every code is always dead
        quantiser.initialise(z)
        for step in (1, 2):
            quantiser(z, weights)
            assert int(quantiser.steps) == step
            drawn[seed, step] = (quantiser.levels[0]()[:, None] - directions(z)).norm(dim=2).argmin(dim=1)
            assert drawn[seed, step].max() < 200
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)  # what seeded runs rest on
            assert torch.equal(drawn[seed, step], torch.multinomial(weights, 16, True, generator=generator))
    assert len({tuple(rows.tolist()) for rows in drawn.values()}) == 4
    quantiser.steps.fill_(2**24)  # where a float32 would stop counting, and every draw be the same
    quantiser(z)
    assert int(quantiser.steps) == 2**24 + 1


BAD = [
    {"learning": "emma"},
    {"estimator": "rotate"},
    {"code_length": "units"},
    {"decay": 1.0},
    {"decay": -0.1},
    {"dead_below": -1.0},
    {"direct": True},
]


@pytest.mark.parametrize("options", BAD)
def test_bad_settings(options):
    with pytest.raises(UserError, match=rf"(^|and |; ){next(iter(options))}\b"):
        layer(**options)


def test_the_settings_at_their_limits_are_allowed():
    layer(decay=0.0, dead_below=0.0)(vectors())
    ResidualQuantiser(1, [2], ["euclidean"])(vectors(width=1))
    with pytest.raises(ValueError, match="zip"):
        ResidualQuantiser(8, [16, 8], MIXED)


def test_a_tokenizer_of_trained_networks_says_how_they_were_trained():
    given = {
        "learning": "gradient",
        "estimator": "rotation",
        "code_length": "fitted",
        "decay": 0.5,
        "dead_below": 1.5,
    }
    quantiser = layer(**given)
    assert quantiser.options == given
    tokenizer = Rqvae.of_networks(mlp([12, 10, 8]), mlp([8, 10, 12]), quantiser, seed=3)
    assert given.items() <= tokenizer.options().items()
    assert (tokenizer.options()["latent_width"], tokenizer.options()["hidden"]) == (8, [10])


def test_straight_through_has_the_inputs_gradient():
    z, q = vectors(4).requires_grad_(), vectors(4, seed=1)
    out = straight_through(z, q)
    torch.testing.assert_close(out, q)
    (gradient,) = torch.autograd.grad(out, z, grad_outputs=q)
    torch.testing.assert_close(gradient, q)


@pytest.mark.parametrize("scale", [1e-4, 1.0])  # what a rotation does, it does to short vectors too
def test_rotation_trick_turns_the_gradient_with_the_vector(scale):
    z, q = (scale * vectors(5).double()).requires_grad_(), scale * vectors(5, seed=1).double()
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
