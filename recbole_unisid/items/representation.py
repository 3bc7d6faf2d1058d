"""One vector an item: a semantic part and an ID part, joined (UniSID, arXiv 2502.16474, section 3.3)."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from recbole_unisid.items.initialisation import code_table_from_codebooks
from recbole_unisid.items.new_items import NewItems, Vectors
from recbole_unisid.items.part import PartCounts, SemanticPart, with_padding


class SemanticTokens(SemanticPart):
    """The sum of one learned vector a code, as a residual quantiser reads its codes (``semantics: fixed``).

    `codes`, int64 [n_items + 1, levels], are those of every item; row 0 (padding) is not used.
    """

    needs, label, grows = "tokens", "tokens", True

    def __init__(self, codes: Tensor, codebook_sizes: list[int], width: int) -> None:
        super().__init__()
        self.codebook_sizes, self.width = list(codebook_sizes), width
        # One table for all levels: level l's code k is row k + (sizes before l). A gather, not a loop.
        self.register_buffer("rows", codes + self._starts(codes), persistent=True)
        self.rows: Tensor
        self.table = nn.Embedding(sum(codebook_sizes), width)

    @classmethod
    def from_config(cls, config: Any, semantics: Any) -> Self:
        codes = with_padding(torch.from_numpy(semantics.codes))
        return cls(codes, semantics.codebook_sizes, config["semantic_dim"])

    def start(self, config: Any, semantics: Any) -> None:
        """Let code vectors start from the codebooks where ``table_init`` is ``text``; not random ones, the control."""
        if config["table_init"] == "text" and config["tokenizer"] != "random":
            given = semantics.codes, semantics.codebooks, self.width, config["table_scale"]
            self.table.weight.data.copy_(torch.from_numpy(code_table_from_codebooks(*given)))

    def forward(self, items: Tensor) -> Tensor:
        rows, table = self.rows.index_select(0, items), self.table.weight
        if torch.is_grad_enabled() and len(table) < len(rows):  # a bag's gradient takes longer then
            return sum(table.index_select(0, level) for level in rows.unbind(1))  # type: ignore[return-value]
        return nn.functional.embedding_bag(rows, table, mode="sum")

    def append(self, content: Tensor) -> None:
        self.rows = torch.cat([self.rows, (content + self._starts(content)).to(self.rows.device)])

    def fold(self, numbers: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The codes and the code vectors of each level."""
        codes = (self.rows - self._starts(self.rows))[numbers]
        return codes, torch.split(self.table.weight, self.codebook_sizes)

    def counts(self, n_items: int) -> PartCounts:
        return PartCounts(self.table.weight.numel(), self.rows.shape[1], self.table.weight.numel())

    def _starts(self, like: Tensor) -> Tensor:
        return torch.tensor([0, *self.codebook_sizes[:-1]], device=like.device).cumsum(0)


