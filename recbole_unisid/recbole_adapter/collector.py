"""RecBole's collector, mended, and recording our ranks from the very scores that it sees."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.evaluator import Collector

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.distributed import gather_rows
from recbole_unisid.evaluation.candidates import sampled_for, seen_pairs
from recbole_unisid.evaluation.lists import best_items
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.evaluation.ranks import ranks_among_sampled, ranks_from_scores
from recbole_unisid.recbole_adapter.dataset import TARGET_POSITION


class Lister(Protocol):
    """A model that lists its best items instead of scoring all of them."""

    listed: int | None

    def score_candidates(self, interaction: Any, items: torch.Tensor) -> torch.Tensor:
        """Scores of some items, [batch, candidates], also of those that no list would hold."""
        ...


@dataclass
class RankRecorder:
    """Ranks of every target of one phase, under all candidate sets, from one pass of scores.

    `targets` are flat positions [cases], ascending; `negatives` the sampled candidates of each user [users, count]
    (0: none); `user_field` is a batch's column of user numbers (from 1); `best` how many of the first items are kept of
    every case. Scores are those of all items: what a user had before a target is left out here, case by case.
    """

    sequences: UserSequences
    targets: NDArray[np.int64]
    negatives: NDArray[np.int64]
    user_field: str
    best: int = 0
    _parts: list[dict[str, NDArray[np.int64]]] = field(default_factory=list, init=False)

    def record(
        self, scores: torch.Tensor, interaction: Any, lister: Lister | None = None
    ) -> dict[str, NDArray[np.int64]]:
        """Take one batch of scores of all items, shape [batch, n_items + 1]."""
        position, rows = self._positions(interaction)
        if not len(position):
            return {}
        device = scores.device
        if rows is not None:
            scores = scores[torch.from_numpy(rows).to(device)]
        seen = [torch.from_numpy(pairs).to(device) for pairs in seen_pairs(self.sequences, position)]
        negatives = torch.from_numpy(self.negatives[self.sequences.owners(position)]).to(device)
        targets = torch.from_numpy(self.sequences.items[position]).to(device)
        ranks = ranks_from_scores(
            scores,
            targets,
            seen=(seen[0], seen[1]),
            negatives=None if lister is not None else negatives,
            listed=None if lister is None else lister.listed,
        )
        if lister is not None:
            asked = torch.cat([targets[:, None], negatives], dim=1)
            found = lister.score_candidates(interaction.to(device), asked)  # [batch, 1 + count]
            ranks |= ranks_among_sampled(found[:, 0], found[:, 1:], targets, negatives)
        part = ranks | {"position": position}
        if self.best:
            part["best"] = best_items(scores, (seen[0], seen[1]), self.best)
        self._parts.append(part)
        return ranks

    def _positions(self, interaction: Any) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Flat positions of the batch's targets and the rows of the batch that they belong to; None: one each."""
        if TARGET_POSITION in interaction:
            return interaction[TARGET_POSITION].cpu().numpy(), None
        # One row a user: none, one or several of its interactions are targets of the protocol.
        row_of = np.full(self.sequences.n_users, -1)
        users = interaction[self.user_field].cpu().numpy() - 1
        row_of[users] = np.arange(len(users))
        rows = row_of[self.sequences.owners(self.targets)]
        return self.targets[rows >= 0], rows[rows >= 0]

    def _joined(self) -> dict[str, NDArray[np.int64]]:
        return {key: np.concatenate([part[key] for part in self._parts]) for key in self._parts[0]}

    def gather(self) -> None:
        """Join the cases of all processes, each of which has scored its share."""
        own = sorted(self._joined().items())
        self._parts = [{key: gather_rows(torch.from_numpy(values)).numpy() for key, values in own}]

    def result(self) -> dict[str, NDArray[np.int64]]:
        """All ranks in the order of `targets`, one array a candidate set, shape [cases] each."""
        joined = self._joined()
        order = np.argsort(joined["position"])
        if not np.array_equal(joined["position"][order], self.targets):
            raise RuntimeError(f"{len(joined['position'])} of {len(self.targets)} test cases were scored")
        return {key: values[order] for key, values in joined.items() if key not in ("position", "best")}

    def lists(self) -> NDArray[np.int64]:
        """The best items of every case that its user had not, in the order of `targets`, [cases, best]; 0: none."""
        joined = self._joined()
        return joined["best"][np.argsort(joined["position"])]


def phase_recorder(config: Any, dataset: Any, phase: int, best: int = 0) -> RankRecorder:
    """What takes the ranks of one phase's targets, and the best items of each where asked."""
    negatives = sampled_for(config, dataset.sequences)
    return RankRecorder(dataset.sequences, dataset.split.targets(phase), negatives, dataset.uid_field, best)


