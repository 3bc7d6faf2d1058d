"""Folded items: codes, tables and IDs score as the trained model does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_unisid.errors import UserError
from recbole_unisid.items.fold import FoldedItems, fold_items, folded_counts
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import load_dataset
from recbole_unisid.recbole_adapter.loaders import make_loaders
from recbole_unisid.recbole_adapter.semantics import item_semantics

TEXT = {"text_encoder": "lsa", "codebook_sizes": [16, 16, 16]}
#: Every model, and UniSID both ways.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "fixed": ("UniSID", TEXT),
    "joint": ("UniSID", TEXT | {"semantics": "joint"}),
    "semantic": ("SemanticID", TEXT | {"recipe": "paper"}),
    "id": ("ItemID", {}),
    "dense": ("DenseText", {"text_encoder": "lsa", "id_dim": 4}),
    "added": ("UniSID", TEXT | {"id_join": "add", "id_dim": 4}),
    "joint added": ("UniSID", TEXT | {"semantics": "joint", "id_join": "add"}),
    "dense added": ("DenseText", {"text_encoder": "lsa", "id_dim": 4, "id_join": "add"}),
}


def trained(kind: str, root: Path, **more: Any) -> Any:
    """A model after a few steps."""
    name, given = MODELS[kind]
    plain = {
        "data_path": str(root),
        "show_progress": False,
        "use_gpu": False,
        "train_batch_size": 300,
        "score_terms": [],
    }
    config = UniSIDConfig(name, "ml-mini", settings=plain | given | more)
    dataset = load_dataset(config)
    dataset.semantics = item_semantics(config, dataset)
    loader = make_loaders(config, dataset).train
    torch.manual_seed(0)
    model = config.model_class(config, loader.dataset)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for batch in loader:
        optimiser.zero_grad()
        model.calculate_loss(batch).backward()
        optimiser.step()
    return model.eval()


@pytest.mark.parametrize("kind", MODELS)
def test_the_same_scores(kind: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """To 1e-6 of their size, through a file's tensors and back."""
    model = trained(kind, ml_mini)
    folded = FoldedItems.of_state(fold_items(model.items).state())
    rng = np.random.default_rng(0)
    histories = torch.from_numpy(rng.integers(1, model.n_items, (20, 12)))
    batch = Interaction({model.ITEM_SEQ: histories, model.ITEM_SEQ_LEN: torch.full((20,), 12)})
    with torch.no_grad():
        wanted = model.full_sort_predict(batch)[:, 1:]
        states = model.transformer(folded.vectors()[histories])[:, -1]
        found = states @ folded.vectors().T[:, 1:]
        some = torch.tensor([3, 1, 3])
        torch.testing.assert_close(folded.vectors(some), model.items(some), atol=1e-6, rtol=1e-6)
    assert float((found - wanted).abs().max()) <= 1e-6 * float(wanted.abs().max().clamp(min=1))
    assert folded.n_items == model.n_items - 1


@pytest.mark.parametrize("kind", MODELS)
def test_parameters_of_serving(kind: str, ml_mini: Path, in_empty_folder: Path) -> None:
    """They count the transformer and what is folded; text table, encoder and decoder are left out."""
    model = trained(kind, ml_mini)
    folded, counts, kept = fold_items(model.items), model.parameter_counts(), folded_counts(model.items)
    assert kept == {
        "tables": sum(table.numel() for table in folded.tables),
        "ids": 0 if folded.ids is None else folded.ids[1:].numel(),
        "lift": 0 if folded.lift is None else folded.lift.numel(),
        "codes": folded.codes[1:].numel(),
    }
    transformer = sum(p.numel() for p in model.transformer.parameters())
    assert counts["serving"] == transformer + kept["tables"] + kept["ids"] + kept["lift"]
    assert counts["serving_codes"] == kept["codes"]
    if not kind.startswith("dense"):
        assert counts["tokens"] == kept["tables"] + kept["ids"]
    if kind in {"joint", "joint added", "semantic"}:
        assert counts["training"] > counts["serving"] - counts["tokens"]
        assert counts["checkpoint"] > counts["training"]


def test_an_added_id(ml_mini: Path, in_empty_folder: Path) -> None:
    """The item's vector is its codes' sum plus W times its ID; W is served, and no token."""
    model = trained("added", ml_mini)
    numbers = torch.arange(1, model.n_items)
    items = model.items
    wanted = items.semantic(numbers) + items.ids.weight[numbers] @ items.lift.weight.T
    torch.testing.assert_close(items(numbers), wanted)
    assert items.width == 64
    counts = model.parameter_counts()
    assert counts["tokens"] == 48 * 64 + (model.n_items - 1) * 4
    transformer = sum(p.numel() for p in model.transformer.parameters())
    assert counts["serving"] == counts["tokens"] + transformer + 4 * 64


def test_beauty_has_the_papers_token_parameters() -> None:
    """3 x 256 x 64 + 12101 x 8 = 145,960 of the ID table's 774,464: 81.15 % fewer."""
    from recbole_unisid.items.joint import JointOptions, JointTokens
    from recbole_unisid.items.representation import ItemRepresentation

    mixed = ["cosine", "cosine", "euclidean"]
    tokens = JointTokens(torch.zeros(12_102, 4), [256] * 3, mixed, 64, JointOptions(), 0)
    counts = folded_counts(ItemRepresentation(12_101, tokens, id_width=8))
    assert counts == {"tables": 49_152, "ids": 96_808, "lift": 0, "codes": 36_303}
    assert counts["tables"] + counts["ids"] == 145_960
    assert folded_counts(ItemRepresentation(12_101, id_width=64))["ids"] == 774_464
    assert pytest.approx(0.8115, abs=5e-5) == 1 - 145_960 / 774_464


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({}, "no table of codes"),
        ({"codes": torch.zeros(3, 2, dtype=torch.int64), "table.0": torch.zeros(4, 2)}, r"lack 'table\.1'"),
        ({"codes": torch.full((3, 1), 4), "table.0": torch.zeros(4, 2)}, "level 0 has 4 codes"),
    ],
)
def test_a_damaged_file(state: dict[str, torch.Tensor], words: str) -> None:
    """One line that says what is wrong with it."""
    with pytest.raises(UserError, match=words):
        FoldedItems.of_state(state)
