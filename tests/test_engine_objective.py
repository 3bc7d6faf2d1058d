"""Whole sequences and prefix rows are one objective, and every target is trained once."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction

from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TRAIN, leave_one_out
from recbole_unisid.data.windows import bucketed_batches, history_windows, training_rows, training_windows
from recbole_unisid.models.losses.next_item import Candidates
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import PrefixRowDataset, load_dataset
from recbole_unisid.recbole_adapter.loaders import TARGET_LIST, make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics

PLAIN = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "show_progress": False, "use_gpu": False}
TEXT = {"text_encoder": "lsa", "codebook_sizes": [16, 16, 16]}


def random_sequences(lengths: list[int], n_items: int = 30, seed: int = 0) -> UserSequences:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = rng.integers(1, n_items + 1, offsets[-1])
    names = np.array([f"u{u}" for u in range(len(lengths))], dtype=np.str_)
    return UserSequences(items, offsets, None, names, np.array([str(i) for i in range(n_items + 1)]))


# --- the objective --------------------------------------------------------------------------------


def summed(model: Any, batches: list[Interaction], count: Any) -> tuple[float, list[torch.Tensor]]:
    """Summed loss over all targets of an epoch, and its gradients."""
    model.zero_grad()
    total = sum(model.calculate_loss(batch) * count(batch) for batch in batches)
    total.backward()
    return total.item(), [p.grad.clone() for p in model.parameters()]


def objective_parts(
    name: str, ml_mini: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> tuple[Any, list[Interaction], Interaction]:
    """A model in float64 with fixed negatives, its batches of whole sequences, and RecBole's prefix rows."""
    text = {} if name == "ItemID" else TEXT if name == "UniSID" else {"text_encoder": "lsa"}
    given = PLAIN | text | {"data_path": str(ml_mini), "negatives": 20, "train_batch_size": 300} | settings
    config = UniSIDConfig(name, "ml-mini", settings=given)
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    loader = make_loaders(config, dataset).train
    torch.manual_seed(1)
    model = config.model_class(config, loader.dataset).double()
    fixed = torch.randint(1, model.n_items, (20,))

    loss = getattr(model.loss, "loss", model.loss)  # within a Lookahead
    if config["loss"] in {"bce", "gbce"}:
        monkeypatch.setattr(loss, "draw", lambda targets: Candidates(fixed.expand(len(targets), 20)))
    else:
        monkeypatch.setattr(loss, "uniform", lambda: fixed[: loss.negatives], raising=False)
    return model, list(loader), load_dataset(config).build()[0].inter_feat


def targets_of(batch: Interaction) -> int:
    """How many targets a batch of whole sequences has."""
    return int((batch[TARGET_LIST] > 0).sum())


