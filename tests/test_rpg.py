"""RPG against loops: its loss, its scores, whole runs with codes of every kind."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import recbole_unisid
from recbole_unisid.errors import UserError
from recbole_unisid.models import rpg
from recbole_unisid.models.rpg import catalogue_digit_sums
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import TARGET_LIST, make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics

QUICK: dict[str, Any] = {
    "recipe": "small",
    "epochs": 2,
    "text_encoder": "lsa",
    "codebook_sizes": [16] * 8,
    "show_progress": False,
    "use_gpu": False,
}


def built(root: Path, **more: Any) -> tuple[Any, Any]:
    """A model in float64 without dropout, its weights not where they start, and its loaders."""
    plain = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "train_batch_size": 300}
    config = UniSIDConfig("RPG", "ml-mini", settings=QUICK | plain | {"data_path": str(root)} | more)
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    loaders = make_loaders(config, dataset)
    torch.manual_seed(3)
    model = config.model_class(config, loaders.train.dataset).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model, loaders


def digit_log_probabilities(model: Any, history: list[int]) -> list[torch.Tensor]:
    """The definition, digit by digit, from the items' codes on."""
    sizes, tokens = model.heads.codebook_sizes, model.items.semantic
    starts = [0, *itertools.accumulate(sizes)]
    tables = [tokens.table.weight[a:b] for a, b in itertools.pairwise(starts)]
    codes = tokens.rows - torch.tensor(starts[:-1])
    items = [torch.stack([t[c] for t, c in zip(tables, codes[i], strict=True)]).mean(0) for i in history]
    state = model.transformer(torch.stack(items)[None])[0, -1]
    found = []
    for head, table in zip(model.heads.heads, tables, strict=True):
        z = head.weight @ state + head.bias
        read = state + z / (1 + torch.exp(-z))
        cosines = torch.stack([read @ code / (read.norm() * code.norm()) for code in table])
        found.append(torch.log_softmax(cosines / model.heads.temperature, 0))
    return found


def test_scores_are_sums_of_log_probabilities(ml_mini: Path, in_empty_folder: Path) -> None:
    """Every item's, from all items at once and one by one."""
    model, loaders = built(ml_mini, temperature=0.2)
    model.eval()
    codes = model.items.semantic.rows - model.items.semantic.rows[0]
    batch = next(iter(loaders.test))[0]
    with torch.no_grad():
        scores = model.full_sort_predict(batch)
        for row in (0, len(scores) - 1):
            history = batch["item_id_list"][row][: batch["item_length"][row]].tolist()
            digits = digit_log_probabilities(model, history)
            expected = [sum(d[c] for d, c in zip(digits, item, strict=True)) for item in codes]
            assert torch.allclose(scores[row], torch.stack(expected), rtol=1e-9)
        some = torch.randint(model.n_items, (len(scores), 7), generator=torch.Generator().manual_seed(5))
        assert torch.allclose(model.score_candidates(batch, some), scores.gather(1, some))
        batch["item_id"] = torch.arange(1, len(scores) + 1)
        assert torch.allclose(model.predict(batch), scores[torch.arange(len(scores)), batch["item_id"]])


def test_loss_is_that_of_a_loop(ml_mini: Path, in_empty_folder: Path) -> None:
    """Mean over targets of the sum over digits, each history on its own, in float64."""
    model, loaders = built(ml_mini)
    batch = next(iter(loaders.train))
    codes = model.items.semantic.rows - model.items.semantic.rows[0]
    losses = []
    with torch.no_grad():
        for inputs, targets in zip(batch["item_id_list"].tolist(), batch[TARGET_LIST].tolist(), strict=True):
            for place, target in enumerate(targets):
                if target:
                    digits = digit_log_probabilities(model, inputs[: place + 1])
                    losses.append(-sum(float(d[c]) for d, c in zip(digits, codes[target], strict=True)))
        assert float(model.calculate_loss(batch)) == pytest.approx(np.mean(losses), rel=1e-9)


def test_whole_sequences_train_the_prefixes_objective(ml_mini: Path, in_empty_folder: Path) -> None:
    """Loss and gradients of an epoch, as for the models with one vector an item."""
    model, loaders = built(ml_mini)
    rows = load_dataset(loaders.train.dataset.config).build()[0].inter_feat
    both = []
    for batches, count in (
        (list(loaders.train), lambda batch: int((batch[TARGET_LIST] > 0).sum())),
        ([rows[slice(start, start + 257)] for start in range(0, len(rows), 257)], len),
    ):
        model.zero_grad()
        loss = sum(model.calculate_loss(batch) * count(batch) for batch in batches)
        loss.backward()
        both.append((loss.item(), [p.grad.clone() for p in model.parameters()]))
    assert both[0][0] == pytest.approx(both[1][0], rel=1e-9)
    for ours, theirs in zip(both[0][1], both[1][1], strict=True):
        assert float((ours - theirs).norm()) <= 1e-9 * float(theirs.norm()) + 1e-12


