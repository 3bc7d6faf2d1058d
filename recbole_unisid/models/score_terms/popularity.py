"""Items that many people take, of late above all."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from recbole_unisid.data.split import TRAIN
from recbole_unisid.models.score_terms.base import ScoreTerm, SizedByWeights


class Popularity(SizedByWeights, ScoreTerm):
    r"""How often an item was trained on, the later in its user's training history the more it counts, 0 to 1.

    .. math:: \frac{\log(1 + c_j)}{\max_k \log(1 + c_k)}, \qquad c_j = \sum_u \sum_{a \ge 0:\ i_{u,a} = j} \lambda^a

    over users u and their training items :math:`i_{u,a}`, the last of which has age a = 0. Nothing is known of an item
    that was never trained on: it counts as the mean of those that were. New items count as `new_item_popularity` says:
    those of the cold-item split, those that are added later, and those that are told of by :meth:`count_as_new`.
    """

    features = ("popularity",)
    level: Tensor
    usual: Tensor

    def __init__(self, counts: Tensor, new_above: float | None = None, are_new: bool = False) -> None:
        """Of counts by age [n_items + 1]; a new item is above the share `new_above` of the items that have any.

        None is their mean. `are_new`: items without a count are new, and not just unknown.
        """
        super().__init__()
        trained, level = counts > 0, counts.log1p()
        level /= level.max().clamp(min=1e-12)
        # Of no item where a finished run is loaded, whose buffers follow.
        known = level[trained] if trained.any() else level[:1]
        usual = known.mean()
        new = usual if new_above is None else usual.new_tensor(np.quantile(known.numpy(), new_above))
        level[1:][~trained[1:]] = new if are_new else usual
        self.register_buffer("level", level)  # [n_items + 1]
        self.register_buffer("usual", new)  # of new items; the name is that in finished runs

    @classmethod
    def from_config(cls, config: Any, dataset: Any, rate: float = 0.8) -> Self:
        counts, sequences = np.zeros(dataset.item_num), dataset.sequences
        if sequences is not None:
            trained = dataset.split.phase <= TRAIN
            items, per_user = sequences.items[trained], np.bincount(sequences.users[trained])
            age = np.repeat(per_user.cumsum(), per_user) - 1 - np.arange(len(items))
            counts = np.bincount(items, rate**age, minlength=dataset.item_num)
        known = "new_item_popularity" in config  # RecBole's Config has no get
        new_above = config["new_item_popularity"] if known else None
        return cls(torch.from_numpy(counts).float(), new_above, config["split"] == "cold_items")

    def forward(self, histories: Tensor, lengths: Tensor) -> Tensor:
        return self.level.expand(1, len(histories), -1)

    def count_as_new(self, items: Tensor) -> None:
        self.level[items] = self.usual

    def append(self, vectors: Tensor | None, count: int) -> None:
        self.level = torch.cat([self.level, self.usual.expand(count)])
