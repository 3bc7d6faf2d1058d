"""cornac's TIGER or RPG on a split of recbole_unisid, with the codes of a finished run of ours; evaluated there.

    pip install torch cornac==3.0.1 transformers
    recbole-unisid split amazon-scientific-18 --to=split
    export OMP_NUM_THREADS=1
    python benchmarks/cornac_generative.py TIGER split RUN/tokens.tsv split/tiger.csv --steps=700 warmup_steps=70
    python benchmarks/cornac_generative.py RPG split RUN/tokens.tsv split/rpg.npz n_epochs=20
    recbole-unisid evaluate split/tiger.csv --name="TIGER of cornac"

Network, loss, batches, optimiser and schedule are cornac's; its tokenizer is left out, so that both models have the
same codes. A suffix level in ``tokens.tsv`` takes the place of cornac's own level for collisions, which is there only
where tuples repeat. What follows the files are settings of cornac's model as NAME=VALUE; the others are its
``PAISCHER_CONFIG`` (TIGER) or ``RPG_BEAUTY_CONFIG``, a fixed number of epochs without a choice by validation. Settings
of a tokenizer (``tokenizer``, ``rqvae_*``, ``feature_standardize``, ``pca_dim``) change nothing. ``--steps`` ends the
training, and the cosine, after so many steps. ``--bfloat16`` takes products in that precision while training, as
``enable_amp`` does for ours. With ``--part=valid`` the validation targets are scored.

RPG scores all items (``.npz``). TIGER writes lists of its beam (``.csv``), 50 items as ours has them; the likelihoods
of all items (``scoring=exact``, ``.npz``) take some twenty times as long. ``--exact_users=100`` says which share of the
ten best of all items the beam holds. The last line printed is JSON: steps, epochs, the number of codes of each level,
the model's parameters, CPU and clock seconds of training and of scoring.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cornac.data import SequentialDataset
from cornac.eval_methods import NextItemEvaluation
from cornac.models.recommender import NextItemRecommender
from cornac.models.rpg import RPG, RPG_BEAUTY_CONFIG
from cornac.models.rpg.recom_rpg import _rpg_num_training_rows
from cornac.models.tiger import PAISCHER_CONFIG, TIGER
from numpy.typing import NDArray

#: User, item and position.
Row = tuple[str, str, int]


class Trained(Exception):
    """The steps that were asked for are done."""


class GivenCodes(NextItemRecommender):  # type: ignore[misc]
    """A generative model of cornac with codes in place of those that it would fit; a base beside cornac's class.

    Parameters
    ----------
    codes : ndarray of int, [items, levels]
        Rows in cornac's order of items.
    steps : int, optional
        After which training ends; None: after ``n_epochs``.
    **settings
        Of cornac's model.
    """

    def __init__(self, codes: NDArray[np.int64], steps: int | None, **settings: Any) -> None:
        super().__init__(**settings)
        self.codes, self.steps = codes, steps
        self.losses: list[float] = []  # one a step

    def rows(self) -> int:
        """Rows of an epoch."""
        raise NotImplementedError

    def scores(self, histories: Sequence[list[int]]) -> NDArray[np.float32]:
        """Scores of all items after each history of cornac's item numbers, [histories, items]; -inf: not listed."""
        raise NotImplementedError

    @property
    def steps_an_epoch(self) -> int:
        """Batches of an epoch."""
        return math.ceil(self.rows() / self.batch_size)

    def fit(self, train_set: SequentialDataset, val_set: SequentialDataset | None = None) -> GivenCodes:
        """Train as cornac does, at most for the steps asked for."""
        with contextlib.suppress(Trained):
            super().fit(train_set, val_set)
        self.model.eval()
        return self

    def _get_item_features(self) -> NDArray[np.float32]:
        return np.zeros((len(self.codes), 1), dtype=np.float32)

    def _make_lr_scheduler(self, torch: Any, opt: torch.optim.Optimizer) -> Any:
        """cornac's schedule over the steps asked for; model and optimiser, new by now, are listened to."""
        self.model.register_forward_hook(lambda _model, _given, loss: self.losses.append(loss.item()))
        opt.register_step_post_hook(self._after_step)
        if self.steps is not None:
            self.n_epochs = self.steps / self.steps_an_epoch
        schedule = super()._make_lr_scheduler(torch, opt)
        self.n_epochs = math.ceil(self.n_epochs)
        return schedule

    def _after_step(self, opt: torch.optim.Optimizer, *_: Any) -> None:
        done = len(self.losses)
        if done % 50 == 0 or done == self.steps:
            loss, rate = np.mean(self.losses[-50:]), opt.param_groups[0]["lr"]
            cpu = time.process_time()
            print(f"step {done:,}: loss {loss:.3f}, rate {rate:.2g}, {cpu:,.0f} CPU-s", flush=True)
        if done == self.steps:
            raise Trained


