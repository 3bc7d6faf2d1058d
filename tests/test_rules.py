"""Rules against plain loops: scores, ranks of whole runs, controls beside models, and what a run is good for."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import read_by
from safetensors.torch import load_file

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import leave_one_out
from recbole_unisid.errors import UserError
from recbole_unisid.models.rules import FadingTransitions, NearestTo, UnitText, ring_terms
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.registry import RULES
from recbole_unisid.serving.add_items import add_items
from recbole_unisid.serving.export import export
from recbole_unisid.serving.recommender import Recommender

N_ITEMS = 40
#: A score of every item (0, padding, counts) for a history: what each rule is, in loops over lists.
Plain = Callable[[list[list[int]], np.ndarray, list[int]], list[float]]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = float(np.sqrt(one @ one) * np.sqrt(other @ other))
    return float(one @ other) / lengths if lengths else 0.0


def counted(trained: list[list[int]]) -> dict[int, Counter[int]]:
    """How often each item followed each other one."""
    found: dict[int, Counter[int]] = {}
    for one, other in (pair for sequence in trained for pair in pairwise(sequence)):
        found.setdefault(one, Counter())[other] += 1
    return found


def nearest_text(trained: list[list[int]], vectors: np.ndarray, history: list[int]) -> list[float]:
    return [cosine(vectors[history[-1]], vector) for vector in vectors]


def transitions(trained: list[list[int]], vectors: np.ndarray, history: list[int]) -> list[float]:
    counts, popular = counted(trained), Counter(item for sequence in trained for item in sequence)
    scores = [0.001 * popular[item] / max(popular.values()) for item in range(len(vectors))]
    for age, before in enumerate(reversed(history)):
        for item, count in counts.get(before, Counter()).items():
            scores[item] += 0.6**age * float(np.log(1 + count))
    return scores


def transition_text(
    trained: list[list[int]], vectors: np.ndarray, history: list[int], rings: int = 0
) -> list[float]:
    counts, last = counted(trained), history[-1]
    ring, edge = {}, {last}
    for number in range(rings):
        edge = {item for before in edge for item in counts.get(before, ())} - ring.keys()
        edge -= {last} if number else set()
        ring.update(dict.fromkeys(edge, number))
    ring.setdefault(last, 0 if last in counts.get(last, ()) else rings + 1)
    follow = counts.get(last, Counter())
    shares = {item: np.log(1 + count) / np.log(1 + max(follow.values())) for item, count in follow.items()}
    near = nearest_text(trained, vectors, history)
    return [near[item] + 0.5 * shares.get(item, 0.0) - 3 * ring.get(item, rings) for item in range(len(near))]


PLAIN: dict[str, Plain] = {
    "NearestText": nearest_text,
    "Transitions": transitions,
    "TransitionText": transition_text,
}


def small_data(users: int = 90) -> tuple[SimpleNamespace, list[list[int]]]:
    """Sequences in a few loose chains, in which items repeat, with text; and what of them is trained on."""
    draw = np.random.default_rng(3)
    lengths = draw.integers(3, 9, users)
    starts = np.repeat(draw.integers(1, N_ITEMS + 1, users), lengths)
    items = (starts + draw.choice([0, 0, 1, 1, 2, 5], lengths.sum())) % N_ITEMS + 1
    offsets = np.concatenate([[0], lengths.cumsum()])
    names = np.array(["[PAD]", *map(str, range(N_ITEMS))])
    sequences = UserSequences(items, offsets, None, np.arange(users).astype(str), names)
    vectors = draw.normal(size=(N_ITEMS, 6)).astype(np.float32)
    vectors[4] = 0  # no text
    split = leave_one_out(sequences)
    whole = [items[begin:end].tolist() for begin, end in pairwise(offsets)]
    trained = [one[:-2] if len(one) > 3 else one[:-1] for one in whole]
    return SimpleNamespace(sequences=sequences, split=split, item_num=N_ITEMS + 1, vectors=vectors), trained


def padded(histories: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [torch.tensor(one) for one in histories]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([*map(len, histories)])


@pytest.mark.parametrize("rings", [0, 1, 2, 3, 5])
def test_rings_are_those_of_plain_loops(rings: int) -> None:
    """More cases than the bits of a word; last items with and without a way on, or to themselves."""
    data, trained = small_data(users=25)
    vectors = np.concatenate([np.zeros((1, 6), dtype=np.float32), data.vectors])
    histories = [[1, item] for item in range(1, N_ITEMS + 1)] * 4
    cases, lengths = padded(histories)
    text = UnitText(data.vectors)
    scores = text(cases[:, 1]) @ text(torch.arange(N_ITEMS + 1)).T
    ring_terms({"rings": rings}, data).add_to(scores, cases, lengths)
    counts = counted(trained)
    assert {item in counts.get(item, ()) for item in counts} == {True, False}
    assert len(counts) < N_ITEMS
    expected = [transition_text(trained, vectors, history, rings) for history in histories]
    np.testing.assert_allclose(scores[:, 1:].numpy(), np.array(expected)[:, 1:], atol=1e-5)


@pytest.mark.parametrize("fade", [0.0, 0.6])
def test_transitions_are_those_of_plain_loops(fade: float) -> None:
    """Each item of the history adds its own, the last one alone where nothing is left of the others."""
    data, trained = small_data()
    histories = [[3, 7, 7, 20], [11], [40, 2], [9, 9, 9, 9, 9, 9]]
    found = FadingTransitions.from_config({"fade": fade}, data)(*padded(histories))[0]
    cut = histories if fade else [history[-1:] for history in histories]
    expected = [transitions(trained, np.zeros((N_ITEMS + 1, 1)), history) for history in cut]
    np.testing.assert_allclose(found[:, 1:].numpy(), np.array(expected)[:, 1:], atol=1e-5)


def test_the_historys_text_is_the_direction_of_its_sum() -> None:
    """At every position of what came until then."""
    text = UnitText(small_data()[0].vectors)
    states = NearestTo.from_config({"nearest_to": "history"}, 6)(text(torch.tensor([[3, 7, 9]])))
    total = text.vectors[[3, 7]].sum(0)
    torch.testing.assert_close(states[0, 1], total / total.norm())


@pytest.fixture(scope="module")
def ruled(ml_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each rule, by one command."""
    root = tmp_path_factory.mktemp("rules")
    given = {"data_path": str(ml_mini), "output_dir": str(root), "cache_dir": str(root / "cache")}
    given |= {"text_encoder": "lsa", "show_progress": False}
    results = recbole_unisid.run(",".join(RULES), "ml-mini", given, verbose=False)
    return {result["model"]: Path(result["run_dir"]) for result in results}