def cut(rows: Interaction) -> list[Interaction]:
    """Prefix rows in batches."""
    cuts = itertools.pairwise([*range(0, len(rows), 257), len(rows)])
    return [rows[slice(i, j)] for i, j in cuts]


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("ItemID", "sampled_softmax"),
        ("ItemID", "softmax"),
        ("ItemID", "bce"),
        ("ItemID", "gbce"),
        ("UniSID", "sampled_softmax"),
        ("DenseText", "softmax"),
    ],
)
def test_whole_sequences_train_the_prefixes_objective(
    name: str, loss: str, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float64, no dropout, fixed negatives: loss and gradients of an epoch to 1e-9."""
    model, batches, prefix_rows = objective_parts(name, ml_mini, monkeypatch, loss=loss)
    whole = summed(model, batches, targets_of)
    prefixes = summed(model, cut(prefix_rows), len)
    assert whole[0] == pytest.approx(prefixes[0], rel=1e-9)
    for ours, theirs in zip(whole[1], prefixes[1], strict=True):
        assert float((ours - theirs).norm()) <= 1e-9 * float(theirs.norm())


@pytest.mark.parametrize("loss", ["sampled_softmax", "softmax", "bce"])
def test_the_second_target_is_the_item_after_the_next(
    loss: str, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch's loss = prefixes with their target + weight x prefixes with the target of the prefix after them."""
    model, batches, rows = objective_parts("ItemID", ml_mini, monkeypatch, loss=loss, lookahead_weight=0.3)
    whole = summed(model, batches, targets_of)
    model.loss.weight = 0.0
    first = summed(model, cut(rows), len)
    followed = (rows["user_id"][:-1] == rows["user_id"][1:]).nonzero().flatten()
    later = rows[followed]
    later.update(Interaction({"item_id": rows["item_id"][followed + 1]}))
    second = summed(model, cut(later), len)
    assert whole[0] == pytest.approx(first[0] + 0.3 * second[0], rel=1e-9)
    for ours, one, two in zip(whole[1], first[1], second[1], strict=True):
        assert float((ours - one - 0.3 * two).norm()) <= 1e-9 * float(ours.norm())


@pytest.mark.parametrize("loss", ["in_batch_softmax", "mixed_softmax", "gbce"])
def test_the_second_target_goes_with_every_loss(
    loss: str, ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It adds to the loss, and nothing where a batch has rows of one target."""
    model, batches, rows = objective_parts("UniSID", ml_mini, monkeypatch, loss=loss, lookahead_weight=0.5)
    losses = []
    for weight in (0.5, 0.0):
        model.loss.weight = weight
        losses.append([model.calculate_loss(batch).item() for batch in (batches[0], rows[:50])])
    assert losses[0][0] > losses[1][0]
    assert losses[0][1] == losses[1][1]


# --- windows --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    max_len=st.integers(1, 12),
    stride=st.one_of(st.none(), st.integers(1, 14)),
)
def test_every_target_is_trained_once(lengths: list[int], max_len: int, stride: int | None) -> None:
    """With its item, right after the items that stand before it, in no more inputs than allowed."""
    sequences = random_sequences([*lengths, 4])
    split = leave_one_out(sequences)
    windows = training_windows(sequences, split, max_len, stride)
    trained = sequences.items[split.phase <= TRAIN]
    asked: list[int] = []
    for w in range(len(windows.start)):
        inputs, targets = (side[0].numpy() for side in windows.batch(np.array([w])))
        assert len(inputs) <= max_len
        where = windows.start[w] + np.flatnonzero(targets) + 1
        assert np.array_equal(trained[where], targets[targets > 0])
        assert np.array_equal(trained[windows.start[w] : windows.stop[w]], inputs)
        asked += where.tolist()
    kept = np.flatnonzero(split.phase <= TRAIN)
    assert sorted(kept[asked]) == split.targets(TRAIN).tolist()
    assert int((windows.stop + 1 - windows.first_target).sum()) == len(split.targets(TRAIN))


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8), max_len=st.integers(1, 12))
def test_a_row_is_one_target_after_what_stands_before_it(lengths: list[int], max_len: int) -> None:
    """The rows of T5: of every user the training targets in order, after at most `max_len` of the items before each."""
    sequences = random_sequences([*lengths, 4])
    split = leave_one_out(sequences)
    rows = training_rows(sequences, split, max_len)
    expected = []
    for user in range(sequences.n_users):
        own = slice(sequences.offsets[user], sequences.offsets[user + 1])
        items = sequences.items[own][split.phase[own] <= TRAIN].tolist()
        expected += [(user, items[max(0, n - max_len) : n], items[n]) for n in range(1, len(items))]
    found = []
    for row in range(len(rows.start)):
        inputs, targets = (side[0].tolist() for side in rows.batch(np.array([row])))
        assert not any(targets[:-1])
        found.append((int(rows.user[row]), inputs, targets[-1]))
    assert found == expected
    assert len(found) == len(split.targets(TRAIN))
    assert (rows.asked == 1).all()


def test_long_sequences_lose_no_target(in_empty_folder: Path) -> None:
    """ml-100k: 97,171 training targets, of which the last windows alone would train 40 %."""
    config = UniSIDConfig("ItemID", "ml-100k", settings=PLAIN)
    loader = make_loaders(config, load_dataset(config)).train
    trained = sum(int((batch[TARGET_LIST] > 0).sum()) for batch in loader)
    assert trained == 100_000 - 3 * 943
    last = np.unique(loader.windows.user, return_index=True)[1]
    windows_alone = loader.windows.lengths[last].sum()
    assert windows_alone < 0.45 * trained


def test_windows_of_evaluation_end_before_their_targets() -> None:
    """The history of a target is the last `max_len` items before it."""
    sequences = random_sequences([3, 9, 30])
    targets = leave_one_out(sequences).targets(3)
    windows = history_windows(sequences, targets, 7)
    inputs, asked = windows.batch(np.arange(3))
    for row, target in enumerate(targets):
        begin = max(sequences.offsets[row], target - 7)
        history = sequences.items[begin:target]
        assert np.array_equal(inputs[row][: len(history)], history)
        assert not inputs[row][len(history) :].any()
        assert asked[row][len(history) - 1] == sequences.items[target]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=300),
    positions=st.integers(1, 200),
    seed=st.integers(0, 5),
)
def test_batches_hold_every_window_once(lengths: list[int], positions: int, seed: int) -> None:
    """And no more positions than asked for, but where one window alone has more."""
    sizes = np.array(lengths)
    batches = list(bucketed_batches(sizes, positions, np.random.default_rng(seed), pool=3))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(batch) == 1 or sizes[batch].sum() <= positions for batch in batches)
    again = bucketed_batches(sizes, positions, np.random.default_rng(seed), pool=3)
    assert all(np.array_equal(one, other) for one, other in zip(batches, again, strict=True))


# --- RecBole's prefix rows ------------------------------------------------------------------------


class LoopedDataset(PrefixRowDataset):
    """With RecBole's own loop over rows and fields."""

    def data_augmentation(self) -> None:
        SequentialDataset.data_augmentation(self)


@pytest.mark.parametrize("max_len", [3, 50])
def test_prefix_rows_are_recboles(max_len: int, ml_mini: Path, in_empty_folder: Path) -> None:
    """Tensor for tensor, with floats and every field."""
    given = {
        "data_path": str(ml_mini),
        "MAX_ITEM_LIST_LENGTH": max_len,
        "show_progress": False,
        "exact_times": False,
    }
    config = UniSIDConfig("SASRec", "ml-mini", settings=given)
    config["load_col"]["inter"] = ["user_id", "item_id", "timestamp", "rating"]
    ours, theirs = PrefixRowDataset(config), LoopedDataset(config)
    ours._change_feat_format()
    theirs._change_feat_format()
    names = set(theirs.inter_feat.columns)
    assert names == set(ours.inter_feat.columns) - {"target_position"}
    assert {"rating_list", "timestamp_list", "item_id_list"} <= names
    for name in names:
        assert torch.equal(ours.inter_feat[name], theirs.inter_feat[name]), name
        assert ours.inter_feat[name].dtype == theirs.inter_feat[name].dtype
