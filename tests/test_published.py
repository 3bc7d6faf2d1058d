"""BSARec and WEARec against formulations of their own: Fourier sums, attention and wavelets in plain loops."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.errors import UserError
from recbole_unisid.models.published import BSARec, PublishedRecommender, WEARec, fourier_basis

Array = NDArray[np.float64]
ITEMS = 30


def make(kind: type[PublishedRecommender], length: int, **more: Any) -> Any:
    """A small model with weights far from their start, so that every term counts."""
    config = {"hidden_size": 8, "inner_size": 12, "n_layers": 2, "n_heads": 2, "layer_norm_eps": 1e-12}
    config |= {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "initializer_range": 0.5}
    config |= {"filter_mix": 0.7, "filter_cutoff": 5, "MAX_ITEM_LIST_LENGTH": length, "device": "cpu"}
    config |= {
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "LIST_SUFFIX": "_list",
        "NEG_PREFIX": "neg_",
    }
    torch.manual_seed(3)
    model = kind(
        config | {"ITEM_LIST_LENGTH_FIELD": "item_length"} | more, SimpleNamespace(num=lambda _: ITEMS)
    )
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:
                weight += 0.3 * torch.randn_like(weight)
    return model


def rows(length: int) -> dict[str, torch.Tensor]:
    """Histories of every length, padded on the right as RecBole does, with targets."""
    lengths = torch.arange(1, length + 1)
    items = torch.randint(1, ITEMS, (length, length)) * (torch.arange(length) < lengths[:, None])
    return {"item_id_list": items, "item_length": lengths, "item_id": torch.randint(1, ITEMS, (length,))}


def norm(x: Array, layer: Any) -> Array:
    """Layer norm of each row."""
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    return scaled * array(layer.weight) + array(layer.bias)


def linear(x: Array, layer: Any) -> Array:
    """A linear layer."""
    return x @ array(layer.weight).T + array(layer.bias)


def gelu(x: Array) -> Array:
    """The exact GELU."""
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def array(tensor: torch.Tensor) -> Array:
    """Float64."""
    return tensor.detach().numpy().astype(np.float64)


def transform(length: int) -> NDArray[np.complex128]:
    """The unitary discrete Fourier transform as a matrix [frequency, position]."""
    place = np.arange(length)
    return np.exp(-2j * np.pi * np.outer(place, place) / length) / np.sqrt(length)


def bsarec_mix(block: Any, x: Array, items: list[int], cutoff: int) -> Array:
    """The filter beside attention, position by position."""
    length, width = x.shape
    dft = transform(length)
    passing = [min(f, length - f) <= cutoff // 2 for f in range(length)]  # a frequency and its mirror
    low = (dft.conj().T @ (np.array(passing)[:, None] * (dft @ x))).real
    filtered = norm(x + low + array(block.beta) ** 2 * (x - low), block.filter_norm)
    query, key, value = np.split(linear(x, block.query_key_value), 3, axis=1)
    size, context = width // block.heads, np.zeros_like(x)
    for head in range(block.heads):
        own = slice(head * size, (head + 1) * size)
        for i in range(length):
            seen = [j for j in range(i + 1) if items[j]] if items[i] else list(range(length))
            scores = np.array([query[i, own] @ key[j, own] / math.sqrt(size) for j in seen])
            weights = np.exp(scores - scores.max())
            for j, weight in zip(seen, weights / weights.sum(), strict=True):
                context[i, own] += weight * value[j, own]
    attended = norm(x + linear(context, block.output), block.attention_norm)
    return block.share * filtered + (1 - block.share) * attended


def wearec_mix(block: Any, x: Array) -> Array:
    """The adaptive filter by NumPy's FFT beside the Haar wavelet, pair by pair."""
    length, width = x.shape
    size, count = width // block.heads, length // 2 + 1
    hidden = gelu(linear(x.mean(0), block.adapt[0]))
    scale, shift = linear(hidden, block.adapt[2]).reshape(block.heads, count, 2).transpose(2, 0, 1)
    coefficients = np.fft.rfft(x, axis=0, norm="ortho")
    for channel in range(width):
        head = channel // size
        gain = array(block.gain)[head] * (1 + scale[head])
        coefficients[:, channel] = coefficients[:, channel] * gain + array(block.bias)[head] + shift[head]
    filtered = np.fft.irfft(coefficients, n=length, axis=0, norm="ortho")
    local = np.zeros_like(x)
    for pair in range(length // 2):
        first, second = x[2 * pair], x[2 * pair + 1]
        detail = (first - second) / 2 * array(block.detail)[pair]
        local[2 * pair], local[2 * pair + 1] = (first + second) / 2 + detail, (first + second) / 2 - detail
    return norm(x + block.share * filtered + (1 - block.share) * local, block.filter_norm)


@pytest.mark.parametrize(
    ("kind", "length", "more"),
    [
        (BSARec, 10, {}),
        (BSARec, 7, {"n_heads": 1, "filter_cutoff": 2, "filter_mix": 0.3}),
        (BSARec, 6, {"filter_cutoff": 99, "n_layers": 1}),
        (WEARec, 10, {}),
        (WEARec, 6, {"n_heads": 4, "n_layers": 3, "filter_mix": 0.2}),
    ],
)
def test_the_forward_pass_is_the_published_one(
    kind: type[PublishedRecommender], length: int, more: dict[str, Any]
) -> None:
    """Every position of every row is computed here, padding on the left with it; there, what is asked for alone."""
    model, batch = make(kind, length, **more), rows(length)
    cutoff = more.get("filter_cutoff", 5)
    expected = []
    for row, count in zip(batch["item_id_list"].tolist(), batch["item_length"].tolist(), strict=True):
        items = [0] * (length - count) + row[:count]
        x = norm(array(model.item_embedding.weight)[items] + array(model.positions.weight), model.norm)
        for block in model.blocks:
            x = bsarec_mix(block, x, items, cutoff) if kind is BSARec else wearec_mix(block, x)
            inner = gelu(linear(x, block.feed_forward[0]))
            x = norm(x + linear(inner, block.feed_forward[2]), block.norm)
        expected.append(x[-1])
    states = model.eval()(batch)
    torch.testing.assert_close(states, torch.tensor(np.array(expected)).float(), rtol=1e-5, atol=1e-5)
    short = {"item_id_list": batch["item_id_list"][:3, :3], "item_length": batch["item_length"][:3]}
    torch.testing.assert_close(model(short), states[:3])


@pytest.mark.parametrize("length", [1, 2, 7, 50])
def test_the_basis_is_the_real_fourier_transform(length: int) -> None:
    """Orthonormal, and its first rows the lowest frequencies."""
    basis, signal = fourier_basis(length).double(), torch.randn(length, 3, dtype=torch.float64)
    torch.testing.assert_close(basis @ basis.T, torch.eye(length, dtype=torch.float64), rtol=0, atol=1e-6)
    spectrum = torch.fft.rfft(signal, dim=0)
    spectrum[2:] = 0
    low = basis[:3].T @ (basis[:3] @ signal)
    torch.testing.assert_close(low, torch.fft.irfft(spectrum, n=length, dim=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [BSARec, WEARec])
def test_loss_and_scores_are_of_all_items_but_padding(kind: type[PublishedRecommender]) -> None:
    """Cross-entropy and its gradients; a padding vector of zeros stays one."""
    model, batch = make(kind, 6), rows(6)
    scores = model.full_sort_predict(batch)
    plain = functional.cross_entropy(scores[:, 1:], batch["item_id"] - 1)
    wanted = torch.autograd.grad(plain, list(model.parameters()))
    loss = model.calculate_loss(batch)
    found = torch.autograd.grad(loss, list(model.parameters()))
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):  # enable_amp
        torch.testing.assert_close(model.calculate_loss(batch), plain, rtol=0.05, atol=0)
    assert not found[0][0].any()
    assert not model.item_embedding.weight[0].any()
    torch.testing.assert_close(model.predict(batch), scores.gather(1, batch["item_id"][:, None])[:, 0])


def test_what_does_not_fit_is_refused() -> None:
    """In a line that names the setting."""
    with pytest.raises(UserError, match="n_heads=3 must divide hidden_size=8"):
        make(BSARec, 6, n_heads=3)
    with pytest.raises(UserError, match="MAX_ITEM_LIST_LENGTH=7 must be even"):
        make(WEARec, 7)


@pytest.mark.parametrize("model", ["BSARec", "WEARec"])
def test_a_run_learns_and_recommends(
    model: str, ml_mini: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Like every model: the same seed gives the same figures, a folder that recommends, and a refusal to export."""
    given = {"data_path": str(ml_mini), "epochs": 3, "MAX_ITEM_LIST_LENGTH": 10, "show_progress": False}
    given |= {"learning_rate": 0.01, "hidden_dropout_prob": 0.1}
    result = recbole_unisid.run(model, "ml-mini", given, verbose=False)
    again = recbole_unisid.run(model, "ml-mini", given | {"output_dir": "again"}, verbose=False)
    assert again["test"] == result["test"]
    losses = [epoch["loss"] for epoch in result["history"]]
    assert losses[2] < losses[1] < losses[0]
    assert result["parameters"]["tokens"] == 64 * result["data"]["items"]
    run = recbole_unisid.load(result["run_dir"])
    few, many = (run.scores([np.arange(1, 4)] * n) for n in (1, 2))
    assert few[0] == pytest.approx(many[1], abs=1e-5)
    asked = ["recommend", f"--run={result['run_dir']}", f"--history={run.item_ids[1]}", "-k", "3"]
    assert main(asked) == 0
    capsys.readouterr()
    assert main(["export", f"--run={result['run_dir']}", "--to=exported"]) == 2
    said = capsys.readouterr().err.strip()
    assert "no item vectors to export" in said
    assert "\n" not in said
    assert not Path("exported").exists()
