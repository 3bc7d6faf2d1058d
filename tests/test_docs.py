"""README and docs/: every snippet runs, every command is one, every link leads somewhere."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from documents import Block, blocks, commands, pages

import recbole_unisid
from recbole_unisid.commands import options
from recbole_unisid.commands.main import SUBCOMMANDS, main
from recbole_unisid.commands.options import parse_options
from recbole_unisid.config.given import parsed
from recbole_unisid.errors import UserError
from recbole_unisid.plugins import loading as extensions
from recbole_unisid.recbole_adapter.keys import RUN_KEYS, check_read
from recbole_unisid.recbole_adapter.registry import resolve

#: Python blocks that need more than a small data set: their page, words in them, and the test that runs them.
RUN_ELSEWHERE = {
    "README.md": ("recbole_unisid.serving", "test_serving_readme.py"),
    "docs/product.md": ("recbole_unisid.load(", "test_serving_docs.py"),
    "docs/serving.md": ("from recommender import", "test_serving_docs.py"),
}
#: The longest that an example of "writing your own" may be.
EXAMPLE_LINES = 40

PAGES = [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages()]


@pytest.fixture
def reader(ml_mini: Path, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Someone in an empty folder with a small set that is called ml-100k, and no class in use."""
    folder = in_empty_folder / "dataset" / "ml-100k"
    folder.mkdir(parents=True)
    for kind in ("inter", "item"):
        shutil.copy(ml_mini / "ml-mini" / f"ml-mini.{kind}", folder / f"ml-100k.{kind}")
    monkeypatch.setattr(extensions, "_in_use", {})
    monkeypatch.setattr(sys, "path", sys.path[:])
    modules = set(sys.modules)
    yield in_empty_folder
    for name in set(sys.modules) - modules:
        if name.startswith("my_"):
            del sys.modules[name]


def elsewhere(block: Block) -> str | None:
    """The test file that runs a block in this one's stead."""
    words, test = RUN_ELSEWHERE.get(block.page, ("", None))
    return test if words in block.text else None