@pytest.mark.parametrize("model", RULES)
def test_ranks_of_a_run_are_those_of_plain_loops(model: str, ruled: dict[str, Path], ml_mini: Path) -> None:
    """Seen items in and out, from the same scores; the control is the model; nothing was trained."""
    folder = ruled[model]
    dataset: Any = load_dataset(UniSIDConfig("ItemID", "ml-mini", {"data_path": str(ml_mini)}))
    dataset.build_sequences()
    items, offsets = dataset.sequences.items.tolist(), dataset.sequences.offsets
    whole = [items[begin:end] for begin, end in pairwise(offsets)]
    trained = [one[:-2] if len(one) > 3 else one[:-1] for one in whole]
    vectors = load_file(ruled["NearestText"] / "model.safetensors")["items.semantic.vectors"].double().numpy()
    ranks, checked = np.load(folder / "ranks.npz"), 0
    for row, one in enumerate(whole):
        history, target = one[:-1], one[-1]
        scores = np.array(PLAIN[model](trained, vectors, history))
        apart = scores - scores[target]
        for name, left_out in (("full", set(history)), ("full_unfiltered", set())):
            others = np.array([item for item in range(1, len(scores)) if item not in {target, *left_out}])
            ahead = int((apart[others] > -1e-9).sum())  # ties count against the rule
            unsure = int(
                ((apart[others] > -2e-6) & (apart[others] < 2e-6) & (abs(apart[others]) > 1e-9)).sum()
            )
            assert abs(ranks[f"rank_{name}"][row] - 1 - ahead) <= unsure
            checked += not unsure
    assert checked > 20
    result = json.loads((folder / "result.json").read_text())
    control = {
        "NearestText": "nearest_text",
        "Transitions": "transitions",
        "TransitionText": "transition_text",
    }
    text = json.loads((ruled["NearestText"] / "result.json").read_text())["controls"]
    for candidates in ("full", "full_unfiltered"):
        assert result["test"][candidates] == pytest.approx(text[control[model]][candidates], abs=1e-6)
    assert (result["epochs"], result["best_epoch"], result["parameters"]["training"]) == (0, None, 0)


def test_popularity_orders_what_transitions_leave_equal() -> None:
    """By training counts; never above what followed once."""
    data, trained = small_data()
    popular = Counter(item for sequence in trained for item in sequence)
    scores = FadingTransitions.from_config({"fade": 0.6}, data)(*padded([[8]]))[0, 0].tolist()
    follow = counted(trained)[8]
    rest = [item for item in range(1, N_ITEMS + 1) if item not in follow]
    assert sorted(rest, key=lambda item: -scores[item]) == sorted(rest, key=lambda item: -popular[item])
    assert min(scores[item] for item in follow) > max(scores[item] for item in rest)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("TransitionText", {"learning_rate": 0.1}),
        ("NearestText", {"epochs": 3}),
        ("NearestText", {"rings": 2}),
        ("Transitions", {"text_encoder": "lsa"}),
        ("Transitions", {"compile": True}),
        ("UniSID", {"fade": 0.5}),
    ],
)
def test_what_a_rule_does_not_read_is_refused(
    model: str, given: dict[str, Any], in_empty_folder: Path
) -> None:
    """Settings of training above all."""
    with pytest.raises(UserError, match=f"{model} does not read {next(iter(given))}"):
        recbole_unisid.run(model, "none-such", given, verbose=False)


