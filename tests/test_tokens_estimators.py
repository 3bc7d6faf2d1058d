"""How a gradient passes the choice of a code: the estimators against their equations."""

import numpy as np
import pytest
import torch

from recbole_unisid.tokens.residual_quantiser import rotation_trick, straight_through


def vectors(n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32))


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
