"""A model of the user's own is tried before it costs hours: its transformer, items, loss, scores and defaults."""

from __future__ import annotations

import logging
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.errors import UserError
from recbole_unisid.plugins.loading import TRACEBACK
from recbole_unisid.plugins.models import check_transformer

pytestmark = pytest.mark.usefixtures("nothing_in_use")

QUICK = ["--epochs=1", "--show_progress=false"]
HEAD = """
import numpy as np, torch
from torch import nn
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.sequential_recommender import SASRec
from recbole.utils import InputType
from recbole_unisid.items.representation import ItemRepresentation
from recbole_unisid.models.unisid import ItemID

class Bare(SequentialRecommender):
    input_type = InputType.POINTWISE
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.table = nn.Embedding(self.n_items, 8)
    def last(self, batch):
        return self.table(batch[self.ITEM_SEQ][:, 0])
"""
INIT = "def __init__(self, config, dataset):\n  super().__init__(config, dataset)\n  "
LOSS = "def calculate_loss(self, batch): return self.table.weight.pow(2).mean()"
FULL = "def full_sort_predict(self, batch): return self.last(batch) @ self.table.weight.T"
SAMPLED = "--eval_args={split: {LS: valid_and_test}, order: TO, group_by: user, mode: uni100}"
WIDTH = 8

Read = Callable[[nn.Module, torch.Tensor], object]


