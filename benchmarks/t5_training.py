"""Training of TIGER's T5 without padding against transformers' T5, step by step in turn, in one process.

    python benchmarks/t5_training.py --data_path=dataset --dataset=amazon-beauty --steps=6

The contenders train on the same rows, drawn from the training targets of a data set: the at most 20 items before a
target, with a user's token in front, as the paper's recipe has them.

- padded: transformers' T5, every row padded to 20 items and masked, as RecBole's rows of prefixes are;
- sorted: transformers' T5, the same rows sorted by length over all steps, a step padded to its own longest;
- packed: this package.

A step is the loss, its gradients and Adam's update. Items have random codes, which cost as much as others. In the end
the loss and the gradients of one step are compared in float64, without dropout; transformers' norms, which sum float64
up in float32, are made to keep their precision there.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.t5.modeling_t5 import T5LayerNorm

from recbole_unisid.allocator import keep_freed_memory
from recbole_unisid.data.split import TRAIN
from recbole_unisid.data.windows import history_windows
from recbole_unisid.models.tiger.encoder_decoder import CodeTransformer, CodeVocabulary
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.runs.machine import machine, versions

#: Histories as tokens [rows, tokens], padded with 0, and the codes of what follows [rows, levels].
Rows = tuple[Tensor, Tensor]


class Material:
    """A data set's training targets, and the paper's T5 over random codes of its items.

    Parameters
    ----------
    options : Namespace
        Of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        given = {"recipe": "paper", "data_path": options.data_path, "use_gpu": False, "show_progress": False}
        config = UniSIDConfig("TIGER", options.dataset, settings=given)
        dataset = load_dataset(config)
        make_loaders(config, dataset)
        self.config, self.sequences = config, dataset.sequences
        self.targets = dataset.split.targets(TRAIN)
        sizes = [256] * options.levels
        self.rng = np.random.default_rng(0)
        codes = self.rng.integers(0, 256, (dataset.item_num, options.levels))
        self.words = CodeVocabulary(torch.from_numpy(codes), sizes, config["user_tokens"])

    def model(self) -> CodeTransformer:
        """The same weights each time."""
        torch.manual_seed(0)
        names = "semantic_dim", "inner_size", "n_layers", "n_heads", "head_dim", "hidden_dropout_prob"
        return CodeTransformer(self.words, *(self.config[name] for name in names), 1.0)

    def rows(self, number: int) -> Rows:
        """Rows of targets drawn at random."""
        targets = np.sort(self.rng.choice(self.targets, number, replace=False))
        windows = history_windows(self.sequences, targets, self.config["MAX_ITEM_LIST_LENGTH"])
        order = self.rng.permutation(number)
        items = windows.batch(order)[0]
        padded = functional.pad(items, (0, self.config["MAX_ITEM_LIST_LENGTH"] - items.shape[1]))
        users = torch.from_numpy(windows.user[order] + 1)
        answers = self.words.tokens[torch.from_numpy(self.sequences.items[targets[order]])]
        return self.words.histories(padded, users), answers


def loss_of(logits: Tensor, answers: Tensor) -> Tensor:
    """As training has it: nats an item."""
    return functional.cross_entropy(logits.flatten(0, 1), answers.flatten()) * answers.shape[1]


def theirs(model: CodeTransformer, rows: Rows) -> Tensor:
    """The loss by transformers' T5."""
    tokens, answers = rows
    given = functional.pad(answers[:, :-1], (1, 0))
    mask = (tokens > 0).long()
    found = model.t5(input_ids=tokens, attention_mask=mask, decoder_input_ids=given, use_cache=False)
    return loss_of(found.logits, answers)


def ours(model: CodeTransformer, rows: Rows) -> Tensor:
    """The loss by this package."""
    return loss_of(model(*rows), rows[1])


def by_length(rows: Rows, step: int) -> list[Rows]:
    """All rows, sorted by length and cut into steps, each as wide as its longest."""
    tokens, answers = rows
    lengths, order = (tokens > 0).sum(1).sort()
    return [
        (tokens[part, : int(longest.max())], answers[part])
        for part, longest in zip(order.split(step), lengths.split(step), strict=True)
    ]


