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
from recbole_unisid.evaluation.candidates import sample_negatives, seen_pairs
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

    Parameters
    ----------
    sequences : UserSequences
        All interactions.
    targets : ndarray of int64, shape [cases]
        Flat positions of the targets, ascending.
    negatives : ndarray of int64, shape [users, count]
        The fixed sampled candidates of each user (0 = none).
    user_field : str
        Column of a batch with the user number (from 1).
    masked : bool
        Whether the scores come with seen items at minus infinity (RecBole's general models).
    """

    sequences: UserSequences
    targets: NDArray[np.int64]
    negatives: NDArray[np.int64]
    user_field: str
    masked: bool = False
    _parts: list[dict[str, NDArray[np.int64]]] = field(default_factory=list, init=False)

    def record(
        self, scores: torch.Tensor, interaction: Any, lister: Lister | None = None
    ) -> dict[str, NDArray[np.int64]]:
        """Take one batch of scores, shape [batch, n_items + 1]."""
        position, rows = self._positions(interaction)
        if not len(rows):
            return {}
        device = scores.device
        if self.masked:
            scores = scores[torch.from_numpy(rows).to(device)]
        seen = [torch.from_numpy(pairs).to(device) for pairs in seen_pairs(self.sequences, position)]
        negatives = torch.from_numpy(self.negatives[self.sequences.owners(position)]).to(device)
        targets = torch.from_numpy(self.sequences.items[position]).to(device)
        ranks = ranks_from_scores(
            scores,
            targets,
            seen=None if self.masked else (seen[0], seen[1]),
            negatives=None if self.masked or lister is not None else negatives,
            listed=None if lister is None else lister.listed,
        )
        if lister is not None:
            asked = torch.cat([targets[:, None], negatives], dim=1)
            found = lister.score_candidates(interaction.to(device), asked)  # [batch, 1 + count]
            ranks |= ranks_among_sampled(found[:, 0], found[:, 1:], targets, negatives)
        if self.masked:  # every rank among masked scores is a filtered one, and there is no other
            ranks["full"] = ranks.pop("full_unfiltered")
        self._parts.append(ranks | {"position": position})
        return ranks

    def _positions(self, interaction: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Flat positions of the batch's targets and the rows of the batch that they belong to."""
        if TARGET_POSITION in interaction:
            position = interaction[TARGET_POSITION].cpu().numpy()
            return position, np.arange(len(position))
        # One row a user: none, one or several of its interactions are targets of the protocol.
        row_of = np.full(self.sequences.n_users, -1)
        users = interaction[self.user_field].cpu().numpy() - 1
        row_of[users] = np.arange(len(users))
        rows = row_of[self.sequences.owners(self.targets)]
        return self.targets[rows >= 0], rows[rows >= 0]

    def gather(self) -> None:
        """Join the cases of all processes, each of which has scored its share."""
        joined = {key: np.concatenate([part[key] for part in self._parts]) for key in self._parts[0]}
        self._parts = [{key: gather_rows(torch.from_numpy(joined[key])).numpy() for key in sorted(joined)}]

    def result(self) -> dict[str, NDArray[np.int64]]:
        """All ranks in the order of `targets`, one array a candidate set, shape [cases] each."""
        joined = {key: np.concatenate([part[key] for part in self._parts]) for key in self._parts[0]}
        order = np.argsort(joined["position"])
        if not np.array_equal(joined["position"][order], self.targets):
            raise RuntimeError(f"{len(joined['position'])} of {len(self.targets)} test cases were scored")
        return {key: values[order] for key, values in joined.items() if key != "position"}


def phase_recorder(config: Any, dataset: Any, phase: int) -> RankRecorder:
    """What takes the ranks of one phase's targets."""
    negatives = sample_negatives(dataset.sequences, seed=config["protocol_seed"])
    targets, masked = dataset.split.targets(phase), not config.is_sequential
    return RankRecorder(dataset.sequences, targets, negatives, dataset.uid_field, masked)


class RankCollector(Collector):
    """RecBole's collector without its crash on counters, its second top-k and its users x items matrix.

    ``get_data_struct`` calls ``.cpu()`` on integers and counters in 1.2.1 (#2191); the matrix of positives
    is replaced by a comparison with the one positive of each row (ties count against it).
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.own_model: bool = config.is_own_model
        self.recorder: RankRecorder | None = None
        self.gather = False
        self.lister: Lister | None = None
        self.popularity: torch.Tensor | None = None

    def begin(
        self,
        recorder: RankRecorder | None,
        gather: bool,
        lister: Lister | None = None,
        popularity: torch.Tensor | None = None,
    ) -> None:
        """Begin an evaluation.

        Parameters
        ----------
        recorder : RankRecorder, optional
            Takes our ranks from the same scores.
        gather : bool
            Whether this process evaluates a share of the users only.
        lister : Lister, optional
            The model, where it lists its best items only.
        popularity : Tensor, shape [n_items + 1], optional
            Training counts that our ranks are taken from, of a model that is to be popularity.
        """
        self.recorder, self.gather, self.lister, self.popularity = recorder, gather, lister, popularity

    def eval_batch_collect(
        self,
        scores_tensor: torch.Tensor,
        interaction: Any,
        positive_u: torch.Tensor,
        positive_i: torch.Tensor,
    ) -> None:
        """Collect RecBole's resources from one batch of scores, and our ranks when asked for."""
        found: dict[str, NDArray[np.int64]] = {}
        if self.recorder is not None:
            scores = scores_tensor
            if self.popularity is not None:  # what is masked stays so
                scores = torch.where(torch.isinf(scores), scores, self.popularity.to(scores))
            found = self.recorder.record(scores, interaction, self.lister)
        one_each = len(positive_u) == len(scores_tensor) and bool(
            (positive_u == torch.arange(len(positive_u))).all()
        )
        others = {"rec.meanrank", "rec.score", "data.label"}
        if not one_each or any(self.register.need(resource) for resource in others):
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
            return
        if self.own_model and not self.register.need("rec.items"):
            ranks = found.get("full_unfiltered")
            if ranks is None:
                listed = None if self.lister is None else self.lister.listed
                targets = positive_i.to(scores_tensor.device)
                ranks = ranks_from_scores(scores_tensor, targets, listed=listed)["full_unfiltered"]
            self._collect_ranks(torch.from_numpy(ranks))
            return
        listed = min(max(self.topk), scores_tensor.shape[1])
        _, top = torch.topk(scores_tensor, listed, dim=-1)  # [batch, k]
        # A catalogue shorter than the list: the rest of it is padding, which is nobody's target.
        top = torch.nn.functional.pad(top, (0, max(self.topk) - listed))
        if self.register.need("rec.items"):
            self.data_struct.update_tensor("rec.items", top)
        if self.register.need("rec.topk"):
            hit = (top == positive_i.to(top.device)[:, None]).int()
            count = torch.ones(len(top), 1, dtype=torch.int, device=top.device)
            self.data_struct.update_tensor("rec.topk", torch.cat((hit, count), dim=1))

    def _collect_ranks(self, ranks: torch.Tensor) -> None:
        """RecBole's matrix of hits from ranks by comparison: no top-k, and ties count against the model."""
        hit = (ranks[:, None] == torch.arange(1, max(self.topk) + 1)).int()  # [batch, k]
        self.data_struct.update_tensor("rec.topk", torch.cat((hit, torch.ones_like(hit[:, :1])), dim=1))

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
