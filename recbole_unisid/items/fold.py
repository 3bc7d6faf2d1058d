"""Items folded for serving: codes, code tables and IDs; no text encoder, no network, no RecBole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_unisid.errors import UserError
from recbole_unisid.items.joint import JointTokens
from recbole_unisid.items.representation import ItemRepresentation, SemanticTokens


@dataclass(frozen=True)
class FoldedItems:
    """Every item as codes and an ID vector, and the tables that codes point into.

    An item's vector is the sum of its codes' rows, one of each table, beside its ID vector (or with that vector,
    lifted, added): what the trained :class:`ItemRepresentation` gives, without what made the codes. Row 0 of `codes`
    and `ids` is padding.

    Attributes
    ----------
    codes : Tensor of int64, shape [n_items + 1, levels]
        No levels where items have no semantic part.
    tables : tuple of Tensor, shape [codes of the level, width] each
        One a level.
    ids : Tensor or None, shape [n_items + 1, id width]
        None where items have no ID part.
    lift : Tensor or None, shape [width, id width]
        The map through which IDs are added; None where they are concatenated.
    """

    codes: Tensor
    tables: tuple[Tensor, ...]
    ids: Tensor | None
    lift: Tensor | None = None

    @property
    def n_items(self) -> int:
        """Items, padding not counted."""
        return len(self.codes) - 1

    def vectors(self, items: Tensor | None = None) -> Tensor:
        """Vectors of items.

        Parameters
        ----------
        items : Tensor of int64, shape [n], optional
            Item numbers; all and padding by default.

        Returns
        -------
        Tensor, shape [n, width]
        """
        codes = self.codes if items is None else self.codes[items]
        parts = []
        if self.tables:
            rows = [table[codes[:, level]] for level, table in enumerate(self.tables)]
            parts.append(torch.stack(rows).sum(0))
        if self.ids is not None:
            parts.append(self.ids if items is None else self.ids[items])
        if self.lift is not None:
            return parts[0] + parts[1] @ self.lift.T
        return torch.cat(parts, dim=1)

    def parameter_counts(self) -> dict[str, int]:
        """Count what is kept: ``tables``, ``ids`` (no padding) and ``lift``, all numbers; ``codes``, integers."""
        return {
            "tables": sum(table.numel() for table in self.tables),
            "ids": 0 if self.ids is None else self.n_items * self.ids.shape[1],
            "lift": 0 if self.lift is None else self.lift.numel(),
            "codes": self.n_items * self.codes.shape[1],
        }

    def state(self) -> dict[str, Tensor]:
        """All tensors by name, ready for a safetensors file."""
        state = {"codes": self.codes} | {f"table.{level}": table for level, table in enumerate(self.tables)}
        state |= {name: part for name, part in (("ids", self.ids), ("lift", self.lift)) if part is not None}
        return {name: tensor.contiguous().clone() for name, tensor in state.items()}

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> FoldedItems:
        """Take back what :meth:`state` gave.

        Raises
        ------
        UserError
            When a tensor is missing, or a code points beyond its table.
        """
        if "codes" not in state or state["codes"].ndim != 2:
            raise UserError("Folded items have no table of codes: the file is another's or damaged.")
        codes = state["codes"]
        names = [f"table.{level}" for level in range(codes.shape[1])]
        missing = [name for name in names if name not in state]
        if missing:
            raise UserError(f"Folded items lack '{missing[0]}': the file is another's or damaged.")
        tables = tuple(state[name] for name in names)
        for level, table in enumerate(tables):
            if len(codes) and not 0 <= int(codes[:, level].min()) <= int(codes[:, level].max()) < len(table):
                raise UserError(
                    f"Folded items: level {level} has {len(table)} codes, and an item has another."
                )
        return cls(codes, tables, state.get("ids"), state.get("lift"))


def folded_counts(items: ItemRepresentation) -> dict[str, int]:
    """What :meth:`FoldedItems.parameter_counts` would say, from the shapes alone."""
    semantic, tables, levels = items.semantic, 0, 0
    if isinstance(semantic, SemanticTokens):
        tables, levels = semantic.table.weight.numel(), semantic.rows.shape[1]
    elif isinstance(semantic, JointTokens):
        books = semantic.quantiser.codebooks()
        tables, levels = sum(book.numel() for book in books), len(books)
    elif semantic is not None:
        beside = 0 if items.ids is None or items.lift is not None else items.ids.embedding_dim
        tables, levels = (items.n_items + 1) * (items.width - beside), 1
    lift = 0 if items.lift is None else items.lift.weight.numel()
    ids = 0 if items.ids is None else items.n_items * items.ids.embedding_dim
    return {"tables": tables, "ids": ids, "lift": lift, "codes": items.n_items * levels}


@torch.no_grad()
def fold_items(items: ItemRepresentation) -> FoldedItems:
    """Fold a trained item representation.

    Parameters
    ----------
    items : ItemRepresentation
        Of any of the models. A dense text part has no codes to share: each item becomes its own code, with a
        table as long as the catalogue.

    Returns
    -------
    FoldedItems
        On the CPU, with the vectors that ``items.all_items()`` gives in evaluation (to rounding).
    """
    numbers = torch.arange(items.n_items + 1, device=next(items.parameters()).device)
    codes: Tensor = numbers[:, None][:, :0]
    tables: tuple[Tensor, ...] = ()
    semantic = items.semantic
    if isinstance(semantic, SemanticTokens):
        codes, tables = semantic.codes(), semantic.tables()
    elif isinstance(semantic, JointTokens):
        codes, tables = semantic.codes(), tuple(semantic.quantiser.codebooks())
    elif semantic is not None:
        codes, tables = numbers[:, None], (semantic(numbers),)
    ids = items.id_vectors(numbers)
    return FoldedItems(
        codes.cpu().clone(),
        tuple(table.detach().cpu().clone() for table in tables),
        None if ids is None else ids.detach().cpu().clone(),
        None if items.lift is None else items.lift.weight.detach().cpu().clone(),
    )