class RankCollector(Collector):
    """RecBole's collector without its crash on counters, its second top-k and its users x items matrix.

    ``get_data_struct`` calls ``.cpu()`` on integers and counters in 1.2.1 (#2191); the matrix of positives
    is replaced by a comparison with the one positive of each row (ties count against it).
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.own_model: bool = config.is_own_model
        # Of one evaluation: what takes our ranks from the same scores, whether this process has a share of the users
        # only, the model where it lists its best items only, and counts [n_items + 1] that are to be the scores.
        self.recorder: RankRecorder | None = None
        self.gather = False
        self.lister: Lister | None = None
        self.popularity: torch.Tensor | None = None

    def eval_batch_collect(
        self,
        scores_tensor: torch.Tensor,
        interaction: Any,
        positive_u: torch.Tensor,
        positive_i: torch.Tensor,
        left_out: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        """Collect our ranks from one batch of scores of all items when asked for, and RecBole's resources.

        For these `left_out`, rows and items of what RecBole's general models never list, are put to minus infinity,
        one set a user; our ranks have been taken before, with a set of each target's own.
        """
        found: dict[str, NDArray[np.int64]] = {}
        if self.recorder is not None:
            scores = scores_tensor
            if self.popularity is not None:
                scores = self.popularity.to(scores).expand_as(scores)
            found = self.recorder.record(scores, interaction, self.lister)
        if left_out is not None:
            scores_tensor[left_out] = -torch.inf
        one_each = torch.equal(positive_u, torch.arange(len(scores_tensor)))
        others = ("rec.meanrank", "rec.score", "data.label")
        if not one_each or any(map(self.register.need, others)):
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
            return
        longest, targets = max(self.topk), positive_i.to(scores_tensor.device)
        if self.own_model and not self.register.need("rec.items"):
            ranks = found.get("full_unfiltered")
            if ranks is None:
                listed = None if self.lister is None else self.lister.listed
                ranks = ranks_from_scores(scores_tensor, targets, listed=listed)["full_unfiltered"]
            # Hits from ranks by comparison: no top-k, and ties count against the model.
            hit = torch.from_numpy(ranks)[:, None] == torch.arange(1, longest + 1)  # [batch, k]
        else:
            listed = min(longest, scores_tensor.shape[1])
            _, top = torch.topk(scores_tensor, listed, dim=-1)
            # A catalogue shorter than the list: the rest of it is padding, which is nobody's target.
            top = torch.nn.functional.pad(top, (0, longest - listed))  # [batch, k]
            if self.register.need("rec.items"):
                self.data_struct.update_tensor("rec.items", top)
            hit = top == targets[:, None]
        if self.register.need("rec.topk"):
            hits_and_positives = torch.cat((hit, torch.ones_like(hit[:, :1])), dim=1).int()
            self.data_struct.update_tensor("rec.topk", hits_and_positives)

    def get_data_struct(self) -> Any:
        """Hand over what was collected, on the CPU, and forget what belongs to one evaluation."""
        held = self.data_struct._data_dict
        if self.gather:
            for key in sorted(key for key in held if key.startswith("rec.")):
                held[key] = gather_rows(held[key])
            if self.recorder is not None:
                self.recorder.gather()
        for key, value in held.items():
            if isinstance(value, torch.Tensor):
                held[key] = value.cpu()
        returned = copy.deepcopy(self.data_struct)
        for key in ("rec.topk", "rec.meanrank", "rec.score", "rec.items", "data.label"):
            if key in self.data_struct:
                del self.data_struct[key]
        return returned


def protocol_score(ranks: NDArray[np.int64], metric: str) -> float:
    """Mean of a metric over the validation targets' ranks, in which any letter case goes."""
    return float(per_user_metric(ranks, metric.lower()).mean())


@torch.no_grad()
def sampled_ranks(model: Any, valid_data: Any, negatives: torch.Tensor) -> NDArray[np.int64]:
    """Ranks of the validation targets among their fixed `negatives` [users, count], scoring these alone."""
    user_field = valid_data._dataset.uid_field
    model.eval()
    ranks: list[NDArray[np.int64]] = []
    for interaction, _, _, targets in valid_data:
        candidates = torch.cat([targets[:, None], negatives[interaction[user_field] - 1]], dim=1)
        candidates = candidates.to(model.device)  # [batch, 1 + count]
        scores = model.score_candidates(interaction.to(model.device), candidates)
        found = ranks_among_sampled(scores[:, 0], scores[:, 1:], candidates[:, 0], candidates[:, 1:])
        ranks.extend(found.values())
    return np.concatenate(ranks)
