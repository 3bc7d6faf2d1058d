"""Matrix products of float32 on a CPU, by oneDNN where torch's own are slow."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn


@cache
def by_onednn() -> bool:
    """Whether oneDNN multiplies faster than torch does: torch asks MKL, which leaves AVX-512 unused on AMD.

    There it takes some 2.3 times as long (torch 2.13, Zen 5; results/speed.md). Both add up in the same order.
    """
    try:
        named = "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        named = False
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    by_mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return named and wide and by_mkl and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(left: Tensor, right: Tensor, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """``left @ right.T + bias``, [..., k] by [n, k] -> [..., n], without a gradient.

    Two matrices without a bias are multiplied into `out`, where it is given.
    The first product of each shape costs oneDNN a millisecond: shapes that seldom return are better off elsewhere.
    """
    if (
        left.device.type != "cpu"
        or left.dtype != torch.float32
        or right.dtype != torch.float32
        or not by_onednn()
    ):
        return nn.functional.linear(left, right, bias) if out is None else torch.mm(left, right.T, out=out)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return found if out is None else out.copy_(found)