@dataclass
class Contender:
    """A way to train on steps of its own.

    Attributes
    ----------
    loss : callable
        Of a model and rows.
    steps : list of Rows
        One after another.
    model : CodeTransformer
        Its own.
    milliseconds : list of float
        Of the processor, one a step.
    """

    loss: Callable[[CodeTransformer, Rows], Tensor]
    steps: list[Rows]
    model: CodeTransformer
    milliseconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model.train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)

    def step(self, number: int) -> None:
        """Train on one step."""
        began = time.process_time()
        self.optimizer.zero_grad()
        self.loss(self.model, self.steps[number]).backward()
        self.optimizer.step()
        self.milliseconds.append((time.process_time() - began) * 1e3)


def contenders(material: Material, options: argparse.Namespace) -> dict[str, Contender]:
    """Three of them, on the same rows."""
    tokens, answers = material.rows(options.steps * options.rows)
    drawn = list(zip(tokens.split(options.rows), answers.split(options.rows), strict=True))
    in_order = by_length((tokens, answers), options.rows)
    ways = {"padded": (theirs, drawn), "sorted": (theirs, in_order), "packed": (ours, drawn)}
    return {name: Contender(loss, steps, material.model()) for name, (loss, steps) in ways.items()}


def in_its_own_precision(norm: T5LayerNorm, states: Tensor) -> Tensor:
    """T5's norm, its mean taken in the precision of the states."""
    scale = torch.rsqrt(states.square().mean(-1, keepdim=True) + norm.variance_epsilon)
    return norm.weight * (states * scale)


def differences(model: CodeTransformer, rows: Rows) -> dict[str, float]:
    """Of loss and gradients in float64 without dropout, relative to the largest of each parameter's gradient."""
    exact = copy.deepcopy(model).double().eval()
    kept, T5LayerNorm.forward = T5LayerNorm.forward, in_its_own_precision
    losses = [loss(exact, rows) for loss in (theirs, ours)]
    slopes = [torch.autograd.grad(loss, list(exact.parameters())) for loss in losses]
    T5LayerNorm.forward = kept
    apart = [float((a - b).abs().max() / a.abs().max()) for a, b in zip(*slopes, strict=True)]
    first, second = (float(loss.detach()) for loss in losses)
    return {"loss": second, "loss_difference": abs(first - second), "gradient_difference": max(apart)}


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Train in turn and compare."""
    material = Material(options)
    found = contenders(material, options)
    for number in range(options.steps):
        for contender in found.values():
            contender.step(number)
    for contender in found.values():
        if options.steps > 1:
            del contender.milliseconds[0]  # what is set up once
    mean = {name: float(np.mean(contender.milliseconds)) for name, contender in found.items()}
    filled = {
        name: float(np.mean([(tokens > 0).double().mean() for tokens, _ in contender.steps]))
        for name, contender in found.items()
    } | {"packed": 1.0}
    epoch = -(-len(material.targets) // options.rows)
    rows = tuple(part[: options.rows // 4] for part in found["padded"].steps[0])
    return {"cpu_milliseconds": mean, "filled": filled, "steps_an_epoch": epoch} | differences(
        material.model(), rows
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument(
        "--steps", type=int, default=6, help="steps of each contender; the first is not counted"
    )
    parser.add_argument("--rows", type=int, default=256, help="targets a step")
    parser.add_argument("--levels", type=int, default=4, help="codes an item")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep_freed", action="store_true", help="let glibc keep what is freed, for all")
    parser.add_argument("--output", type=Path, help="write the figures as JSON, too")
    options = parser.parse_args()
    if options.keep_freed:
        keep_freed_memory()
    torch.set_num_threads(options.threads)
    where = machine()
    print(f"{where['cpu']}, {where['cores']} cores, {options.threads} threads; torch {versions()['torch']}")
    found = compare(options)
    mean, epoch = found["cpu_milliseconds"], found["steps_an_epoch"]
    for name, milliseconds in mean.items():
        hours, times = milliseconds * epoch / 3.6e6, milliseconds / mean["packed"]
        print(
            f"{name}: {milliseconds:6.0f} CPU ms a step, {hours:5.2f} CPU hours an epoch of {epoch} steps; packed is "
            f"{times:.2f} times as fast; {found['filled'][name]:.1%} of its tokens are no padding"
        )
    apart = "float64: loss {loss:.6f}, apart by {loss_difference:.1e}; gradients by {gradient_difference:.1e}"
    print(apart.format(**found))
    if options.output:
        facts = {
            "machine": where,
            "versions": versions(),
            "options": {k: str(v) for k, v in vars(options).items()},
        }
        options.output.write_text(json.dumps(facts | found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