class GivenRPG(GivenCodes, RPG):  # type: ignore[misc]
    """cornac's RPG; all items are scored exactly."""

    def __init__(self, codes: NDArray[np.int64], steps: int | None, **settings: Any) -> None:
        super().__init__(codes, steps, **settings | {"n_codebook": codes.shape[1], "scoring": "exact"})

    def rows(self) -> int:
        """Rows of an epoch: users, and windows of long histories."""
        return int(_rpg_num_training_rows(self.train_set, self.max_len))

    def scores(self, histories: Sequence[list[int]]) -> NDArray[np.float32]:
        """Scores of all items after each history."""
        found = []
        for start in range(0, len(histories), 256):
            some = [history[-self.max_len :] for history in histories[start : start + 256]]
            inputs = torch.full((len(some), self.max_len), self.pad_idx)
            for row, history in enumerate(some):
                inputs[row, : len(history)] = torch.tensor(history)  # to the left, as in training
            with torch.no_grad():
                logits = self.model.next_item_logits(inputs, (inputs != self.pad_idx).float())
                found.append(self._exact_item_scores(logits.float()).numpy())
        return np.concatenate(found)

    def _opq_tokenize(self, feats: Any, train_mask: Any = None) -> NDArray[np.int64]:
        return self.codes


class GivenTIGER(GivenCodes, TIGER):  # type: ignore[misc]
    """cornac's TIGER; its beam lists items, or ``scoring='exact'`` scores all."""

    def __init__(self, codes: NDArray[np.int64], steps: int | None, **settings: Any) -> None:
        super().__init__(codes, steps, **settings | {"rqvae_num_levels": codes.shape[1]})

    def rows(self) -> int:
        """Rows of an epoch: every item of a history but its first."""
        return sum(len(session) - 1 for session in self.train_set.sessions.values())

    def scores(self, histories: Sequence[list[int]]) -> NDArray[np.float32]:
        """Log-likelihoods after each history, by cornac's ``score``."""
        found = np.empty((len(histories), self.total_items), np.float32)
        longest = self.max_len
        for row, history in enumerate(histories):
            self.max_len = min(len(history), longest)  # no padding: positions are relative
            found[row] = self.score(0, history)
            if (row + 1) % 500 == 0:
                print(f"scored {row + 1:,}: {time.process_time():,.0f} CPU-s", flush=True)
        self.max_len = longest
        found[found <= -1e9] = -np.inf  # cornac's -1e10: not in the beam
        return found

    def share_of_best(self, histories: Sequence[list[int]]) -> float:
        """How many of the exact ten best items after each history are in its beam."""
        beams = self.scores(histories)
        self.scoring = "exact"
        best = np.argsort(-self.scores(histories), axis=1)[:, :10]
        self.scoring = "beam"
        return float(np.isfinite(np.take_along_axis(beams, best, axis=1)).mean())

    def _tokenize(self, torch: Any, feats_t: Any) -> NDArray[np.int64]:
        return self.codes

    def _build_semantic_ids(self, codes: NDArray[np.int64]) -> None:
        """cornac's tables, without its level for collisions where there is none."""
        super()._build_semantic_ids(codes)
        if self.level_sizes[-1] == 1:
            self.sid_table, self.prefix_children = codes, self.prefix_children[:-1]
            self.sid_to_item = {codes[:-1]: item for codes, item in self.sid_to_item.items()}
        self.level_sizes = (self.sid_table.max(axis=0) + 1).tolist()


#: Each model with its settings: cornac's, and a beam as wide as ours.
MODELS: dict[str, tuple[type[GivenCodes], dict[str, Any]]] = {
    "RPG": (GivenRPG, RPG_BEAUTY_CONFIG),
    "TIGER": (GivenTIGER, PAISCHER_CONFIG | {"n_beams": 50}),
}


def rows_of(path: Path) -> list[Row]:
    """What a part of a split holds."""
    with path.open(newline="") as lines:
        return [(row["user"], row["item"], int(row["position"])) for row in csv.DictReader(lines)]


def given_codes(path: Path) -> dict[str, list[int]]:
    """Each item's codes, of a run's ``tokens.tsv``."""
    with path.open(newline="") as lines:
        table = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(table)
        return {row[0]: [int(code) for code in row[1].split()] for row in table}


