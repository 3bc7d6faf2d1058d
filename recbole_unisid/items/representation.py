"""One vector an item: semantic part and ID part, joined (UniSID, arXiv 2502.16474, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from recbole_unisid.items.joint import JointTokens


def with_padding(rows: torch.Tensor) -> torch.Tensor:
    """What is known of items, [n_items, ...], with a row of zeros for padding in front: [n_items + 1, ...]."""
    return torch.cat([torch.zeros_like(rows[:1]), rows])


class SemanticTokens(nn.Module):
    """The sum of one learned vector per code, as a residual quantiser reads its codes.

    Parameters
    ----------
    codes : Tensor of int64, shape [n_items + 1, levels]
        Codes of every item; row 0 (padding) is not used.
    codebook_sizes : list of int
        Codes of each level.
    width : int
        Width of the code vectors.
    """

    def __init__(self, codes: torch.Tensor, codebook_sizes: list[int], width: int) -> None:
        super().__init__()
        # One table for all levels: level l's code k is row k + (sizes before l). A gather, not a loop.
        starts = torch.tensor([0, *codebook_sizes[:-1]]).cumsum(0)
        self.register_buffer("rows", codes + starts, persistent=True)
        self.rows: torch.Tensor
        self.codebook_sizes = list(codebook_sizes)
        self.table = nn.Embedding(sum(codebook_sizes), width)

    def append(self, codes: torch.Tensor) -> None:
        """Represent further items by their codes, int64 [new, levels]; nothing is trained."""
        starts = torch.tensor([0, *self.codebook_sizes[:-1]], device=codes.device).cumsum(0)
        self.rows = torch.cat([self.rows, (codes + starts).to(self.rows.device)])

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Represent items, int64 [n] -> [n, width]."""
        vectors: torch.Tensor = nn.functional.embedding_bag(self.rows[items], self.table.weight, mode="sum")
        return vectors

    def codes(self) -> torch.Tensor:
        """Codes of the catalogue, shape [n_items + 1, levels]; row 0 is padding."""
        sizes = torch.tensor([0, *self.codebook_sizes[:-1]], device=self.rows.device)
        return self.rows - sizes.cumsum(0)

    def tables(self) -> tuple[torch.Tensor, ...]:
        """The code vectors of each level, shape [codes, width] each."""
        return torch.split(self.table.weight, self.codebook_sizes)


