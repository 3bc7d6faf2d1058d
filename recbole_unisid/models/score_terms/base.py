"""One score term: a few features of every item given a history, none of them trained by gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn
from typing_extensions import Self

from recbole_unisid.data.split import TRAIN


class Entries(NamedTuple):
    """Entries of one feature that is 0 elsewhere, all [entries]; those of one row and item are added in their order."""

    rows: Tensor  # ascending
    items: Tensor
    values: Tensor

    def add_to(self, out: Tensor) -> None:
        """Add them to a feature [batch, n_items + 1]."""
        out.view(-1).index_add_(0, self.rows * out.shape[1] + self.items, self.values)

    def clear(self, out: Tensor) -> None:
        """Write 0 where they are."""
        out.view(-1).index_fill_(0, self.rows * out.shape[1] + self.items, 0.0)


class ScoreTerm(nn.Module, ABC):
    """Features of all items given a history. A subclass is a choice of the setting ``score_terms``.

    What it keeps are buffers: they are part of the run and follow its device.
    """

    #: What `forward` gives, in order; each has one weight.
    features: tuple[str, ...]

    @classmethod
    @abstractmethod
    def from_config(cls, config: Any, dataset: Any) -> Self:
        """Build the term from what is trained on.

        `dataset` has ``sequences`` and ``split``, and ``semantics`` where the model reads text; ``sequences`` is None
        where a finished run is loaded, whose buffers follow.
        """

    @abstractmethod
    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        """Features [len(features), batch, n_items + 1] of histories int64 [batch, longest], padded on the right."""

    def write(self, out: Tensor, histories: Tensor, lengths: Tensor) -> Tensor:
        """The features, written over what `out` holds; a term may do so without a copy."""
        return out.copy_(self(histories, lengths))

    def entries(self, histories: Tensor, lengths: Tensor) -> list[Entries] | None:
        """Where each feature is not 0, for a term whose features are so nearly everywhere; None: `write` them all."""
        return None

    def count_as_new(self, items: Tensor) -> None:
        """Take items [n] for new ones once training has ended: most terms know no other."""

    @abstractmethod
    def append(self, vectors: Tensor | None, count: int) -> None:
        """Take in `count` items after training, with text vectors [count, text width] where the model reads text."""


class SizedByWeights(nn.Module):
    """A module whose buffers take the sizes of a finished run's weights: as many rows, or `longest` at most."""

    def __init__(self, **longest: int) -> None:
        super().__init__()
        self.longest = longest

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            stored = state_dict.get(prefix + name)
            if stored is None or stored.dim() != buffer.dim():
                continue
            if stored.shape[:1] == buffer.shape[:1] or len(stored) <= self.longest.get(name, -1):
                setattr(self, name, buffer.new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Links(SizedByWeights):
    """A sparse matrix of item by item, row 0 (padding) empty: of each item its `most` highest links at most.

    It may be given in blocks of rows, so that only the highest of all are held.
    """

    starts: Tensor
    items: Tensor
    values: Tensor

    def __init__(self, matrix: sparse.csr_matrix | Iterable[sparse.csr_matrix], most: int = 100) -> None:
        blocks = [matrix] if sparse.issparse(matrix) else matrix
        found = [highest_of_rows(block, most) for block in blocks]
        counts, items, values = (np.concatenate(part) for part in zip(*found, strict=True))
        longest = most * len(counts)
        super().__init__(items=longest, values=longest)
        self.most = most
        starts = np.concatenate([[0], counts.cumsum()])
        self.register_buffer("starts", torch.from_numpy(starts))  # [n_items + 2]
        self.register_buffer("items", torch.from_numpy(items))  # [links]
        self.register_buffer("values", torch.from_numpy(values))

    def sums(self, items: Tensor, weights: Tensor, out: Tensor) -> Tensor:
        """Add to `out` [batch, n_items + 1] rows of items [batch, n] in order, times weights [batch, n]."""
        self.entries(items, weights).add_to(out)
        return out

    def entries(self, items: Tensor, weights: Tensor) -> Entries:
        """Rows of items [batch, n] in order, times weights [batch, n]."""
        first = self.starts[items]
        counts = (self.starts[items + 1] - first).flatten()
        entry = torch.repeat_interleave(counts)
        within = torch.arange(len(entry), device=items.device) - (counts.cumsum(0) - counts)[entry]
        at = first.flatten()[entry] + within
        values = self.values[at] * weights.flatten()[entry]
        return Entries(entry // items.shape[1], self.items[at], values)

    def append(self, count: int) -> None:
        """Items without links."""
        self.starts = torch.cat([self.starts, self.starts[-1:].expand(count)])

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        counts = self.starts.diff()
        sound = 0 <= int(counts.min()) <= int(counts.max()) <= self.most and int(self.starts[0]) == 0
        inside = (
            not len(self.items) or 0 < int(self.items.min()) <= int(self.items.max()) < len(self.starts) - 1
        )
        if not (sound and inside and int(self.starts[-1]) == len(self.items) == len(self.values)):
            raise RuntimeError(f"{prefix} holds no links between its items")


def highest_of_rows(
    matrix: sparse.csr_matrix, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The `most` highest entries of each row (of equal ones the lower column): how many, columns and values.

    >>> [part.tolist() for part in highest_of_rows(sparse.csr_matrix([[0, 1, 3], [2, 2, 0]]), 1)]
    [[1, 1], [2, 0], [3.0, 2.0]]
    """
    entries = matrix.tocoo()
    order = np.lexsort((entries.col, -entries.data, entries.row))
    rows, columns, values = entries.row[order], entries.col[order], entries.data[order]
    counts = np.bincount(rows, minlength=matrix.shape[0])
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = place < most
    return (
        np.minimum(counts, most).astype(np.int64),
        columns[kept].astype(np.int64),
        values[kept].astype(np.float32),
    )


def faded(histories: Tensor, lengths: Tensor, rate: float) -> Tensor:
    """Weights ``rate ** age`` of a history's items, [batch, longest]: 1 of the newest, whose age is 0; 0 of padding."""
    age = lengths[:, None] - 1 - torch.arange(histories.shape[1], device=histories.device)
    return torch.where(age >= 0, rate ** age.clamp(min=0).float(), 0.0)


def transition_counts(dataset: Any, lag: int = 1) -> sparse.csr_matrix:
    """How often one item was trained on `lag` places after another of the same user, [n_items + 1, n_items + 1]."""
    shape = (dataset.item_num, dataset.item_num)
    sequences = dataset.sequences
    if sequences is None:
        return sparse.csr_matrix(shape, dtype=np.float64)
    owners, trained = sequences.users, dataset.split.phase <= TRAIN
    pairs = (owners[:-lag] == owners[lag:]) & trained[:-lag] & trained[lag:]
    earlier, later = sequences.items[:-lag][pairs], sequences.items[lag:][pairs]
    return sparse.csr_matrix((np.ones(len(earlier)), (earlier, later)), shape=shape)
