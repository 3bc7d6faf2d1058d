"""Matrix products of float32 on a CPU, by oneDNN where torch's own are slow."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

# oneDNN keeps what it made for each shape, 1,024 shapes by default: a gigabyte, where shapes are all different.
_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_GIVEN = _CACHE in os.environ
for _cache in (_CACHE, "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "64")


def keep_shapes(number: int) -> None:
    """Let oneDNN keep what it made for so many shapes, if it has not multiplied yet and the environment does not say.

    For a model whose products have some hundred shapes that return in each step.
    """
    if not _GIVEN:
        os.environ[_CACHE] = str(number)


def _onednn_is_faster() -> bool:
    """Whether oneDNN multiplies faster than torch does: torch asks MKL, which leaves AVX-512 unused on AMD.

    There it takes some 2.3 times as long (torch 2.13, Zen 5; results/speed.md). Both add up in the same order.
    """
    try:
        amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        amd = False
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    by_mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return amd and wide and by_mkl and hasattr(torch.ops.mkldnn, "_linear_pointwise")


BY_ONEDNN = _onednn_is_faster()
#: ``left @ right.T + bias`` of float32 on the CPU, [..., k], [n, k] and [n] or None -> [..., n], without a gradient.
#: The first product of each shape costs oneDNN a millisecond: shapes that seldom return are better off elsewhere.
fast_linear = functional.linear
if BY_ONEDNN:
    fast_linear = partial(torch.ops.mkldnn._linear_pointwise, attr="none", scalars=[], algorithm="")


class FastLinear(nn.Linear):
    """A linear layer of float32 on the CPU, without a gradient."""

    def forward(self, input: Tensor) -> Tensor:
        """Multiply."""
        found: Tensor = fast_linear(input, self.weight, self.bias)
        return found


def multiply(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """Write ``left @ right.T`` to `out`, without a gradient."""
    if BY_ONEDNN and left.dtype == torch.float32 and left.device.type == "cpu":
        return out.copy_(fast_linear(left, right, None))
    return torch.mm(left, right.T, out=out)


def multiply_columns(left: Tensor, right: Tensor) -> Tensor:
    """``left.T @ right`` without a gradient, [k, n] and [k, m] -> [n, m], for a large k."""
    if BY_ONEDNN and left.dtype == torch.float32 and left.device.type == "cpu":
        found: Tensor = fast_linear(left.T, right.T, None)
        return found
    return left.T @ right
