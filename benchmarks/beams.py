"""Beams of this package against transformers.generate: same weights, same users, same lists, in one run.

    python benchmarks/beams.py

The contender is the library's own beam search with a prefix-allowed function (a dictionary from prefixes to the
codes that may follow) and its own caches, in batches of the size that suits it best. Prints users a second of
both, the share of equal lists and the peak of memory that each added, with the machine named.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_unisid.items.trie import CodeTrie
from recbole_unisid.models.tiger.causal import CodeHead
from recbole_unisid.models.tiger.encoder_decoder import CodeTransformer, CodeVocabulary
from recbole_unisid.models.tiger.scoring import beam_search
from recbole_unisid.runs.machine import machine, versions


class Material:
    """A catalogue of random tuples, the paper's T5 with weights that tell items apart, and histories.

    Parameters
    ----------
    options : Namespace
        Of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        rng = np.random.default_rng(0)
        # Few codes on the first levels of many items, as text gives: squares of uniform numbers.
        codes = (rng.random((2 * options.items, 4)) ** 2 * 256).astype(np.int64)
        codes = rng.permutation(np.unique(codes, axis=0))[: options.items]
        self.trie = CodeTrie.of(codes)
        sizes = [256] * 4
        padded = torch.from_numpy(np.concatenate([np.zeros_like(codes[:1]), codes]))
        self.words = CodeVocabulary(padded, sizes, users=2000)
        torch.manual_seed(0)
        self.model = CodeTransformer(self.words, 128, 1024, 4, 6, 64, 0.1, 1.0).eval()
        for weight in self.model.parameters():
            weight.data.mul_(1.5)
        items = torch.randint(1, len(codes) + 1, (options.users, options.history))
        self.tokens = self.words.histories(items, torch.arange(options.users))
        self.head = CodeHead(sizes, 64, 256, 0.0, 1.0).eval()
        self.table, self.states = 0.1 * torch.randn(sum(sizes), 64), torch.randn(options.users, 64)
        self.allowed: dict[tuple[int, ...], list[int]] = {}
        self.number: dict[tuple[int, ...], int] = {}
        for item, row in enumerate(self.words.tokens[1:].tolist(), start=1):
            self.number[tuple(row)] = item
            for length in range(4):
                self.allowed.setdefault(tuple(row[:length]), []).append(row[length])
        self.allowed = {prefix: sorted(set(after)) for prefix, after in self.allowed.items()}

    def ours(self, rows: slice, width: int) -> list[list[int]]:
        """Beam search over the trie's tensors."""
        tokens = self.tokens[rows]
        return beam_search(self.model, self.model.begin(tokens), len(tokens), self.trie, width)[0].tolist()

    def head_only(self, rows: slice, width: int) -> list[list[int]]:
        """The same search with the small head of the default recipe."""
        state = self.head.begin(self.states[rows], self.table)
        return beam_search(self.head, state, len(self.states[rows]), self.trie, width)[0].tolist()

    def generate(self, rows: slice, width: int) -> list[list[int]]:
        """The library's search."""
        tokens = self.tokens[rows]
        answer = self.model.t5.generate(
            input_ids=tokens,
            attention_mask=(tokens > 0).long(),
            num_beams=width,
            num_return_sequences=width,
            min_new_tokens=4,
            max_new_tokens=4,
            length_penalty=0.0,
            prefix_allowed_tokens_fn=lambda _, sentence: self.allowed[tuple(sentence[1:].tolist())],
        )
        items = [self.number[tuple(row)] for row in answer[:, 1:].tolist()]
        return [items[first : first + width] for first in range(0, len(items), width)]


@torch.no_grad()
def timed(
    search: Callable[[slice, int], list[list[int]]], users: int, batch: int, width: int
) -> tuple[Any, ...]:
    """Lists, seconds by the clock and of the processor."""
    clock, cpu, lists = time.perf_counter(), time.process_time(), []
    for first in range(0, users, batch):
        lists += search(slice(first, min(first + batch, users)), width)
    return lists, time.perf_counter() - clock, time.process_time() - cpu


def contender(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One search in a process of its own, so that peaks of memory are its own."""
    torch.set_num_threads(options.threads)
    material = Material(options)
    search = getattr(material, name)
    timed(search, min(2, options.users), 2, options.beams)  # warm
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    best: dict[str, Any] = {}
    for batch in options.batches:
        lists, clock, cpu = timed(search, options.users, batch, options.beams)
        if not best or cpu < best["cpu_seconds"]:
            best = {"batch": batch, "lists": lists, "clock_seconds": clock, "cpu_seconds": cpu}
    best["added_bytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return best | {"users_a_cpu_second": options.users / best["cpu_seconds"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=12101)
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument("--history", type=int, default=20, help="items of a history")
    parser.add_argument("--beams", type=int, default=50)
    parser.add_argument(
        "--batches", type=int, nargs="*", default=[8, 32], help="users at once; the best counts"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="write the figures as JSON, too")
    options = parser.parse_args()
    where = machine()
    print(f"{where['cpu']}, {where['cores']} cores, {options.threads} threads; torch {versions()['torch']}")
    found = {}
    context = multiprocessing.get_context("spawn")
    for name in ("generate", "ours", "head_only"):
        with context.Pool(1) as pool:
            found[name] = pool.apply(contender, (name, options))
        row = found[name]
        print(
            f"{name:<10} {row['users_a_cpu_second']:8.2f} users a CPU-s (batch {row['batch']}, "
            f"{options.users / row['clock_seconds']:.2f} by the clock), {row['added_bytes'] / 2**20:.0f} MiB added"
        )
    theirs, ours = found["generate"].pop("lists"), found["ours"].pop("lists")
    found["head_only"].pop("lists")
    same_order = float(np.mean([a == b for a, b in zip(theirs, ours, strict=True)]))
    same_items = float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(theirs, ours, strict=True)]))
    ratio = found["ours"]["users_a_cpu_second"] / found["generate"]["users_a_cpu_second"]
    print(
        f"lists equal: {same_order:.1%} of users; items in common: {same_items:.2%}; {ratio:.1f} times as fast"
    )
    if options.output:
        facts = {"machine": where, "versions": versions(), "same_lists": same_order, "ratio": ratio}
        options.output.write_text(json.dumps(facts | found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