@pytest.mark.parametrize("page", PAGES)
def test_python_runs(page: Path, reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks run one after the other; one with a title is a file, and the commands below it are given."""
    names: dict[str, Any] = {"__name__": "page"}
    below_a_file = False
    for block in blocks(page):
        if block.language == "python" and block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            test = elsewhere(block)
            if test is None:
                exec(compile(block.text, block.name, "exec"), names)
            else:
                reading = (ROOT / "tests" / test).read_text(encoding="utf-8")
                assert page.name in reading, f"{block.name} is to be run by {test}"
        elif block.language == "sh" and below_a_file:
            for command in commands_of(block, page):
                assert main(command) == 0, f"{block.name}: {capsys.readouterr().err}"
        below_a_file = block.title != ""


def commands_of(block: Block, page: Path) -> list[list[str]]:
    """The commands of a page that stand in one of its blocks."""
    return [command for command in commands(page) if " ".join(command) in block.text.replace('"', "")]


def test_examples_are_short_and_complete() -> None:
    """The extension examples: under forty lines each, and each has a command below it."""
    page = ROOT / "docs" / "extending.md"
    found = blocks(page)
    files = [k for k, block in enumerate(found) if block.title]
    assert [found[k].title for k in files] == [
        "my_tokenizer.py",
        "my_items.py",
        "my_loss.py",
        "my_term.py",
        "my_model.py",
        "my_encoder.py",
    ]
    for k in files:
        assert len(found[k].text.splitlines()) < EXAMPLE_LINES, found[k].name
        assert found[k + 1].language == "sh"
        assert commands_of(found[k + 1], page)


class Parsed(Exception):
    """The options of a command are known ones; nothing more is done."""


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_commands(page: Path, reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real parsers take every command of a page; `run` and `tokenize` know its settings and models."""
    for block in blocks(page):
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")

    refuse_unknown = options.refuse_unknown

    def only_refuse(given: Any, known: Any, command: str) -> None:
        refuse_unknown(given, known, command)
        raise Parsed

    monkeypatch.setattr(options, "refuse_unknown", only_refuse)
    for command in commands(page):
        name, arguments = command[0], [word for word in command[1:] if word not in {"...", "NAME"}]
        if name == "SUBCOMMAND":
            continue
        assert name in SUBCOMMANDS, command
        module = importlib.import_module(f"recbole_unisid.commands.{SUBCOMMANDS[name][0]}")
        if name not in ("run", "tokenize"):
            with pytest.raises(Parsed):
                module.main(options.take_extensions(arguments))
        else:
            check_settings(arguments)


def check_settings(arguments: list[str]) -> None:
    """What `run` and `tokenize` check before any work: names of models, keys of settings."""
    given = parse_options(options.take_extensions(arguments))
    given.pop("list_models", None)
    given.pop("help", None)
    models = given.pop("model", "UniSID").split(",")
    for model in models:
        extensions.use_named(model, given)
    settings = {key: value for key, value in parsed(given).items() if key not in RUN_KEYS}
    check_read(settings, [resolve(model) for model in models])


def test_a_wrong_command_would_fail(reader: Path) -> None:
    """The check above is one: a misspelt setting, model or option does not pass."""
    for wrong in (["--learning_rat=1"], ["--model=UniSIDs"]):
        with pytest.raises(UserError, match="Did you mean"):
            check_settings(wrong)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: Path) -> None:
    """Files exist in the checkout and headings on their pages; other sites are not asked."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.M)
            assert heading in {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}, target


@pytest.mark.parametrize("page", PAGES)
def test_functions_that_are_named_exist(page: Path) -> None:
    """``path.py: name`` in a page names a file below the package (or checkout) and something in it."""
    for path, names in re.findall(r"`([\w/]+\.py): ([\w., ]+)`", page.read_text(encoding="utf-8")):
        file = next(
            (base / path for base in (ROOT / "recbole_unisid", ROOT) if (base / path).is_file()), None
        )
        assert file is not None, f"{page.name}: {path}"
        source = file.read_text(encoding="utf-8")
        for name in re.split(r"[., ]+", names):
            assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b.* = ", source, re.M), (
                f"{page.name}: {path}: {name}"
            )


def test_pages_that_the_code_names_exist() -> None:
    """A docstring or a setting's description that sends the reader to a page of ``docs/`` or ``results/``."""
    files = [
        path
        for folder in ("recbole_unisid", "properties", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".yaml"}
    ]
    found = {
        (path.relative_to(ROOT).as_posix(), page)
        for path in files
        for page in re.findall(r"\b(?:docs|results)/[\w-]+\.md\b", path.read_text(encoding="utf-8"))
    }
    assert len(found) > 20
    assert [named for named in sorted(found) if not (ROOT / named[1]).is_file()] == []


def test_every_page_has_a_place() -> None:
    """The site's navigation names every page of docs/."""
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f": {page.name}\n" in listed, f"add {page.name} to the nav of mkdocs.yml"


def test_the_site_builds(tmp_path: Path) -> None:
    """``mkdocs build --strict``: no page, link or heading is missing; nothing comes from another site."""
    pytest.importorskip("material", reason="the site needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "extending" / "index.html").read_text(encoding="utf-8")
    assert "FadingUniSID" in page
    assert not re.findall(r'<(?:script|link)[^>]+(?:src|href)="https?://', page)


def test_the_readme_is_short() -> None:
    """Under 150 lines."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def test_the_python_interface_is_whole() -> None:
    """Every public name stands on docs/api.md, and every name there is one that has a docstring."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    found = [pkgutil.resolve_name(re.sub(r"\.(\w+)$", r":\1", name)) for name in named]
    assert all(one.__doc__ for one in found)
    public = set(recbole_unisid.__all__) - {"__version__"}
    assert all(getattr(recbole_unisid, name) in found for name in public)
