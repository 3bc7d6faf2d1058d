"""Data for the tests: a cut of ml-100k from RecBole's wheel, and the real sets where they are at hand."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# Before torch is imported: the threads of two processes on the same cores would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
from hypothesis import Phase, settings
from mirrors import Shelf, no_public_mirrors, servers

from recbole_unisid.plugins import loading as extensions

ROOT = Path(__file__).resolve().parents[1]

# Mutation testing (.ci/mutation.py) wants the same examples each time, and no smaller ones once a mutant is killed.
settings.register_profile("mutation", derandomize=True, phases=[Phase.explicit, Phase.generate])

#: Files whose tests take longest. They come first: a process that starts one last would end after all others.
SLOW = (
    "test_engine_compile.py",
    "test_engine_distributed.py",
    "test_engine_resume.py",
    "test_host_parity.py",
    "test_prepare_mutations.py",
    "test_run_disk.py",
    "test_run_folder.py",
    "test_run_single.py",
    "test_screen.py",
    "test_score_terms.py",
    "test_score_terms_served.py",
    "test_serving_add_items.py",
    "test_tiger_run.py",
    "test_tokens_killed.py",
    "test_tokens_real_data.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow files first; the order within a file stays."""
    items.sort(key=lambda item: item.path.name not in SLOW)


@pytest.fixture(scope="session")
def ml_mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data path with `ml-mini`: 40 users of ml-100k and up to 40 interactions of each."""
    import recbole

    source = Path(recbole.__file__).parent / "dataset_example" / "ml-100k"
    root = tmp_path_factory.mktemp("data")
    folder = root / "ml-mini"
    folder.mkdir()
    head, *lines = (source / "ml-100k.inter").read_text().splitlines()
    kept: dict[str, list[str]] = {}
    for line in lines:
        user = line.split("\t")[0]
        if int(user) <= 40 and len(kept.setdefault(user, [])) < 40:
            kept[user].append(line)
    rows = [line for user in kept for line in kept[user]]
    (folder / "ml-mini.inter").write_text("\n".join([head, *rows]) + "\n")
    (folder / "ml-mini.item").write_text((source / "ml-100k.item").read_text())
    return root


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder with an empty cache, so that nothing is left behind elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.argv", ["pytest"])
    return tmp_path


@pytest.fixture
def nothing_in_use(in_empty_folder: Path) -> Iterator[Path]:
    """A process in which nobody has asked for a class, in an empty folder; undone afterwards."""
    before, path, modules = dict(extensions._in_use), sys.path[:], set(sys.modules)
    extensions._in_use.clear()
    yield in_empty_folder
    extensions._in_use.clear()
    extensions._in_use.update(before)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("own_"):
            del sys.modules[name]


@pytest.fixture(scope="session")
def forkserver() -> Any:
    """Processes that have the package imported already and share nothing else with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["recbole_unisid.runs.api", "recbole_unisid.models.unisid"])
    return context


def real_data_root() -> Path | None:
    """Where the real data sets are: RECBOLE_UNISID_DATA, the checkout's dataset/, or beside the checkout."""
    named = os.environ.get("RECBOLE_UNISID_DATA")
    for root in ([Path(named)] if named else []) + [ROOT / "dataset", ROOT.parent / "shared" / "data"]:
        if (root / "amazon-beauty" / "amazon-beauty.inter").is_file():
            return root
    return None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The data path with the real Amazon sets; the test is skipped where they are not at hand."""
    root = real_data_root()
    if root is None:
        pytest.skip("the real Amazon data is not at hand (dataset/amazon-beauty/ or RECBOLE_UNISID_DATA)")
    return root


#: Models that can be served, with quick settings: tokens in two ways, IDs, text, and one of RecBole's.
SERVED: dict[str, dict[str, Any]] = {
    "UniSID": {"text_encoder": "lsa", "codebook_sizes": [16, 16, 16], "collisions": "none"},
    "SemanticID": {"text_encoder": "lsa", "codebook_sizes": [16, 16, 16], "collisions": "suffix"},
    "ItemID": {"epochs": 20, "learning_rate": 0.01},
    "DenseText": {"text_encoder": "lsa", "id_dim": 8},
    "SASRec": {"train_neg_sample_args": None, "loss_type": "CE"},
}


@pytest.fixture(scope="session")
def served_runs(ml_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of finished runs on `ml-mini`, one a model of `SERVED`, made when first asked for; copy to change."""
    import recbole_unisid

    root = tmp_path_factory.mktemp("served")
    made: dict[str, Path] = {}

    def run(model: str) -> Path:
        if model not in made:
            settings = {
                "data_path": str(ml_mini),
                "output_dir": str(root),
                "cache_dir": str(root / "cache"),
                "epochs": 2,
                "show_progress": False,
            } | SERVED[model]
            result = recbole_unisid.run(model, "ml-mini", settings, verbose=False)
            made[model] = Path(result["run_dir"])
        return made[model]

    return run


def read_by(models: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some settings that a model of a list reads: the others would be refused."""
    from recbole_unisid.recbole_adapter.keys import RUN_KEYS, keys_read
    from recbole_unisid.recbole_adapter.registry import resolve

    read = RUN_KEYS.union(*(keys_read(resolve(model)) for model in models.split(",")))
    return {key: value for key, value in given.items() if key in read}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves this machine."""
    no_public_mirrors(monkeypatch)


@pytest.fixture
def serve() -> Iterator[Callable[..., Shelf]]:
    """Start a server with the options given."""
    with servers() as start:
        yield start


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 users of 1 to 14 interactions with 30 items, tied times among them, in no order."""
    draw = np.random.default_rng(5)
    rows = []
    for user in range(50):
        for item in draw.permutation(30)[: draw.integers(1, 15)]:
            rows.append(f"u{user}\ti{item}\t{draw.integers(1, 6)}\t{draw.integers(0, 60)}")
    draw.shuffle(rows)
    root = tmp_path_factory.mktemp("data")
    (root / "tiny").mkdir()
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (root / "tiny" / "tiny.inter").write_text("\n".join([header, *rows]) + "\n")
    return root
