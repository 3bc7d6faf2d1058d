"""Tokens that learn end to end: what learns, when, and that arranging the work changes no figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import recbole_unisid
from recbole_unisid.items.initialisation import projection_from_vectors
from recbole_unisid.items.joint import JointOptions, JointTokens
from recbole_unisid.items.representation import ItemRepresentation
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics
from recbole_unisid.tokens.tokens_file import read_codes

MIXED = ["cosine", "cosine", "euclidean"]
QUICK: dict[str, Any] = {
    "text_encoder": "lsa",
    "codebook_sizes": [16, 16, 16],
    "semantics": "joint",
    "train_batch_size": 300,
    "show_progress": False,
    "use_gpu": False,
}


def tokens(seed: int = 0, **options: Any) -> JointTokens:
    """Small ones over random text vectors, codebooks started, no code ever dead."""
    torch.manual_seed(seed)
    texts = torch.randn(31, 10)
    texts[0] = 0
    plain = {"quantiser": {"dead_below": 0.0}, "hidden": (12,)}
    made = JointTokens(texts, [6, 6, 6], MIXED, 5, JointOptions(**plain | options), 0)
    made.quantiser.initialise(made.encoder(texts[1:]))
    return made.train()


def roles() -> list[torch.Tensor]:
    """Inputs with padding, targets, negatives; items occur again and again."""
    inputs = torch.tensor([3, 4, 3, 3, 0, 0, 5, 9, 9, 0, 0, 0])
    return [inputs, torch.tensor([4, 3, 3, 7, 9, 9, 11]), torch.tensor([20, 20, 3, 30, 21, 1, 4])]


def model_and_batch(root: Path, **more: Any) -> tuple[Any, Any]:
    """A UniSID that learns its tokens, and a batch."""
    config = UniSIDConfig("UniSID", "ml-mini", settings={"data_path": str(root)} | QUICK | more)
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    loader = make_loaders(config, dataset).train
    torch.manual_seed(0)
    return config.model_class(config, loader.dataset), next(iter(loader))


def test_every_part_has_a_gradient(ml_mini: Path, in_empty_folder: Path) -> None:
    """But the codebooks, which follow moving averages."""
    model, batch = model_and_batch(ml_mini)
    model.calculate_loss(batch).backward()
    for name, parameter in model.named_parameters():
        if "quantiser" in name:
            assert parameter.grad is None
        elif "encoder" in name or "decoder" in name:
            assert parameter.grad is not None, name
            assert float(parameter.grad.norm()) > 0, name


def test_the_next_item_loss_alone_reaches_the_encoder(ml_mini: Path, in_empty_folder: Path) -> None:
    """Straight through the codes; the decoder learns by reconstruction only."""
    model, batch = model_and_batch(ml_mini, joint_weight=0.0)
    model.calculate_loss(batch).backward()
    semantic = model.items.semantic
    assert all(float(p.grad.norm()) > 0 for p in semantic.encoder.parameters())
    assert all(p.grad is None or not p.grad.any() for p in semantic.decoder.parameters())


@pytest.mark.parametrize("loss", ["sampled_softmax", "softmax", "bce", "gbce"])
def test_codebooks_move_in_training_alone(loss: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """One step of each loss moves them; scoring does not, and gives the same scores again."""
    model, batch = model_and_batch(ml_mini, loss=loss, negatives=8)
    model.calculate_loss(batch)
    before = [book.clone() for book in model.items.semantic.quantiser.codebooks()]
    model.eval()
    with torch.no_grad():
        first, second = (model.full_sort_predict(batch) for _ in range(2))
    assert torch.equal(first, second)
    books = model.items.semantic.quantiser.codebooks()
    assert all(torch.equal(a, b) for a, b in zip(before, books, strict=True))
    model.train().calculate_loss(batch)
    books = model.items.semantic.quantiser.codebooks()
    assert not any(torch.equal(a, b) for a, b in zip(before, books, strict=True))


def test_training_brings_text_and_codes_together(ml_mini: Path, in_empty_folder: Path) -> None:
    """The tokens' own loss falls."""
    model, batch = model_and_batch(ml_mini)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        _, loss = model.items.of_batch(*[batch["item_id_list"].flatten()] * 3, 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("learning", "reached"), [("gradient", False), ("direct", True)])
def test_the_next_item_loss_reaches_codes_directly(
    learning: str, reached: bool, ml_mini: Path, in_empty_folder: Path
) -> None:
    """With `direct` they get its gradient; with `gradient` that of the codebook loss alone."""
    model, batch = model_and_batch(ml_mini, joint_weight=0.0, joint_learning=learning)
    model.calculate_loss(batch).backward()
    gradients = [level.weight.grad for level in model.items.semantic.quantiser.levels]
    assert all((g is not None and bool(g.any())) == reached for g in gradients)


