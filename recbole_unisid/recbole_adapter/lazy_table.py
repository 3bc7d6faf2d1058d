"""Adam and the weight average of a large ID table, whose rows catch up when they are read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_unisid import distributed
from recbole_unisid.models.losses.draw import LARGE_CATALOGUE

#: Steps after which the first moment, 0.9 a step, moves nothing more in double precision.
_MOVING = 800
#: Rows brought up to date at a time.
_ROWS = 1 << 16


class LazyTable:
    r"""Adam (Kingma and Ba 2015) of an embedding table, in time that its size does not enter.

    A row without a gradient still moves, by its first moment. With m and v as they were at step k, and with
    :math:`c_s = \sqrt{1 - \beta_2^s}` and :math:`b_s = \eta_s c_s / (1 - \beta_1^s)`,

    .. math:: w_t = w_k - D_{kt}\,\frac{m}{\sqrt v + \epsilon C_{kt} / D_{kt}}, \quad
              D_{kt} = \sum_{s=k+1}^{t} b_s \Bigl(\frac{\beta_1}{\sqrt{\beta_2}}\Bigr)^{s-k},
              \quad C_{kt} = \sum_{s=k+1}^{t} b_s c_s \Bigl(\frac{\beta_1}{\beta_2}\Bigr)^{s-k}

    so that a few numbers for each k say how far all rows of step k are behind; beside rounding it is the dense form to
    first order in :math:`\epsilon / \sqrt v`. The moving average of weights is
    :math:`\bar w_t = P_{kt} \bar w_k + (1 - P_{kt}) w_k - E_{kt} m / (\dots)`, with P the product of the decays d and
    :math:`E_{kt} = d_t E_{k,t-1} + (1 - d_t) D_{kt}`.

    With a `shrink` of :math:`\lambda` each step takes :math:`\eta_s \lambda` of a weight away first: D and C shrink
    with it, :math:`w_k` by :math:`A_{kt} = \prod_s (1 - \eta_s \lambda)`, and in the average :math:`1 - P` is
    :math:`Q_{kt} = d_t Q_{k,t-1} + (1 - d_t) A_{kt}`.

    The table's gradient becomes a sparse one; reading it outside training brings all rows up to date.
    """

    def __init__(
        self,
        table: nn.Embedding,
        averaged: bool,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        shrink: float = 0.0,
    ) -> None:
        table.sparse = True
        self.weight, self.betas, self.eps, self.shrink = table.weight, betas, eps, shrink
        # Moments and average side by side, [rows, 2 or 3, width]: a row is in one place of memory.
        weight = table.weight.detach()
        parts = [torch.zeros_like(weight), torch.zeros_like(weight), *([weight] if averaged else [])]
        self.kept, self.averaged = torch.stack(parts, dim=1), averaged
        #: Steps taken, at the last of which all rows were up to date, and the further step that each row stands at.
        self.steps, self.since = 0, 0
        self.at = torch.zeros(len(table.weight), dtype=torch.int64)
        #: By the step that a row stands at: the two powers, D, C, P and E, and where weights shrink A and Q; float64.
        self.behind = torch.empty(8 if shrink else 6, 1024, dtype=torch.float64)
        self._begin(0)
        table.register_forward_pre_hook(self._before_reading)

    def _begin(self, at: int) -> None:
        """Rows of this step are behind by nothing."""
        if at == self.behind.shape[1]:
            self.behind = torch.cat([self.behind, torch.empty_like(self.behind)], dim=1)
        start = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
        self.behind[:, at] = start[: len(self.behind)]

    def _before_reading(self, table: nn.Embedding, given: tuple[Tensor]) -> None:
        if table.training and torch.is_grad_enabled():
            self._catch_up(given[0].flatten())
        else:
            self.flush()

    @torch.no_grad()
    def _catch_up(self, rows: Tensor) -> None:
        """Bring rows, which may be repeated, up to date."""
        now = self.steps - self.since
        rows = rows[self.at.index_select(0, rows) < now]
        at = self.at.index_select(0, rows)
        behind = self.behind.index_select(1, at).to(self.weight.dtype)
        _, _, moved, small, share, lag, *shrunk = behind.unsqueeze(2)  # [rows, 1] each
        kept, weight = self._kept(rows), self.weight.data.index_select(0, rows)
        way = kept[0] / (kept[1].sqrt() + self.eps * (small / moved).nan_to_num_(1.0))
        if self.averaged:
            followed = kept[2] * share + weight * shrunk[1] if shrunk else torch.lerp(weight, kept[2], share)
            kept[2] = followed - lag * way
        if shrunk:
            weight *= shrunk[0]
        missed = (now - at)[:, None].double()
        kept[0] *= (self.betas[0] ** missed).to(weight.dtype)
        kept[1] *= (self.betas[1] ** missed).to(weight.dtype)
        self.weight.data.index_copy_(0, rows, weight.addcmul_(moved, way, value=-1))
        self.kept.index_copy_(0, rows, kept.transpose(0, 1).contiguous())
        self.at.index_fill_(0, rows, now)

    def _kept(self, rows: Tensor) -> Tensor:
        """What is kept of rows, one after the other: contiguous, [2 or 3, rows, width]."""
        return self.kept.index_select(0, rows).transpose(0, 1).contiguous()

    def flush(self) -> None:
        """Bring all rows up to date."""
        if self.steps == self.since:
            return
        for first in range(0, len(self.at), _ROWS):
            self._catch_up(torch.arange(first, min(first + _ROWS, len(self.at))))
        self.since = self.steps
        self.at.zero_()
        self._begin(0)

    @torch.no_grad()
    def step(self, rate: float, decay: float) -> None:
        """Take one step at a learning rate, with the average's decay; the gradient is of rows that were read."""
        now = self.steps - self.since
        self.steps += 1
        first_share, second_share = (1 - beta**self.steps for beta in self.betas)
        share, lag, moved = self.behind[4, : now + 1], self.behind[5, : now + 1], self.behind[2, : now + 1]
        moving = self.behind[:, max(0, now + 1 - _MOVING) : now + 1]
        left = 1 - rate * self.shrink
        if self.shrink:
            self.behind[[2, 3, 6], : now + 1] *= left
        powers, sums = moving[:2], moving[2:4]
        powers[0] *= self.betas[0] / self.betas[1] ** 0.5
        powers[1] *= self.betas[0] / self.betas[1]
        sums[0] += rate * second_share**0.5 / first_share * powers[0]
        sums[1] += rate * second_share / first_share * powers[1]
        share *= decay
        lag.lerp_(moved, 1 - decay)
        if self.shrink:
            self.behind[7, : now + 1].lerp_(self.behind[6, : now + 1], 1 - decay)
        self._begin(now + 1)
        gradient, self.weight.grad = self.weight.grad, None
        if gradient is None:
            return
        rows, slopes = gradient._indices()[0], gradient._values()
        if not bool((rows[1:] > rows[:-1]).all()):  # sorting what is sorted takes time, too
            gradient = gradient.coalesce()
            rows, slopes = gradient.indices()[0], gradient.values()
        kept, weight = self._kept(rows), self.weight.data.index_select(0, rows)
        first, second = kept[0].lerp_(slopes, 1 - self.betas[0]), kept[1].mul_(self.betas[1])
        second.addcmul_(slopes, slopes, value=1 - self.betas[1])
        denominator = (second.sqrt() / second_share**0.5).add_(self.eps)
        if self.shrink:
            weight *= left
        weight.addcdiv_(first, denominator, value=-rate / first_share)
        if self.averaged:
            kept[2].lerp_(weight, 1 - decay)
        self.weight.data.index_copy_(0, rows, weight)
        self.kept.index_copy_(0, rows, kept.transpose(0, 1).contiguous())
        self.at.index_fill_(0, rows, now + 1)

    def swap(self) -> None:
        """Put the averages in the place of the weights, or back."""
        weight = self.weight.data.clone()
        self.weight.data.copy_(self.kept[:, 2])
        self.kept[:, 2] = weight

    def state(self) -> dict[str, Any]:
        """What going on needs, beside the weights as they stand."""
        behind = self.behind[:, : self.steps - self.since + 1]
        names = ("steps", "since", "at", "kept")
        return {name: getattr(self, name) for name in names} | {"behind": behind}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        for name, value in state.items():
            setattr(self, name, value)


def lazy_table(config: Any, model: nn.Module, shrink: float = 0.0) -> LazyTable | None:
    """The ID table of a large catalogue, where its gradient is a few rows a step; None where Adam takes all of it.

    Weight decay moves every row, and a bound of the gradient's norm, several processes and a loss over the whole
    catalogue read the gradient as a whole; a GPU takes all rows at once. See :class:`LazyTable` for `shrink`.
    """
    items = getattr(model, "items", None)
    table = getattr(items, "ids", None)
    whole = config["weight_decay"] or config["clip_grad_norm"] or config["loss"] == "softmax"
    alone = distributed.world() == 1 and config["device"].type == "cpu"
    if not isinstance(table, nn.Embedding) or table.num_embeddings <= LARGE_CATALOGUE or whole or not alone:
        return None
    if getattr(items, "untrained", None) is not None:  # their mean is read
        return None
    return LazyTable(table, averaged=bool(config["weight_average"]), shrink=shrink)
