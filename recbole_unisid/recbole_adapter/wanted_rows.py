"""Parts of a transformer layer at one position a sequence, to the bits that the whole layer has there.

A row of a product with a matrix has the same bits among 2,048 rows as among 102,400. A sum over rows, of which the
gradients of weights are made, has its own order for each length: it is taken over all rows, with zeros in place of
those that nobody wants, for their gradients are zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

#: With fewer rows MKL takes a product apart in other ways.
_ROWS = 16


class Wanted:
    """Which rows of a [batch, length, width] are wanted: one a sequence, at `positions`, [batch]."""

    def __init__(self, positions: Tensor, length: int) -> None:
        self.positions, self.length = positions, length
        self.count = len(positions) * length
        self.places = torch.arange(0, self.count, length) + positions

    def spread(self, rows: Tensor) -> Tensor:
        """All rows, [batch * length, width]: those given at their places, zeros elsewhere."""
        return rows.new_zeros(self.count, rows.shape[1]).index_copy_(0, self.places, rows)

    def product(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """Each of [batch, heads, n] times its own of [batch * heads, n, m]."""
        padded = rows.new_zeros(len(matrices), min(_ROWS, self.length), rows.shape[2])
        each, at = torch.arange(len(matrices)), self.positions.repeat_interleave(rows.shape[1])
        if self.length > _ROWS:  # among fewer a row's bits depend on its place
            at = torch.zeros_like(at)
        padded[each, at] = rows.reshape(-1, rows.shape[2])
        return torch.bmm(padded, matrices)[each, at].view(*rows.shape[:2], -1)

    def reads(self, x: Tensor, attention: Any) -> tuple[Tensor, ...]:
        """Wanted rows of [batch, length, width] and their queries, [batch, width]; keys and values of all rows."""
        parts = (attention.query, attention.key, attention.value)
        found: tuple[Tensor, ...] = _Reads.apply(
            x, self, *(p for part in parts for p in (part.weight, part.bias))
        )  # type: ignore[no-untyped-call]
        return found

    def times(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """Each of [batch, heads, n], the wanted of [batch, heads, length, n], times its [batch, heads, n, m]."""
        found: Tensor = _Times.apply(rows, matrices, self)  # type: ignore[no-untyped-call]
        return found

    def linear(self, rows: Tensor, layer: nn.Linear) -> Tensor:
        """A linear layer of [batch, width]."""
        found: Tensor = _Linear.apply(rows, self, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
        return found

    def norm(self, rows: Tensor, layer: nn.LayerNorm) -> Tensor:
        """A layer norm of [batch, width]."""
        found: Tensor = _Norm.apply(rows, self, layer.weight, layer.bias, layer.eps)  # type: ignore[no-untyped-call]
        return found


class _Reads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, wanted: Wanted, *learned: Tensor) -> tuple[Tensor, ...]:
        query, query_bias, key, key_bias, value, value_bias = learned
        ctx.save_for_backward(x, query, key, value)
        ctx.wanted = wanted
        rows = x.view(wanted.count, -1)[wanted.places]
        keys, values = functional.linear(x, key, key_bias), functional.linear(x, value, value_bias)
        return rows, functional.linear(rows, query, query_bias), keys, values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_row: Tensor, by_query: Tensor, *by_all: Tensor) -> tuple[Tensor | None, ...]:
        x, query, key, value = ctx.saved_tensors
        wanted, inputs = ctx.wanted, x.view(ctx.wanted.count, -1)
        by_key, by_value = (slope.reshape(inputs.shape) for slope in by_all)
        found, more = by_value @ value, by_key @ key
        rows = by_row + found[wanted.places] + more[wanted.places] + by_query @ query  # in autograd's order
        found.add_(more).index_copy_(0, wanted.places, rows)
        slopes = (wanted.spread(by_query), by_key, by_value)
        learned = (part for slope in slopes for part in (slope.t() @ inputs, slope.sum(0)))
        return found.view(x.shape), None, *learned


class _Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrices: Tensor, wanted: Wanted) -> Tensor:
        flat = matrices.reshape(-1, *matrices.shape[2:])
        ctx.save_for_backward(rows, flat)
        ctx.wanted, ctx.layout = wanted, (matrices.shape, matrices.stride())
        return wanted.product(rows, flat)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        rows, flat = ctx.saved_tensors
        by_matrices = torch.empty_strided(*ctx.layout)
        torch.mul(rows.unsqueeze(3), slope.unsqueeze(2), out=by_matrices)
        return ctx.wanted.product(slope, flat.transpose(1, 2)), by_matrices, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, wanted: Wanted, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.wanted = wanted
        return functional.linear(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        slopes = ctx.wanted.spread(slope)
        return slope @ weight, None, slopes.t() @ ctx.wanted.spread(rows), slopes.sum(0)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, wanted: Wanted, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        found, mean, scale = torch.native_layer_norm(rows, weight.shape, weight, bias, eps)
        ctx.save_for_backward(rows, mean, scale, weight, bias)
        ctx.wanted = wanted
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        rows, mean, scale, weight, bias = ctx.saved_tensors

        def slopes(which: list[bool], *parts: Tensor) -> Any:
            back = torch.ops.aten.native_layer_norm_backward
            return back(parts[0], parts[1], weight.shape, *parts[2:], weight, bias, which)

        by_row = (slope, rows, mean, scale)
        learned = slopes([False, True, True], *(ctx.wanted.spread(part) for part in by_row))[1:]
        return slopes([True, False, False], *by_row)[0], None, *learned, None
