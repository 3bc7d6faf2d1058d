"""The rules of the house that a machine can check: docstrings, examples, imports, one version."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

import recbole_unisid

PACKAGE = ROOT / "recbole_unisid"
MODULES = sorted(PACKAGE.rglob("*.py"))
#: Checks of numpydoc (its codes): there is a docstring (GL08) with a summary that is a sentence (SS01 to SS04);
#: sections are known, in order and once (GL06, GL07); parameters that need words are those of the signature, in its
#: order, with well-formed types (PR02 to PR10); RT02: a type comes first.
CHECKS = {"GL06", "GL07", "GL08", "SS01", "SS02", "SS03", "SS04", "RT02"}
CHECKS |= {"PR02", "PR03", "PR05", "PR06", "PR09", "PR10"}


Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_names() -> list[str]:
    """Public modules' classes and functions, and the methods that they define."""
    names = []
    for path in MODULES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, (Function, ast.ClassDef)) or node.name.startswith("_"):
                continue
            names.append(f"{module}.{node.name}")
            if isinstance(node, ast.ClassDef):
                names += [f"{names[-1]}.{f.name}" for f in node.body if _is_public_method(f)]
    return names


def _is_public_method(node: ast.stmt) -> bool:
    return isinstance(node, Function) and not node.name.startswith("_")


def inherits_its_docstring(name: str) -> bool:
    """Whether a method has none of its own and one of our base classes says what it does, as `help` then shows."""
    module, _, method = name.rpartition(".")
    module, _, owner = module.rpartition(".")
    kind = getattr(sys.modules.get(module), owner, None)
    if not isinstance(kind, type) or vars(kind)[method].__doc__:
        return False
    bases = (base for base in kind.__mro__[1:] if base.__module__.startswith("recbole_unisid."))
    return any(method in vars(base) and vars(base)[method].__doc__ for base in bases)


def test_public_docstrings() -> None:
    """numpydoc finds nothing by `CHECKS`; a plain sentence without any list of parameters is allowed."""
    validation = pytest.importorskip("numpydoc.validate")
    wrong = []
    for name in public_names():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = validation.validate(name)
        for code, message in found["errors"]:
            if code in CHECKS and not (code == "GL08" and inherits_its_docstring(name)):
                wrong.append(f"{name}: {code} {message}")
    assert not wrong, "\n".join(wrong)


WITH_EXAMPLES = [path for path in MODULES if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_docstring_examples(path: Path, ml_mini: Path, in_empty_folder: Path) -> None:
    """Every ``>>>`` gives what stands below it; ml-100k is a small cut here."""
    folder = in_empty_folder / "dataset" / "ml-100k"
    folder.mkdir(parents=True)
    for kind in ("inter", "item"):
        shutil.copy(ml_mini / "ml-mini" / f"ml-mini.{kind}", folder / f"ml-100k.{kind}")
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0


def test_no_example_is_skipped() -> None:
    """An example that does not run is no example."""
    for path in MODULES:
        assert "doctest: +SKIP" not in path.read_text(encoding="utf-8"), path


def test_imports_run_one_way() -> None:
    """No folder imports a later one, and docs/architecture.svg shows the imports as they are."""
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "architecture.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_only_the_border_imports_recbole() -> None:
    """RecBole is touched in recbole_adapter, and where our models derive from its base class."""
    found = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "recbole" for name in names):
                found.add(path.relative_to(PACKAGE).as_posix())
    outside = {name for name in found if not name.startswith("recbole_adapter/")}
    assert outside == {"models/whole_sequence.py"}


def test_no_file_of_the_package_is_left_out() -> None:
    """setup.cfg lists every folder with modules: a wheel without one would fail at its users'."""
    listed = (ROOT / "setup.cfg").read_text(encoding="utf-8").split()
    for path in MODULES:
        assert ".".join(path.relative_to(ROOT).parent.parts) in listed, path


def test_tables_of_results_are_their_files() -> None:
    """Every table that a page of results/ asks for is what its CSV file holds."""
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "results_tables.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_page_of_results_is_in_the_index() -> None:
    """A question without a row in results/index.md is not found."""
    index = (ROOT / "results" / "index.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "results").glob("*.md")} - {"index.md"}
    assert pages == set(re.findall(r"\]\(([\w-]+\.md)\)", index))


def test_prose_and_table_cells_are_short() -> None:
    """A line of prose or a table cell of README, docs/ or results/ has 300 characters at most."""
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "results").glob("*.md")]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for part in line.split(" | ") if line.startswith("|") else [line]:
                assert len(part) <= 300, f"{path.relative_to(ROOT)}:{number}"


def test_one_version() -> None:
    """CITATION.cff has the package's version; nothing else states one."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == recbole_unisid.__version__
    assert "attr: recbole_unisid.__version__" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors", "license"} <= set(citation)