class ItemRepresentation(nn.Module):
    """``s = [semantic ; e_ID]``, or ``semantic + W e_ID``: either part may be absent, which makes UniSID's twins.

    The paper concatenates: the ID has its own coordinates. `added` through a learned map ``W``, it moves its item along
    `id_width` directions of the whole vector. Padding is not counted in `n_items`.
    """

    def __init__(
        self, n_items: int, semantic: SemanticPart | None = None, *, id_width: int, added: bool = False
    ) -> None:
        super().__init__()
        if semantic is not None and not isinstance(semantic, SemanticPart):
            raise TypeError(f"the semantic part is an {type(semantic).__name__}; a SemanticPart is wanted")
        self.n_items, self.semantic = n_items, semantic
        self.ids = nn.Embedding(n_items + 1, id_width, padding_idx=0) if id_width else None
        self.register_buffer("untrained", None)  # bool [n_items + 1]
        self.untrained: Tensor | None
        self.new_items = NewItems()  # what stands for the parts of untrained ones
        semantic_width = 0 if semantic is None else semantic.width
        #: W, [semantic width, id width]; None where parts are concatenated or one is absent.
        lifted = added and semantic_width > 0 and id_width > 0
        self.lift = nn.Linear(id_width, semantic_width, bias=False) if lifted else None
        self.width = semantic_width + (0 if lifted else id_width)

    def start(self, config: Any, semantics: Any) -> None:
        """Set the weights that do not start at random."""
        self.new_items = NewItems.from_config(config)
        if self.ids is not None:
            nn.init.zeros_(self.ids.weight[0].data)
        if self.lift is not None:
            nn.init.orthogonal_(self.lift.weight)  # an ID is as long as it was
        if self.semantic is not None:
            self.semantic.start(config, semantics)

    def forward(self, items: Tensor) -> Tensor:
        """Represent items, int64 [n] (0 gives a vector that nothing reads) -> [n, width]."""
        return self._join(*self.parts(items))

    def _join(self, semantic: Tensor | None, ids: Tensor | None) -> Tensor:
        """Join the parts of items, shape [..., width]."""
        parts = [part for part in (semantic, ids) if part is not None]
        joined: Tensor = torch.cat(parts, dim=-1) if self.lift is None else parts[0] + self.lift(parts[1])
        return joined

    def of_batch(
        self, inputs: Tensor, targets: Tensor, candidates: Tensor | None, padding: int
    ) -> tuple[list[Tensor], Tensor]:
        """Represent a training batch's items, every distinct one once, however often it occurs.

        Item numbers of any shape, 0 where there is none, become vectors of that shape; `candidates` None is the whole
        catalogue, [n_items + 1]. `padding` counts padded inputs. Then comes what a part that `learns` adds to the loss.
        """
        learns = self.semantic is not None and self.semantic.learns
        if candidates is None and not learns:
            catalogue = self.all_items()
            return [catalogue[inputs], catalogue[targets], catalogue], catalogue.new_zeros(())
        if candidates is None:
            candidates = torch.arange(self.n_items + 1, device=targets.device)
        roles = [inputs, targets, candidates]
        flat, sizes = [role.flatten() for role in roles], [role.numel() for role in roles]
        if self.semantic is None or not learns:
            distinct, place = torch.unique(torch.cat(flat), return_inverse=True)
            vectors = self(distinct)  # [distinct, width]
            found, loss = [*vectors.index_select(0, place).split(sizes)], vectors.new_zeros(())
        else:  # parts that learn find padding in the first place, whether the batch has any or not
            distinct, place = torch.unique(torch.cat([flat[0].new_zeros(1), *flat]), return_inverse=True)
            places, ids = place[1:].split(sizes), None if self.ids is None else self.ids(distinct)
            found, loss = self.semantic.learn(distinct, places, padding)
            if ids is not None:
                found = [self._join(part, ids[at]) for part, at in zip(found, places, strict=True)]
        return [part.view(*role.shape, -1) for part, role in zip(found, roles, strict=True)], loss

    def parts(self, items: Tensor) -> Vectors:
        """The semantic part and the ID of items [n]; once training has ended as :class:`NewItems` has them."""
        found = [None if part is None else part(items) for part in (self.semantic, self.ids)]
        if self.training or (self.untrained is None and self.new_items.shift is None):
            return found
        return self.new_items.after_training(found, (self.semantic, self.ids), items, self.untrained)

    def append(self, content: Tensor) -> None:
        """Take in items that came after training by their codes or text vectors, all that is known of them."""
        assert self.semantic is not None
        new, known = len(content), self.untrained
        self.semantic.append(content)
        if self.ids is not None:
            weight = nn.functional.pad(self.ids.weight.detach(), (0, 0, 0, new))  # untrained: never read
            self.ids = nn.Embedding(len(weight), weight.shape[1], padding_idx=0, _weight=weight)
        self.new_items.append(new)
        known = content.new_zeros(self.n_items + 1, dtype=torch.bool) if known is None else known
        self.untrained, self.n_items = torch.cat([known, known.new_ones(new)]), self.n_items + new

    def leave_untrained(self, trained: Tensor) -> None:
        """Give all items but these, numbers [n], what :class:`NewItems` says in evaluation."""
        self.untrained = trained.new_ones(self.n_items + 1, dtype=torch.bool).index_fill(0, trained, False)
        self.untrained[0] = False

    def all_items(self) -> Tensor:
        """Vectors of the whole catalogue, shape [n_items + 1, width]; row 0 is padding."""
        held = next(chain(self.parameters(), self.buffers()))
        return self(torch.arange(self.n_items + 1, device=held.device))  # type: ignore[no-any-return]
