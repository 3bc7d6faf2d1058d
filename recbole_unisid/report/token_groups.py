"""Items by their code tuples: what the token sections of the report count and list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.report.wording import listed
from recbole_unisid.tokens.health import prefix_purity, tuple_groups


@dataclass(frozen=True)
class TokenView:
    """The tokens of one run."""

    labels: list[str]  # the models that have these codes, by their names on the leaderboard
    seed: int
    item_ids: list[str]
    codes: NDArray[np.int64]  # [items, levels]
    health: Mapping[str, Any]  # ``tokenizer`` of ``result.json``

    @property
    def name(self) -> str:
        """The models with these codes, in a few words."""
        return listed(self.labels)

    def usage(self, level: int) -> NDArray[np.int64]:
        """Items of every code of a level, shape [codes of the level]."""
        levels = self.health.get("levels") or []
        size = int(levels[level]["size"]) if level < len(levels) else 0
        return np.bincount(self.codes[:, level], minlength=size)

    def largest_collisions(self, most: int = 5) -> list[list[str]]:
        """The items of the tuples that most items share, largest first; tuples of one item are none."""
        group, counts = tuple_groups(self.codes)
        order = np.argsort(-counts, kind="stable")[:most]
        return [
            [self.item_ids[row] for row in np.flatnonzero(group == one)] for one in order if counts[one] > 1
        ]

    def collision_sizes(self) -> dict[int, int]:
        """How many tuples have how many items."""
        sizes, tuples = np.unique(tuple_groups(self.codes)[1], return_counts=True)
        return dict(zip(sizes.tolist(), tuples.tolist(), strict=True))

    def purity(self, categories: Mapping[str, str]) -> Sequence[Mapping[str, float]]:
        """How well each prefix tells the category, from ``result.json`` or else worked out here."""
        known = self.health.get("prefix_purity")
        if known:
            return list(known)
        named = [categories.get(item, "") for item in self.item_ids]
        if len({name for name in named if name}) < 2:
            return []
        return prefix_purity(self.codes, named, np.random.default_rng(self.seed))
