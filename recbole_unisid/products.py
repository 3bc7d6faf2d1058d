"""Matrix products of float32 on a CPU, by oneDNN where torch's own are slow."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
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


FILLED = 64  #: A softmax's positions are filled up to a multiple of these.
FEW = 512  #: Rows below which a layer is torch's own.


def filled(rows: Tensor) -> Tensor:
    """Rows [n, width] with rows of zeros behind, so that few numbers of rows occur; contiguous."""
    step = max(128, (1 << len(rows).bit_length()) // 16)
    return functional.pad(rows, (0, 0, 0, -len(rows) % step)).contiguous()


def _plain(input: Tensor) -> bool:
    """Whether a product of the input is one of float32 on the CPU, of many rows."""
    plain = (input.device.type, input.dtype) == ("cpu", torch.float32)
    return plain and input.shape[:-1].numel() >= FEW and not torch.is_autocast_enabled("cpu")


class _Layer(torch.autograd.Function):
    """``rows @ weight.T + bias`` of filled rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        found: Tensor = fast_linear(rows, weight, bias)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        (rows, weight), wanted, slope = ctx.saved_tensors, ctx.needs_input_grad, slope.contiguous()
        by_rows = fast_linear(slope, weight.T, None) if wanted[0] else None
        narrow = rows.shape[1] <= slope.shape[1]  # the narrower one first is faster
        by_weight = multiply_columns(rows, slope).T if narrow else multiply_columns(slope, rows)
        return by_rows, by_weight, slope.sum(0) if wanted[2] else None


def _through(layers: Iterable[nn.Module], input: Tensor) -> Tensor:
    """The input [..., width], filled up once, through linear layers and what stands between them."""
    rows = input.reshape(-1, input.shape[-1])
    found = filled(rows)
    for layer in layers:
        linear = isinstance(layer, nn.Linear)
        found = _Layer.apply(found, layer.weight, layer.bias) if linear else layer(found)  # type: ignore[no-untyped-call]
    return found[: len(rows)].view(*input.shape[:-1], found.shape[-1])


class TrainedLinear(nn.Linear):
    """A linear layer that oneDNN computes in training, with its gradient."""

    def forward(self, input: Tensor) -> Tensor:
        """Multiply."""
        return _through([self], input) if self.training and _plain(input) else super().forward(input)


class TrainedFeedForward(nn.Sequential):
    """A linear layer, a GELU and another layer, of one filling: torch asks oneDNN for the GELU, too."""

    def forward(self, input: Tensor) -> Tensor:
        """Transform."""
        if self.training and _plain(input):
            return _through(self, input)
        return super().forward(input)  # type: ignore[no-any-return,no-untyped-call]


def multiply_fast(*parts: nn.Module | None) -> None:
    """Let linear layers multiply so in training, and pairs of them with a GELU between, where oneDNN is faster."""
    known = [part for part in parts if isinstance(part, nn.Module)] if BY_ONEDNN else []
    inside = [layer for part in known for layer in part.modules()]
    for layer in inside:
        if type(layer) is nn.Linear:
            layer.__class__ = TrainedLinear
    pair = [TrainedLinear, nn.GELU, TrainedLinear]
    for layer in inside:
        if type(layer) is nn.Sequential and [type(one) for one in layer] == pair:
            layer.__class__ = TrainedFeedForward
