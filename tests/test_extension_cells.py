"""Classes of a notebook's cells: hashed by what they do, since they have no file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import recbole_unisid
from recbole_unisid.embeddings import encode_texts
from recbole_unisid.plugins import loading as extensions

pytestmark = pytest.mark.usefixtures("nothing_in_use")


def code(reference: str) -> str:
    """The hash of a class's source."""
    return extensions.code_of([reference])[reference]


LOOSE = """
from functools import cached_property, lru_cache, partial, partialmethod
class Above:
    @classmethod
    def tell(cls): return 13
class Loose:
    known = {"a", "b"}
    width = 2
    def encode(self, texts): return [[len(text)] * self.width for text in texts]
    @property
    def half(self): return 1
    @cached_property
    def third(self): return 1
    @staticmethod
    def fourth(text): return text in {"c", "d", "e"}
    @lru_cache
    def fifth(self, more=3): return lambda: (more, 1)
    sixth = partial(sorted, 10, sep="-")
    def seventh(self, more): return more * 7
    eighth = partialmethod(seventh, 11)
    ninth = Above.tell
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("width = 2", "width = 3"),
        ("len(text)", "len(text) + 1"),
        ("def half(self): return 1", "def half(self): return 2"),
        ("def third(self): return 1", "def third(self): return 2"),
        ('"d", "e"', '"d", "f"'),
        ('{"a", "b"}', '{"a", "c"}'),
        ("more=3", "more=4"),
        ("(more, 1)", "(more, 2)"),
        ("fifth(self, more", "fifth(self, less=1, more"),
        ("sorted, 10", "sorted, 11"),
        ('sep="-"', 'sep="+"'),
        ('sep="-"', 'end="-"'),
        ("partial(sorted", "partial(Above.tell"),
        ("seventh, 11", "seventh, 12"),
        ("partialmethod(seventh", "partialmethod(fifth"),
        ("more * 7", "more * 8"),
        ("return 13", "return 14"),
    ],
)
def test_a_cell_of_one_class(old: str, new: str) -> None:
    """A class without a file is hashed by what it consists of, whatever stands above it; no name is new by an edit."""

    def typed(text: str) -> str:
        made: dict[str, type] = {"__name__": "own_cell"}  # type: ignore[dict-item]
        exec(text, made)
        return extensions.code_fingerprint(made["Loose"])

    assert typed(LOOSE) == typed(f"\n\n{LOOSE}") != typed(LOOSE.replace(old, new))


def test_the_same_cell_in_another_process() -> None:
    """No address, no order of a set belongs to the hash."""
    script = "import sys; from recbole_unisid.plugins import loading as extensions; made = {'__name__': 'own_cell'}\n"
    script += f"exec({LOOSE!r}, made); print(extensions.code_fingerprint(made['Loose']))"
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(said) == 1


def test_the_name_means_the_class_of_the_latest_cell(tmp_path: Path) -> None:
    """A class defined anew under its name, or of a reloaded module, is the one that the name stands for."""
    sys.modules["own_notebook"] = notebook = ModuleType("own_notebook")
    for value in (1.0, 2.0):
        exec(f"class One:\n    def encode(self, texts): return [[{value}]] * len(texts)\n", vars(notebook))
        name = recbole_unisid.use(notebook.One if value == 1 else "own_notebook:One")
        assert encode_texts(["a"], name, tmp_path).tolist() == [[value]]


CELL = """
import functools, torch
SCALE = 2.0
def scaled(x): return x * SCALE
class Layer(torch.nn.Module):
    def forward(self, x): return scaled(x) if x.sum() in {1, 2} else [x for _ in range(3)]
class Cell:
    defaults = {"fade": 0.8}
    def __init__(self, width=3): self.layer = Layer()
    @property
    def name(self): return "a"
    @functools.cached_property
    def kept(self): return "k"
    @functools.lru_cache
    def looked_up(self): return "l"
    @staticmethod
    def twice(x): return (lambda: x * 2)()
"""


def cell(old: str = "", new: str = "", count: int = 1) -> str:
    """The hash of the class of a notebook, of which some text is replaced."""
    namespace: dict[str, Any] = {"__name__": "own_cell"}
    exec(CELL.replace(old, new, count), namespace)
    recbole_unisid.use(namespace["Cell"])
    return code("own_cell:Cell")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.8", "0.9"),
        ("width=3", "width=4"),
        ('"a"', '"b"'),
        ("x * 2", "x * 3"),
        ('"k"', '"n"'),
        ('"l"', '"n"'),
        ("SCALE = 2.0", "SCALE = 2.5"),
        ("x * SCALE", "x / SCALE"),
        ("{1, 2}", "{1, 3}"),
        ("range(3)", "range(4)"),
        ("torch.nn.Module", "torch.nn.Identity"),
    ],
)
def test_an_edited_cell_is_another_class(old: str, new: str) -> None:
    """A class without a file is hashed by what it does, and by what it names beside it."""
    assert cell() == cell() == cell("\n", "\n\n", 99)
    assert cell(old, new) != cell()