def test_nothing_is_searched_for_a_rule(ml_mini: Path, in_empty_folder: Path) -> None:
    """Not a learning rate that it does not read."""
    with pytest.raises(UserError, match="Transitions has no setting to search"):
        recbole_unisid.run("Transitions", "ml-mini", {"data_path": str(ml_mini), "tune": 2}, verbose=False)


@pytest.mark.parametrize("model", RULES)
def test_cold_items_are_found_by_text_alone(model: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """Under that split no transition leads to the targets; the run loads as any other."""
    given = {"data_path": str(ml_mini), "text_encoder": "lsa", "split": "cold_items", "show_progress": False}
    given |= {"cold_share": 0.5}
    result = recbole_unisid.run(model, "ml-mini", read_by(model, given), verbose=False)
    scores = recbole_unisid.load(result["run_dir"]).scores([np.array([1, 2])])
    assert np.isfinite(scores[:, 1:]).all()
    ranks = np.load(Path(result["run_dir"]) / "ranks.npz")
    assert (ranks["target_popularity"] == 0).all()
    assert len(ranks["rank_full"]) > 8
    assert (ranks["rank_full"].min() > result["data"]["items"] / 3) == (model == "Transitions")


def test_a_run_recommends_takes_in_items_and_is_exported(
    ruled: dict[str, Path], ml_mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As far as the rule can: what it cannot is one line."""
    head, row, *_ = (ml_mini / "ml-mini" / "ml-mini.item").read_text().splitlines()
    (tmp_path / "new.item").write_text(f"{head}\n" + "\t".join(["new", *row.split("\t")[1:]]) + "\n")
    for model in ("NearestText", "TransitionText"):
        add_items(ruled[model], tmp_path / "new.item", show_progress=False)
        run, before = recbole_unisid.load(ruled[model]), recbole_unisid.load(ruled[model], catalogue=1)
        histories = [np.array([3, 5]), np.array([9])]
        scores = run.scores(histories)
        np.testing.assert_allclose(scores[:, :-1], before.scores(histories), atol=1e-6)
        # The same text, and followed by and following nothing.
        text = recbole_unisid.load(ruled["NearestText"]).scores(histories)
        twin = run.number_of(row.split("\t")[0])
        np.testing.assert_allclose(scores[:, -1], text[:, twin], atol=1e-5)
    export(recbole_unisid.load(ruled["NearestText"], catalogue=1), tmp_path / "out", progress=False)
    run = recbole_unisid.load(ruled["NearestText"], catalogue=1)
    answer = Recommender(tmp_path / "out").recommend([run.item_ids[3], run.item_ids[9]], k=5, seen=True)
    scores = run.scores([np.array([3, 9])])[0]
    assert [one.score for one in answer] == pytest.approx(sorted(scores[1:], reverse=True)[:5], abs=1e-5)
    for command, model, words in (
        (["export", f"--to={tmp_path}/no"], "TransitionText", "cannot hold the score term 'rings'"),
        (["export", f"--to={tmp_path}/no"], "Transitions", "no item vectors to export"),
        (["add-items", f"--items={tmp_path}/new.item"], "Transitions", "knows items by number alone"),
    ):
        assert main([*command, f"--run={ruled[model]}"]) == 2
        told = capsys.readouterr().err.strip()
        assert words in told
        assert "\n" not in told
    assert main(["recommend", f"--run={ruled['Transitions']}", "--history=1,50", "-k", "3"]) == 0
    assert "score" in capsys.readouterr().out


def test_a_comparison_has_a_rule_beside_a_model(ml_mini: Path, in_empty_folder: Path) -> None:
    """One leaderboard; a rule that reads text is never its reference, one of IDs alone may be."""
    given = {"data_path": str(ml_mini), "text_encoder": "lsa", "epochs": 1, "show_progress": False}
    recbole_unisid.run("ItemID,TransitionText,Transitions", "ml-mini", given, verbose=False)
    (board,) = in_empty_folder.rglob("leaderboard.csv")
    rows = list(csv.DictReader(board.open(encoding="utf-8")))
    assert {row["model"] for row in rows} == {"ItemID", "TransitionText", "Transitions"}
    assert {row["reference"] for row in rows} - {""} <= {"ItemID", "Transitions"}
    (page,) = in_empty_folder.rglob("report.html")
    assert "transitions and text" in page.read_text()