class Material:
    """A split as cornac takes it.

    Parameters
    ----------
    split : Path
        The folder.
    part : {"test", "valid"}
        Whose targets are scored.

    Attributes
    ----------
    train_set : SequentialDataset
        A session a user.
    items : list of str
        In cornac's order.
    histories : dict of str to list of int
        Of each target's user, in cornac's numbers, without the target.
    """

    def __init__(self, split: Path, part: str) -> None:
        train, valid = rows_of(split / "train.csv"), rows_of(split / "valid.csv")
        targets = valid if part == "valid" else rows_of(split / "test.csv")
        whole = train + ([] if part == "valid" else valid) + targets  # histories with the target at their end
        method = NextItemEvaluation.from_splits(
            train_data=train, test_data=whole, fmt="SIT", exclude_unknowns=False, mode="last"
        )
        number = dict(method.global_iid_map)
        self.train_set = method.train_set
        self.items = sorted(number, key=number.__getitem__)
        found: dict[str, list[int]] = {user: [] for user, _, _ in targets}
        for user, item, _ in sorted(whole, key=lambda row: row[2]):
            if user in found:
                found[user].append(number[item])
        self.histories = {user: history[:-1] for user, history in found.items()}


def write(path: Path, scores: NDArray[np.float32], users: Sequence[str], items: Sequence[str]) -> None:
    """Write scores as ``.npz``, or each user's list, best first, as ``.csv``."""
    if path.suffix == ".npz":
        np.savez(path, scores=scores, user=np.array(users), item=np.array(items))
        return
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["user", "item", "score"])
        for user, own in zip(users, scores, strict=True):
            best = np.argsort(-own, kind="stable")[: np.isfinite(own).sum()]
            lines.writerows((user, items[item], float(own[item])) for item in best)


@contextlib.contextmanager
def timed(seconds: dict[str, list[float]], what: str) -> Iterator[None]:
    """Note the CPU and clock seconds of what is done inside."""
    begun = time.process_time(), time.perf_counter()
    yield
    seconds[what] = [time.process_time() - begun[0], time.perf_counter() - begun[1]]


def value_of(text: str) -> Any:
    """A setting's value: JSON, or else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("split", type=Path, help="folder of `recbole-unisid split`")
    parser.add_argument("tokens", type=Path, help="tokens.tsv of a run")
    parser.add_argument("scores", type=Path, help="the file to write: .npz, or .csv for lists")
    parser.add_argument("--part", choices=["valid", "test"], default="test")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--steps", type=int, help="of training, in place of n_epochs")
    parser.add_argument(
        "--exact_users", type=int, default=0, help="on whom TIGER's beam is held against all items"
    )
    parser.add_argument("settings", nargs="*", help="of cornac's model, as NAME=VALUE")
    given = parser.parse_intermixed_args()
    settings = {name: value_of(value) for name, value in (pair.split("=", 1) for pair in given.settings)}
    given.settings = MODELS[given.model][1] | settings
    wanted = ".csv" if given.model == "TIGER" and given.settings.get("scoring", "beam") == "beam" else ".npz"
    if given.scores.suffix != wanted:
        parser.error(f"{given.scores} must end in {wanted}: the docstring says why")
    return given


def main() -> None:
    """Train, score the targets' users and write the scores."""
    given = arguments()
    material, of_item = Material(given.split, given.part), given_codes(given.tokens)
    codes = np.array([of_item[item] for item in material.items])
    fixed = {"model_selection": "last", "seed": given.seed, "device": "cpu"}
    model = MODELS[given.model][0](codes, given.steps, **given.settings | fixed)
    seconds: dict[str, list[float]] = {}
    # Around the whole training: kept casts would stay those of the first step.
    with (
        timed(seconds, "training"),
        torch.autocast("cpu", torch.bfloat16, enabled=given.bfloat16, cache_enabled=False),
    ):
        model.fit(material.train_set)
    with timed(seconds, "scoring"):
        scores = model.scores(list(material.histories.values()))
    write(given.scores, scores, list(material.histories), material.items)
    told = {
        "steps": len(model.losses),
        "epochs": len(model.losses) / model.steps_an_epoch,
        "sizes": (model.sid_table.max(axis=0) + 1).tolist(),
        "parameters": sum(weights.numel() for weights in model.model.parameters()),
        "cpu_seconds": {what: cpu for what, (cpu, _) in seconds.items()},
        "seconds": {what: clock for what, (_, clock) in seconds.items()},
    }
    if given.exact_users and isinstance(model, GivenTIGER):
        told["share_of_best"] = model.share_of_best(list(material.histories.values())[: given.exact_users])
    print(json.dumps(told))


if __name__ == "__main__":
    main()