class Reader(nn.Module):
    """A module of one function and one layer."""

    def __init__(self, read: Read, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.read, self.layer = read, layer or nn.Linear(WIDTH, WIDTH)

    def forward(self, items: torch.Tensor) -> object:
        return self.read(self.layer, items)


class Keeping(nn.Module):
    """It remembers the batch before."""

    before: torch.Tensor | float = 0.0

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        states, self.before = items + self.before, items.detach().mean()
        return states


def attention(first: bool) -> nn.Module:
    """torch's own transformer, with much dropout."""
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.5, batch_first=True, norm_first=first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def causal(encoder: nn.Module, items: torch.Tensor) -> object:
    """Let no state look ahead."""
    return encoder(items, mask=nn.Transformer.generate_square_subsequent_mask(items.shape[1]))


def convolved(padding: tuple[int, int]) -> Read:
    """A convolution over time."""
    return lambda layer, x: layer(functional.pad(x.transpose(1, 2), padding)).transpose(1, 2)


def check(reader: nn.Module, max_len: int = 50) -> None:
    """Try a reader; neither its mode nor the random numbers of the process are touched."""
    before = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[2]  # noqa: NPY002
    mode, state = reader.training, {name: value.clone() for name, value in reader.state_dict().items()}
    try:
        check_transformer("own", reader, WIDTH, max_len)
    finally:
        assert reader.training == mode
        assert all(torch.equal(value, state[name]) for name, value in reader.state_dict().items())
        assert torch.equal(torch.random.get_rng_state(), before[0])
        assert (random.getstate(), np.random.get_state()[2]) == before[1:]  # noqa: NPY002


GRU = nn.GRU(WIDTH, WIDTH, 2, batch_first=True, dropout=0.5)
SOUND: dict[str, nn.Module] = {
    "a layer": Reader(lambda layer, x: layer(x)),
    "causal attention": Reader(causal, attention(first=False)),
    "causal attention, norm first": Reader(causal, attention(first=True)),
    "recurrent": Reader(lambda layer, x: layer(x)[0], GRU),
    "recurrent over time first": Reader(
        lambda layer, x: layer(x.transpose(0, 1))[0].transpose(0, 1), nn.GRU(WIDTH, WIDTH)
    ),
    "convolution of the past": Reader(convolved((2, 0)), nn.Conv1d(WIDTH, WIDTH, 3)),
    "a mean so far": Reader(lambda layer, x: layer(x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None])),
    "layers left out by Python's draws": Reader(
        lambda layer, x: x + layer(x) if not layer.training or random.random() < 0.5 else x
    ),
    "noise of a generator of its own": Reader(
        lambda layer, x: layer(x) + layer.training * torch.rand(x.shape, generator=NOISE)
    ),
    "spectral norm": Reader(
        lambda layer, x: layer(x),
        nn.utils.parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH), n_power_iterations=100),
    ),
    "no gradient in evaluation": Reader(lambda layer, x: layer(x) if layer.training else layer(x).detach()),
    "nothing that can be copied": Reader(lambda layer, x: layer(x) if UNCOPIED else x),
    "very small": Reader(lambda layer, x: layer(x) * 1e-5),
    "always zero": Reader(lambda layer, x: layer(x) * 0),
}
SOUND["nothing that can be copied"].held = (number for number in range(3))  # type: ignore[assignment]
NOISE, UNCOPIED = torch.Generator(), True


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_reader_passes(name: str) -> None:
    """No false alarm: dropout, layers of many kinds, histories of one item."""
    for max_len in (50, 1):
        check(SOUND[name], max_len)
    check(SOUND[name].eval())


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        (Reader(lambda layer, x: layer(x).flip(1).cumsum(1).flip(1)), "looks ahead"),
        (Reader(lambda layer, x: layer(x), attention(first=False)), "looks ahead"),
        (Reader(lambda layer, x: layer(x), attention(first=True)), "looks ahead"),
        (Reader(convolved((1, 1)), nn.Conv1d(WIDTH, WIDTH, 3)), "looks ahead"),
        (Reader(convolved((8, 8)), nn.Conv1d(WIDTH, WIDTH, 3, dilation=8)), "looks ahead"),
        (
            Reader(lambda layer, x: layer(x) + torch.arange(x.shape[1], 0, -1)[:, None]),
            "with how many follow",
        ),
        (Reader(lambda layer, x: layer(x)[0], nn.GRU(WIDTH, WIDTH)), "mixes users.*batch_first"),
        (
            Reader(lambda layer, x: layer(x.transpose(1, 2)).transpose(1, 2), nn.BatchNorm1d(WIDTH)),
            "mixes users",
        ),
        (Reader(lambda layer, x: layer(x.flatten(0, 1)).view_as(x), nn.BatchNorm1d(WIDTH)), "BatchNorm"),
        (Reader(lambda layer, x: layer(x - x.mean(0))), "mixes users"),
        (Reader(lambda layer, x: layer(x) * len(x)), "mixes users in evaluation"),
        (Reader(lambda layer, x: functional.dropout(layer(x))), "random in evaluation"),
        (Keeping(), "keeps something of the batch before"),
        (Reader(lambda layer, x: layer(x), GRU), "makes an object of type tuple.*take the first"),
        (Reader(lambda layer, x: None), r"makes None of .* = \[3, 20, 8\]; a tensor of float32"),
        (Reader(lambda layer, x: layer(x).detach().numpy()), "makes an object of type ndarray"),
        (Reader(lambda layer, x: layer(x).double()), "of float64.*float32"),
        (Reader(lambda layer, x: layer(x)[:, -1]), r"shape \[3, 8\] of .*\[3, 20, 8\]"),
        (Reader(lambda layer, x: layer(x).detach()), "without a gradient"),
        (Reader(lambda layer, x: layer(x) / 0), "makes NaN"),
        (Reader(lambda layer, x: layer(x.add_(layer(x)))), "has no gradient: RuntimeError.*inplace"),
        (Reader(lambda layer, x: layer.absent), "cannot read.*AttributeError"),
        (Reader(lambda layer, x: layer(x), nn.Linear(5, 5)), "cannot read"),
    ],
)
def test_a_reader_is_tried(reader: nn.Module, words: str) -> None:
    """States of float32 in the same shape, each of its own past alone, in training and in evaluation."""
    with pytest.raises(UserError, match=f"Model 'own': its transformer.*{words}"):
        check(reader)


