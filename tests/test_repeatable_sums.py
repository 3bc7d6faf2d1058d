"""Sums in one order: the same gradient from call to call, with several threads."""

from __future__ import annotations

import torch

from recbole_unisid.recbole_adapter.random_state import repeatable_sums


def _gradient(values: torch.Tensor, index: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    values = values.clone().requires_grad_()
    (values[index] * weights).sum().backward()
    assert values.grad is not None
    return values.grad


def test_gradient_of_an_index_repeats_with_several_threads() -> None:
    """Two threads that add into the same rows give the same bits twenty times."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(50, 64, generator=generator)
    index = torch.randint(50, (20_000,), generator=generator)
    weights = torch.randn(20_000, 64, generator=generator)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with repeatable_sums(True):
            gradients = [_gradient(values, index, weights) for _ in range(20)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def test_torch_is_left_as_it_was() -> None:
    """The context changes torch for its own time only, and not at all when not wanted."""
    with repeatable_sums(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with repeatable_sums(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
