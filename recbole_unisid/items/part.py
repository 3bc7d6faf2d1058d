"""What an item's text makes of it: the interface of all semantic parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import Self

from recbole_unisid.config.settings import registered
from recbole_unisid.plugins.loading import named_class


def part_named(name: str) -> type[SemanticPart]:
    """The class of a semantic part by the value of `semantics`; a UserError names the known ones."""
    return named_class("semantics", name, registered("semantics"))


def with_padding(rows: Tensor) -> Tensor:
    """What is known of items, [n_items, ...], with a row of zeros for padding in front: [n_items + 1, ...]."""
    return torch.cat([torch.zeros_like(rows[:1]), rows])


class PartCounts(NamedTuple):
    """Sizes of a semantic part: numbers in its folded tables, codes an item, parameters of tokens."""

    tables: int
    levels: int
    tokens: int


class SemanticPart(nn.Module, ABC):
    """What an item's text makes of it: item numbers [n] to vectors [n, width]. A subclass is a choice of `semantics`.

    :meth:`from_config` and :meth:`forward` are all that a new part needs. It is then trained through :meth:`forward`,
    each item of a batch once, and served as one vector an item.
    """

    #: What the part reads of the items' text: ``tokens`` (codes and codebooks), ``vectors`` or None.
    needs: str | None = None
    #: What the report calls the part.
    label = "text"
    #: Whether :meth:`append` takes in items after training.
    grows = False
    #: Whether more than gradients move it in training, so that batches go through :meth:`learn`.
    learns = False
    width: int

    @classmethod
    @abstractmethod
    def from_config(cls, config: Any, semantics: Any) -> Self:
        """Build the part from the settings and the items' ``vectors``, ``codes``, ``codebooks``, ``codebook_sizes``."""

    @abstractmethod
    def forward(self, items: Tensor) -> Tensor:
        """Represent items, int64 [n] (0 is padding, whose vector nothing reads) -> [n, width]."""

    def start(self, config: Any, semantics: Any) -> None:
        """Set the weights that do not start at random; called once all of the model's have been drawn."""

    def learn(self, distinct: Tensor, places: Sequence[Tensor], padding: int) -> tuple[list[Tensor], Tensor]:
        """Represent a training batch and learn from it, where the part `learns`.

        The batch's items [m] are `distinct` and ascending, the first 0, padding; `places` say where in them those of
        each role are (inputs, targets, candidates), [n] each; `padding` counts padded inputs. Vectors by role, [n,
        width] each, and what the part learns by beside the next-item loss.
        """
        raise NotImplementedError

    def append(self, content: Tensor) -> None:
        """Represent further items by their codes [new, levels] or text vectors [new, text width]."""
        raise NotImplementedError

    def fold(self, numbers: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Codes [n, levels] and a table a level, whose rows sum to the items' vectors; by default a code an item."""
        return numbers[:, None], (self(numbers),)

    def counts(self, n_items: int) -> PartCounts:
        """Count what :meth:`fold` gives, without computing it."""
        return PartCounts((n_items + 1) * self.width, 1, 0)

    def learned_tokens(self) -> tuple[Any, Tensor] | None:
        """The tokenizer that was learned with the model and the codes of all items [n_items, levels], if any."""
        return None