@pytest.mark.parametrize(
    ("base", "body", "words"),
    [
        ("ItemID", "needs = 'token'", "needs = 'token'"),
        (
            "ItemID",
            "needs = 'tokens'",
            "needs tokens, but has no text_encoder, tokenizer, codebook_sizes, collisions: derive it from UniSID",
        ),
        (
            "ItemID",
            "needs = 'vectors'\n defaults = {'text_encoder': 'lsa'}\n"
            " def _item_representation(self, config, dataset): dataset.semantics.codes",
            "There are no codes",
        ),
        ("ItemID", "def __init__(self): 0", "own_part:Own.* fails.*__init__\\(\\) takes 1 positional"),
        (
            "ItemID",
            "def __init__(self, config, dataset): 1 / 0",
            "ZeroDivisionError.*own_part.py, line 19, in __init__",
        ),
        ("ItemID", "def __init__(self, config, dataset): 0", "own_part:Own.* fails.*AttributeError"),
        ("ItemID", INIT + "self.transformer = nn.Linear(5, 5)", "cannot read"),
        ("ItemID", INIT + "self.transformer = None", "its transformer is None"),
        ("ItemID", INIT + "self.transformer = nn.GRU(64, 64)", "object of type tuple"),
        ("ItemID", "def _item_representation(self, config, dataset): 0", "own_part:Own.* fails.*NoneType"),
        ("ItemID", "def _item_representation(self): 0", "_item_representation\\(\\) takes 1 positional"),
        (
            "ItemID",
            "def _item_representation(self, config, dataset): return ItemRepresentation(7, id_width=8)",
            "full_sort_predict fails",
        ),
        (
            "ItemID",
            "def _item_representation(self, config, dataset):\n"
            "  return ItemRepresentation(self.n_items - 1, nn.Embedding(self.n_items, 5), id_width=8)",
            "an Embedding; a SemanticPart is wanted",
        ),
        ("ItemID", "def calculate_loss(self, batch): 0", "gives None; a tensor of one number"),
        (
            "ItemID",
            "def calculate_loss(self, batch): return self.items.all_items().sum(1)",
            r"shape \[610\]",
        ),
        (
            "ItemID",
            "def calculate_loss(self, batch): return super().calculate_loss(batch).item()",
            "type float",
        ),
        (
            "ItemID",
            "def calculate_loss(self, batch): return super().calculate_loss(batch).detach()",
            "without a gradient",
        ),
        (
            "ItemID",
            "def calculate_loss(self): 0",
            r"calculate_loss\(\) takes 1 positional.*own_part:Own, line 19",
        ),
        (
            "ItemID",
            "def full_sort_predict(self, batch): return super().full_sort_predict(batch).T",
            r"\[610, 2\]; a tensor \[2, 610\] is wanted",
        ),
        (
            "SASRec",
            "def full_sort_predict(self, batch): return super().full_sort_predict(batch).T",
            r"\[610, 2\];",
        ),
        (
            "ItemID",
            "def full_sort_predict(self, batch): return super().full_sort_predict(batch)[:, 1:]",
            r"\[2, 609\]",
        ),
        ("ItemID", "def full_sort_predict(self, batch): 0", "full_sort_predict gives None"),
        (
            "ItemID",
            "def full_sort_predict(self, batch): return super().full_sort_predict(batch) * torch.nan",
            "NaN",
        ),
        ("Bare", FULL, "NotImplementedError.*in calculate_loss"),
        ("Bare", LOSS, "neither full_sort_predict nor predict"),
        ("ItemID", "defaults = {'learning_rat': 0.1}", "Did you mean learning_rate"),
        ("ItemID", "defaults = {'n_layers': 'two'}", "defaults, n_layers=two must be a whole number"),
        ("SASRec", "defaults = {'n_layers': 'two'}", "defaults, n_layers=two must be a whole number"),
        ("ItemID", "defaults = {'learner': 'adm'}", "Did you mean adam"),
        ("ItemID", "defaults = {'act': nn.ReLU}", "act=.*a setting is a number"),
        ("ItemID", "defaults = {3: 4}", "no setting that a class can bring"),
        ("ItemID", "defaults = {'recipe': 'sampled99'}", "no setting that a class can bring"),
    ],
)
def test_a_model_is_checked(
    base: str,
    body: str,
    words: str,
    ml_mini: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line and status 2; an error within the user's file says where, and keeps its traceback on demand."""
    Path("own_part.py").write_text(f"{HEAD}\nclass Own({base}):\n {body}\n")
    command = ["run", "--model=own_part:Own", "--dataset=ml-mini", f"--data_path={ml_mini}", *QUICK]
    assert main(command) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("recbole-unisid: ")
    assert re.search(words, error), error
    if "ZeroDivision" in words:
        monkeypatch.setenv(TRACEBACK, "1")
        with pytest.raises(ZeroDivisionError):
            main(command)


@pytest.mark.parametrize(
    ("predict", "words"),
    [
        ("", "predict.*this evaluation asks"),
        ("return (self.last(batch) * self.table(batch[self.ITEM_ID])).sum()", r"predict gives .* shape \[\]"),
        ("return self.last(batch).sum(1, keepdim=True)", r"predict gives .* shape \[\d+, 1\]"),
        ("return (self.last(batch) * self.table(batch[self.ITEM_ID])).sum(1)", ""),
    ],
)
def test_scores_of_sampled_evaluation(
    predict: str, words: str, ml_mini: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RecBole asks `predict` for the sampled candidates; scores of all items may lie in one row."""
    method = f" def predict(self, batch): {predict}\n" if predict else ""
    scores = (
        FULL
        if words
        else FULL.replace(
            "self.last(batch) @ self.table.weight.T", "(self.last(batch) @ self.table.weight.T).flatten()"
        )
    )
    Path("own_part.py").write_text(f"{HEAD}\nclass Own(Bare):\n {LOSS}\n {scores}\n{method}")
    command = ["run", "--model=own_part:Own", "--dataset=ml-mini", f"--data_path={ml_mini}", *QUICK, SAMPLED]
    assert main(command) == (2 if words else 0)
    error = capsys.readouterr().err.strip()
    assert re.search(words, error), error


def test_our_models_have_no_sampled_evaluation(ml_mini: Path) -> None:
    """Nor has a class derived from them: its figures would be those of all items."""
    given = {"data_path": str(ml_mini), "epochs": 1, "eval_args": SAMPLED.partition("=")[2]}
    with pytest.raises(UserError, match="mode uni100 is for RecBole's models"):
        recbole_unisid.run("ItemID", "ml-mini", given, verbose=False)


def test_a_run_of_an_edited_class_is_loaded_with_a_warning(
    ml_mini: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its weights fit, its scores may not: one line says so. A class that scores by itself has no score terms."""
    text = f"{HEAD}\nclass Own(ItemID):\n defaults = {{'id_dim': 8, 'score_terms': []}}\n"
    Path("own_part.py").write_text(text)
    given = {"data_path": str(ml_mini), "epochs": 1, "show_progress": False}
    made = recbole_unisid.run(recbole_unisid.use("own_part:Own"), "ml-mini", given, verbose=False)["run_dir"]
    with caplog.at_level(logging.WARNING):
        recbole_unisid.load(made)
        assert not caplog.records
        Path("own_part.py").write_text(
            text + " def full_sort_predict(self, batch): return -super().full_sort_predict(batch)\n"
        )
        del sys.modules["own_part"]
        recbole_unisid.use(__import__("own_part").Own)
        recbole_unisid.load(made)
    (record,) = caplog.records
    assert "source of 'own_part:Own' was edited" in record.getMessage()


def test_score_terms_that_a_class_would_not_add_are_refused(ml_mini: Path) -> None:
    """Where they are asked for; the default is not."""
    scores = "def full_sort_predict(self, batch): return -super().full_sort_predict(batch)"
    Path("own_part.py").write_text(f"{HEAD}\nclass Own(ItemID):\n {scores}\n")
    given = {"data_path": str(ml_mini), "epochs": 1, "show_progress": False}
    model = recbole_unisid.use("own_part:Own")
    assert recbole_unisid.run(model, "ml-mini", given, verbose=False)["score_terms"] is None
    with pytest.raises(UserError, match="score_terms: own_part:Own has a full_sort_predict of its own"):
        recbole_unisid.run(model, "ml-mini", given | {"score_terms": ["seen"]}, verbose=False)