class TextProjection(nn.Module):
    """The item's text vector through a trained linear map: text without tokens (``DenseText``).

    Parameters
    ----------
    vectors : Tensor of float32, shape [n_items + 1, text width]
        Text embeddings; row 0 (padding) is not used.
    width : int
        Width of the result.
    """

    def __init__(self, vectors: torch.Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=True)
        self.vectors: torch.Tensor
        self.projection = nn.Linear(vectors.shape[1], width)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Represent items, int64 [n] -> [n, width]."""
        projected: torch.Tensor = self.projection(self.vectors[items])
        return projected

    def append(self, vectors: torch.Tensor) -> None:
        """Represent further items by their text embeddings, float32 [new, text width]."""
        self.vectors = torch.cat([self.vectors, vectors.to(self.vectors)])


class ItemRepresentation(nn.Module):
    """``s = [semantic ; e_ID]``, or ``semantic + W e_ID``: either part may be absent, which makes UniSID's twins.

    The paper concatenates: the ID has coordinates of its own. Added through a learned map ``W``, as small an ID moves
    its item along `id_width` directions of the whole vector.

    =============  ===================  ================
    model          semantic part        ID part
    =============  ===================  ================
    UniSID         code vectors, 64-d   6-d, added
    SemanticID     code vectors, 64-d   none
    ItemID         none                 64-d
    DenseText      projected text       none, or as set
    =============  ===================  ================

    Parameters
    ----------
    n_items : int
        Items, padding not counted.
    semantic : Module or None
        Maps item numbers [n] to [n, semantic width].
    semantic_width : int
        Width of the semantic part; 0 without one.
    id_width : int
        Width of the ID part; 0 for none.
    added : bool
        Whether the ID part is added through ``W``, where there are both parts.

    Raises
    ------
    ValueError
        When both parts are absent.
    """

    def __init__(
        self,
        n_items: int,
        semantic: nn.Module | None,
        semantic_width: int,
        id_width: int,
        added: bool = False,
    ) -> None:
        super().__init__()
        if semantic is None and id_width == 0:
            raise ValueError("an item needs a semantic part or an ID part")
        self.n_items = n_items
        self.semantic = semantic
        self.ids = nn.Embedding(n_items + 1, id_width, padding_idx=0) if id_width else None
        #: Items never trained on, bool [n_items + 1]: their ID is neutral, the mean of the trained ones.
        self.register_buffer("untrained", None)
        self.untrained: torch.Tensor | None
        lifted = added and semantic is not None and id_width > 0
        #: W, [semantic width, id width]; None where parts are concatenated or one is absent.
        self.lift = nn.Linear(id_width, semantic_width, bias=False) if lifted else None
        self.width = (semantic_width if semantic is not None else 0) + (0 if lifted else id_width)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Represent items.

        Parameters
        ----------
        items : Tensor of int64, shape [n]
            Item numbers; 0 gives a vector that nothing reads.

        Returns
        -------
        Tensor, shape [n, width]
        """
        semantic = None if self.semantic is None else self.semantic(items)
        return self._join(semantic, self.id_vectors(items))

    def _join(self, semantic: torch.Tensor | None, ids: torch.Tensor | None) -> torch.Tensor:
        """Join the parts of items, shape [..., width]."""
        parts = [part for part in (semantic, ids) if part is not None]
        if self.lift is None:
            return torch.cat(parts, dim=-1)
        joined: torch.Tensor = parts[0] + self.lift(parts[1])
        return joined

    def of_batch(
        self, roles: Sequence[torch.Tensor], padding: int
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Represent a training batch's items, every distinct one once, however often it occurs.

        Parameters
        ----------
        roles : sequence of Tensor of int64, shape [n] each
            Inputs (0 where there is none), targets, negatives.
        padding : int
            Padded positions, for tokens that learn from them, too.

        Returns
        -------
        list of Tensor, shape [n, width] each
            Vectors by role.
        loss : Tensor, shape []
            What tokens that learn end to end add to the next-item loss; 0 of others.
        """
        sizes = [len(role) for role in roles]
        if not isinstance(self.semantic, JointTokens):
            distinct, place = torch.unique(torch.cat(list(roles)), return_inverse=True)
            vectors = self(distinct)  # [distinct, width]
            return [vectors[at] for at in place.split(sizes)], vectors.new_zeros(())
        # Tokens that learn find padding in the first place, whether the batch has any or not.
        distinct, place = torch.unique(torch.cat([roles[0].new_zeros(1), *roles]), return_inverse=True)
        places = place[1:].split(sizes)
        by_role, loss = self.semantic.learn(distinct, places, padding)
        ids = self.id_vectors(distinct)
        if ids is not None:
            by_role = [self._join(part, ids[at]) for part, at in zip(by_role, places, strict=True)]
        return by_role, loss

    def id_vectors(self, items: torch.Tensor) -> torch.Tensor | None:
        """The ID part of items [n], shape [n, id width]; None where there is none."""
        if self.ids is None:
            return None
        vectors: torch.Tensor = self.ids(items)  # [n, id width]
        if self.untrained is None:
            return vectors
        trained = ~self.untrained
        trained[0] = False  # padding
        return torch.where(self.untrained[items][:, None], self.ids.weight[trained].mean(0), vectors)

    def append(self, content: torch.Tensor) -> None:
        """Take in items that came after training: what they say as it is, their ID neutral.

        Parameters
        ----------
        content : Tensor, shape [new, levels] or [new, text width]
            Codes or text embeddings, whichever the semantic part reads.

        Raises
        ------
        ValueError
            Without a semantic part, nothing is known of an item that was not trained on.
        """
        if not isinstance(self.semantic, (SemanticTokens, TextProjection)):
            raise ValueError("items without a semantic part cannot be added to")
        new = len(content)
        self.semantic.append(content)
        if self.ids is not None:
            rows = self.ids.weight.new_zeros(new, self.ids.embedding_dim)  # never read: they are untrained
            weight = torch.cat([self.ids.weight.detach(), rows])
            self.ids = nn.Embedding(len(weight), weight.shape[1], padding_idx=0, _weight=weight)
        known = self.untrained
        if known is None:
            known = torch.zeros(self.n_items + 1, dtype=torch.bool, device=content.device)
        self.untrained = torch.cat([known, known.new_ones(new)])
        self.n_items += new

    def all_items(self) -> torch.Tensor:
        """Vectors of the whole catalogue, shape [n_items + 1, width]; row 0 is padding."""
        device = next(self.parameters()).device
        vectors: torch.Tensor = self(torch.arange(self.n_items + 1, device=device))
        return vectors
