"""How a gradient passes the choice of a code, which has none of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def straight_through(inputs: Tensor, quantised: Tensor) -> Tensor:
    """The quantised vectors, with the gradient of the inputs: ``z + sg(q - z)``.

    Bengio et al., arXiv 1308.3432; van den Oord et al. (VQ-VAE), arXiv 1711.00937. Shapes [n, width].
    """
    return inputs + (quantised - inputs).detach()


def rotation_trick(inputs: Tensor, quantised: Tensor) -> Tensor:
    """The quantised vectors, as the rotation and scaling that takes each input there.

    ``q = sg(|q| / |z| R) z`` with ``R = I - 2 r r^T + 2 q^ z^T``, ``r = (z^ + q^) / |z^ + q^|``, hats for
    unit vectors: the gradient is turned and scaled as the input was. Fifty et al., arXiv 2410.06424,
    equation 4. Shapes [n, width]. An input that is zero or opposite to its code, for which there is no such
    rotation, passes straight through.
    """
    z, q = inputs.detach(), quantised.detach()
    z_norm, q_norm = z.norm(dim=1, keepdim=True), q.norm(dim=1, keepdim=True)  # [n, 1]
    z_unit, q_unit = z / z_norm.clamp(min=1e-12), q / q_norm.clamp(min=1e-12)
    middle = z_unit + q_unit
    middle_norm = middle.norm(dim=1, keepdim=True)
    r = middle / middle_norm.clamp(min=1e-12)
    along_r = (inputs * r).sum(dim=1, keepdim=True)
    along_z = (inputs * z_unit).sum(dim=1, keepdim=True)
    rotated = inputs - 2 * along_r * r + 2 * along_z * q_unit  # R z
    scaled = rotated * q_norm / z_norm.clamp(min=1e-12)
    possible = (z_norm > 1e-6) & (q_norm > 1e-6) & (middle_norm > 1e-6)
    return torch.where(possible, scaled, straight_through(inputs, q))


#: Gradient estimators by name.
ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "straight_through": straight_through,
    "rotation": rotation_trick,
}
