"""Dropout of what is written here: 16 random bits a number, and on a CPU a generator for each thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

_OF_THREAD = threading.local()


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Let this thread's dropout on a CPU draw from a generator in place of torch's own, which all threads share."""
    _OF_THREAD.generator = generator
    try:
        yield
    finally:
        _OF_THREAD.generator = None


class Dropout(nn.Module):
    """Dropout, and the addition of a residual in the same pass.

    On a CPU torch draws 53 bits a number, one number at a time, in some seven times the time of 16. The rate is a
    multiple of 2^-16 there: .3 is .300003.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, values: Tensor, residual: Tensor | None = None) -> Tensor:
        """Drop values, and add the residual where there is one."""
        dropped = round(self.rate * 2**16) if self.training else 0
        if dropped in (0, 2**16) or values.device.type != "cpu" or torch.compiler.is_compiling():
            kept = functional.dropout(values, self.rate, self.training)
            return kept if residual is None else residual + kept
        generator = getattr(_OF_THREAD, "generator", None)
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(
            -(2**63), None, generator=generator
        )
        bits = words.view(torch.int16)[: values.numel()].view(values.shape)
        mask = torch.ge(bits, dropped - 2**15, out=torch.empty(values.shape, dtype=values.dtype))
        start = values.new_zeros(()) if residual is None else residual
        return torch.addcmul(start, values, mask, value=2**16 / (2**16 - dropped))

    def extra_repr(self) -> str:
        """What printing the layer says."""
        return f"rate={self.rate}"
