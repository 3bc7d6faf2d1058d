"""Averaging the weights along the way: what is evaluated and kept is the mean of the last steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from recbole_unisid.errors import UserError


class WeightAverage:
    r"""Exponential moving average of a model's parameters (Polyak averaging).

    .. math:: \bar w_t = \bar w_{t-1} + (1 - d_t)(w_t - \bar w_{t-1}),
              \quad d_t = \min\left(d, \tfrac{1 + t}{10 + t}\right)

    so that the noisy start is soon forgotten. Constant steps of Adam wander about a minimum; their mean lies
    nearer to it than any of them, without a schedule that must know when training ends.

    Parameters
    ----------
    model : Module
        Whose trainable parameters are followed.
    decay : float
        d, in [0, 1); 0 follows the weights themselves.

    Raises
    ------
    UserError
        For a decay out of range.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"weight_average={decay} must be at least 0 (none) and below 1, such as 0.998.")
        self.decay = decay
        self.steps = 0
        self.parameters = [weight for weight in model.parameters() if weight.requires_grad]
        self.average = [weight.detach().clone() for weight in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Follow one step of the optimiser."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, list(self.parameters), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages into the model for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for weight, average in zip(self.parameters, self.average, strict=True):
            weight.data, average.data = average.data, weight.data

    def state(self) -> dict[str, object]:
        """What going on needs."""
        return {"steps": self.steps, "average": list(self.average)}

    def restore(self, state: dict[str, object]) -> None:
        """Take back what :meth:`state` gave."""
        self.steps = int(state["steps"])  # type: ignore[call-overload]
        saved: list[torch.Tensor] = state["average"]  # type: ignore[assignment]
        for average, kept in zip(self.average, saved, strict=True):
            average.copy_(kept)
