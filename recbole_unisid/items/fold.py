"""Items folded for serving: codes, code tables and IDs; no text encoder, no network, no RecBole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recbole_unisid.errors import UserError
from recbole_unisid.items.part import PartCounts
from recbole_unisid.items.representation import ItemRepresentation


@dataclass(frozen=True)
class FoldedItems:
    """Every item as codes and an ID vector, and the tables that codes point into.

    An item's vector is the sum of its codes' rows, one of each table, beside its ID vector (or with that vector,
    lifted, added): what the trained :class:`ItemRepresentation` gives, without what made the codes. Row 0 of `codes`
    and `ids` is padding.
    """

    codes: Tensor  # int64 [n_items + 1, levels]; no levels where items have no semantic part
    tables: tuple[Tensor, ...]  # [codes of the level, width] each
    ids: Tensor | None  # [n_items + 1, id width]; None where items have no ID part
    lift: Tensor | None = None  # [width, id width], through which IDs are added; None: they are concatenated

    @property
    def n_items(self) -> int:
        """Items, padding not counted."""
        return len(self.codes) - 1

    def vectors(self, items: Tensor | None = None) -> Tensor:
        """Vectors [n, width] of item numbers [n]; of all and padding by default."""
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

    def state(self) -> dict[str, Tensor]:
        """All tensors by name, ready for a safetensors file."""
        state = {"codes": self.codes} | {f"table.{level}": table for level, table in enumerate(self.tables)}
        state |= {name: part for name, part in (("ids", self.ids), ("lift", self.lift)) if part is not None}
        return {name: tensor.contiguous().clone() for name, tensor in state.items()}

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> FoldedItems:
        """Take back what :meth:`state` gave; a UserError where a tensor is missing or a code is beyond its table."""
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
    """Count the numbers that :class:`FoldedItems` keeps, the integers of ``codes`` apart, from the shapes alone."""
    part = PartCounts(0, 0, 0) if items.semantic is None else items.semantic.counts(items.n_items)
    if items.semantic is not None and (moved := _moved(items)) is not None:
        more = (len(moved) + 1) * items.semantic.width
        part = part._replace(tables=part.tables + more, levels=part.levels + 1)
    lift = 0 if items.lift is None else items.lift.weight.numel()
    ids = 0 if items.ids is None else items.n_items * items.ids.embedding_dim
    return {"tables": part.tables, "ids": ids, "lift": lift, "codes": items.n_items * part.levels}


def _moved(items: ItemRepresentation) -> Tensor | None:
    """The numbers of items that are, or are moved towards, means of others, [n]; None where none can be."""
    if items.semantic is None or not items.new_items.neighbours:
        return None
    shift = items.new_items.shift
    kinds = [items.untrained, None if shift is None else shift.any(1)]
    moved = [kind for kind in kinds if kind is not None]
    return torch.stack(moved).any(0).nonzero().flatten() if moved else None


def count_parameters(model: nn.Module, items: ItemRepresentation, network: nn.Module) -> dict[str, int]:
    """Count a model's parameters as ``result.json`` reports them.

    ``tokens``: item tables that are learned (code vectors and IDs, padding not counted; the map through which IDs are
    added is no item's and counts with the network); ``training``: everything that gets a gradient; ``checkpoint``:
    every number stored; ``serving``: what scoring needs once items are folded to codes, tables and IDs, the integers of
    the codes apart as ``serving_codes``.
    """
    folded, semantic = folded_counts(items), items.semantic
    serving = sum(p.numel() for p in network.parameters()) + folded["tables"] + folded["ids"] + folded["lift"]
    terms: nn.Module | None = getattr(model, "terms", None)
    if terms is not None:  # what they keep: texts and links
        serving += sum(kept.numel() for kept in terms.state_dict().values())
    return {
        "tokens": folded["ids"] + (0 if semantic is None else semantic.counts(items.n_items).tokens),
        "training": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "checkpoint": sum(value.numel() for value in model.state_dict().values()),
        "serving": serving,
        "serving_codes": folded["codes"],
    }


@torch.no_grad()
def fold_items(items: ItemRepresentation) -> FoldedItems:
    """Fold a trained item representation, of any of the models.

    A part without codes to share, such as dense text, makes each item its own code, with a table as long as the
    catalogue; items with no training or little have a level of their own, which takes their codes' vector to where it
    is. The result is on the CPU, with the vectors that ``items.all_items()`` gives in evaluation (to rounding).
    """
    numbers = torch.arange(items.n_items + 1, device=next(items.parameters()).device)
    codes, tables = (numbers[:, None][:, :0], ()) if items.semantic is None else items.semantic.fold(numbers)
    semantic, ids = items.parts(numbers)
    if (moved := _moved(items)) is not None and items.semantic is not None and semantic is not None:
        place = torch.zeros_like(numbers).index_put((moved,), numbers[1 : len(moved) + 1])
        shift = (semantic - items.semantic(numbers))[moved]
        codes = torch.cat([codes, place[:, None]], dim=1)
        tables = (*tables, torch.cat([torch.zeros_like(shift[:1]), shift]))
    return FoldedItems(
        codes.cpu().clone(),
        tuple(table.detach().cpu().clone() for table in tables),
        None if ids is None else ids.detach().cpu().clone(),
        None if items.lift is None else items.lift.weight.detach().cpu().clone(),
    )
