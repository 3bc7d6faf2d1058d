"""``compile=True``: the same model, and one line where there is no compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import recbole_unisid
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.failures import failures_explained

QUICK: dict[str, Any] = {"epochs": 1, "show_progress": False, "use_gpu": False, "compile": True}


@pytest.fixture(scope="module")
def compiler() -> None:
    """The tests that compile are skipped where torch finds nothing to compile with."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        pytest.skip(f"torch.compile finds no working C++ compiler here: {error}")


@pytest.mark.usefixtures("compiler")
def test_compiled_model_is_the_same(ml_mini: Path, in_empty_folder: Path) -> None:
    """Training and evaluation as without, but for rounding; the weights keep their names; another hash."""
    given = QUICK | {"data_path": str(ml_mini), "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
    plain = recbole_unisid.run("ItemID", "ml-mini", given | {"compile": False}, verbose=False)
    compiled = recbole_unisid.run("ItemID", "ml-mini", given, verbose=False)
    assert compiled["run_dir"] != plain["run_dir"]
    assert compiled["history"][0]["loss"] == pytest.approx(plain["history"][0]["loss"], rel=1e-5)
    for metric, value in plain["test"]["full"].items():
        assert compiled["test"]["full"][metric] == pytest.approx(value, abs=2e-3)
    names = [set(_weights(result)) for result in (plain, compiled)]
    assert names[0] == names[1]


def _weights(result: dict[str, Any]) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(Path(result["run_dir"]) / "model.safetensors")


def test_recboles_models_are_not_compiled(ml_mini: Path, in_empty_folder: Path) -> None:
    """Their numbers must not move."""
    with pytest.raises(UserError, match="SASRec does not read compile"):
        recbole_unisid.run("SASRec", "ml-mini", QUICK | {"data_path": str(ml_mini)}, verbose=False)


def test_failed_compilation_is_one_line() -> None:
    """What torch raises without a compiler, and nothing else, is explained."""
    from torch._inductor.exc import InvalidCxxCompiler

    with (
        pytest.raises(UserError, match=r"compile=True failed .*C\+\+ compiler") as caught,
        failures_explained({"model": "ItemID"}),
    ):
        raise InvalidCxxCompiler
    assert "\n" not in str(caught.value)
    with pytest.raises(ZeroDivisionError), failures_explained({"model": "ItemID"}):
        raise ZeroDivisionError