def as_the_authors(made: JointTokens, padding: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Every position of every call through the whole network, padding written out."""
    by_role, losses = [], []
    for role in roles():
        items = torch.cat([role[role > 0], torch.zeros(padding, dtype=torch.int64)])
        out = made.quantiser(made.encoder(made.vectors[items]))
        rebuilt = (made.decoder(out.quantised) - made.vectors[items]).square().sum(1).mean()
        losses.append(rebuilt + out.commitment_loss)
        vectors = torch.zeros(len(role), 5)
        vectors[role > 0] = out.quantised[: int((role > 0).sum())]
        by_role.append(vectors)
    return by_role, losses[0]  # of the inputs alone


@pytest.mark.parametrize("padding", [0, 40])
def test_distinct_items_with_weights_are_all_positions(padding: int) -> None:
    """Three updates a step, losses of the inputs, padding or not: vectors, loss, gradients and codebooks."""
    options = {"updates": "three", "losses": "inputs", "padding": padding > 0}
    once, often = tokens(**options), tokens(**options)
    for _ in range(3):
        once.zero_grad()
        often.zero_grad()
        vectors, loss = ItemRepresentation(30, once, id_width=0).of_batch(*roles(), padding)
        wanted, wanted_loss = as_the_authors(often, padding)
        torch.testing.assert_close(loss, wanted_loss)
        for role, found, expected in zip(roles(), vectors, wanted, strict=True):
            torch.testing.assert_close(found[role > 0], expected[role > 0], atol=1e-5, rtol=1e-4)
        for made, found_loss, parts in ((once, loss, vectors), (often, wanted_loss, wanted)):
            real = [part[role > 0] for role, part in zip(roles(), parts, strict=True)]
            (found_loss + sum((part**2).sum() for part in real)).backward()
            assert int(made.quantiser.steps) % 3 == 0
    for a, b in zip(once.parameters(), often.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-3)


def test_one_update_counts_all_roles() -> None:
    """All items of the batch, each as often as it occurs, move the codebooks once."""
    made, reference = tokens(), tokens()
    ItemRepresentation(30, made, id_width=0).of_batch(*roles(), 40)
    everything = torch.cat(roles())
    reference.quantiser(reference.encoder(reference.vectors[everything[everything > 0]]))
    assert int(made.quantiser.steps) == 1
    for a, b in zip(made.quantiser.codebooks(), reference.quantiser.codebooks(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_dead_codes_are_replaced_by_what_occurs() -> None:
    """An item that does not occur is never drawn; one that occurs always is."""
    made = tokens(quantiser={"dead_below": 1e6})  # all codes are dead at every step
    distinct, times = torch.tensor([0, 5, 9]), torch.tensor([0.0, 3.0, 0.0])
    latents = made.encoder(made.vectors[distinct])
    made.quantiser(latents, times)
    last = made.quantiser.levels[0].weight
    alone = torch.nn.functional.normalize(latents[1], dim=0)
    torch.testing.assert_close(last, alone.expand(6, 5))


def test_the_encoder_starts_as_the_texts_pca(ml_mini: Path, in_empty_folder: Path) -> None:
    """table_init=text; with normal it does not."""
    model, _ = model_and_batch(ml_mini)
    semantic = model.items.semantic
    weight, bias = projection_from_vectors(semantic.vectors[1:].numpy(), 64, 0.1)
    expected = semantic.vectors[1:] @ torch.from_numpy(weight).T + torch.from_numpy(bias)
    torch.testing.assert_close(semantic.encoder(semantic.vectors[1:]), expected, atol=1e-5, rtol=1e-4)
    other, _ = model_and_batch(ml_mini, table_init="normal")
    found = other.items.semantic.encoder(semantic.vectors[1:])
    assert float((found - expected).detach().abs().max()) > 0.01


def test_learned_tokens_are_written(ml_mini: Path, in_empty_folder: Path) -> None:
    """tokens.tsv and the health are those of the codes that score, and the tokenizer gives them again."""
    given = QUICK | {"epochs": 1, "data_path": str(ml_mini)}
    result = recbole_unisid.run("UniSID", "ml-mini", given, verbose=False)
    table = read_codes(Path(result["run_dir"]) / "tokens.tsv")
    model, _ = model_and_batch(ml_mini)
    weights = load_file(Path(result["run_dir"]) / "model.safetensors")
    assert weights.pop("items.untrained").any()  # of the finished run alone
    weights.pop("items.new_items.shift", None)
    model.load_state_dict(weights)
    semantic = model.eval().items.semantic
    assert np.array_equal(table.codes, semantic.codes()[1:].numpy())
    assert result["tokenizer"]["name"] == "joint"
    used = [len(np.unique(table.codes[:, level])) for level in range(3)]
    assert [level["used"] for level in result["tokenizer"]["levels"]] == used
    again = semantic.learned_tokens()[0].encode(semantic.vectors[1:].numpy())
    assert (again == table.codes).all(axis=1).mean() > 0.99  # rounding may turn a near tie