def test_heads_start_as_one(ml_mini: Path, in_empty_folder: Path) -> None:
    """At first every digit reads the state itself, as in the authors' code."""
    config = UniSIDConfig("RPG", "ml-mini", settings=QUICK | {"data_path": str(ml_mini)})
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    model = config.model_class(config, make_loaders(config, dataset).train.dataset)
    assert not any(parameter.any() for parameter in model.heads.parameters())
    # Every head is trained all the same: its input is not zero.
    model.calculate_loss(next(iter(make_loaders(config, load_dataset(config)).train))).backward()
    assert all(bool(head.weight.grad.any()) for head in model.heads.heads)


def test_catalogue_sums_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of any size give the plain gather and sum; equal digits equal scores to the last bit."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([4, 8, 2])
    codes = torch.stack([torch.randint(int(size), (50,), generator=generator) for size in sizes], 1)
    codes[37] = codes[3]
    rows = codes + torch.tensor([0, 4, 12])
    values = torch.randn(6, 14, generator=generator)
    expected = values[:, rows].sum(-1)  # [users, items]
    for block in (1, 60, 10**6):
        monkeypatch.setattr(rpg, "_BLOCK", block)
        scores = catalogue_digit_sums(values, rows)
        assert torch.allclose(scores, expected, atol=1e-6)
        assert torch.equal(scores[:, 3], scores[:, 37])


@pytest.mark.parametrize(
    "codes",
    [
        {"tokenizer": "opq"},
        {"tokenizer": "random", "codebook_sizes": [16, 8, 4]},
        {"tokenizer": "residual_kmeans", "codebook_sizes": [8, 8], "collisions": "suffix"},
        {"tokenizer": "opq", "table_init": "text"},
        {"tokenizer": "opq", "split": "cold_items", "cold_share": 0.2},
    ],
)
def test_runs_end_to_end(codes: dict[str, Any], ml_mini: Path, in_empty_folder: Path) -> None:
    """Codes of any tokenizer and of unequal sizes, cold items: one command, a whole run folder, finite scores."""
    settings = QUICK | {"data_path": str(ml_mini)} | codes
    result = recbole_unisid.run("RPG", "ml-mini", settings, verbose=False)
    folder = Path(result["run_dir"])
    assert (folder / "tokens.tsv").is_file()
    assert (folder / "examples.json").is_file()
    sizes = [level["size"] for level in result["tokenizer"]["levels"]]
    width, transformer = (
        64,
        50 * 64 + 2 * 64 + (64 * 192 + 192) + (64 * 64 + 64) + 2 * 128 + 2 * 64 * 256 + 320,
    )
    parameters = result["parameters"]
    assert parameters["tokens"] == sum(sizes) * width
    assert parameters["training"] == parameters["tokens"] + len(sizes) * (width + 1) * width + transformer
    assert result["history"][1]["loss"] < result["history"][0]["loss"]


def test_the_default_learns_faster(ml_mini: Path, in_empty_folder: Path) -> None:
    """It starts from the text's codebooks; two epochs of it are below two of the small recipe."""
    settings = QUICK | {"data_path": str(ml_mini)}
    default = recbole_unisid.run(
        "RPG", "ml-mini", settings | {"recipe": "default", "warmup_steps": 1}, verbose=False
    )
    small = recbole_unisid.run("RPG", "ml-mini", settings | {"tokenizer": "residual_kmeans"}, verbose=False)
    assert default["recipe"] == "default"
    assert default["parameters"]["tokens"] == 16 * 8 * 256
    assert default["history"][-1]["loss"] < small["history"][-1]["loss"]


def test_learns_what_follows_what(tmp_path: Path, in_empty_folder: Path) -> None:
    """On sequences in which item i is followed by i + 1, the next item is first, though codes are random."""
    folder = tmp_path / "ring"
    folder.mkdir()
    rows = [f"{u}\t{(u + place) % 30}\t{place}" for u in range(120) for place in range(8)]
    head = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "ring.inter").write_text("\n".join([head, *rows]) + "\n")
    items = [f"{item}\tword{item} thing{item % 7}" for item in range(30)]
    (folder / "ring.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *items]) + "\n")
    own = {"data_path": str(tmp_path), "tokenizer": "random", "codebook_sizes": [8] * 6, "epochs": 30}
    given = QUICK | own | {"learning_rate": 0.01, "train_batch_size": 128, "hidden_dropout_prob": 0.0}
    result = recbole_unisid.run("RPG", "ring", given, verbose=False)
    assert result["test"]["full"]["recall@5"] > 0.95


def test_refuses_what_cannot_be(ml_mini: Path, in_empty_folder: Path) -> None:
    """Another loss and a temperature of 0: one line each."""
    for change, words in (({"loss": "bce"}, "multi_token"), ({"temperature": 0}, "temperature=0")):
        with pytest.raises(UserError, match=words):
            recbole_unisid.run("RPG", "ml-mini", QUICK | {"data_path": str(ml_mini)} | change, verbose=False)


def test_silu_of_the_loop_is_torchs() -> None:
    """The loop above spells out what the heads call by name."""
    z = torch.linspace(-4, 4, 9)
    assert torch.allclose(z / (1 + torch.exp(-z)), functional.silu(z))
