"""New items in a trained model: tokens of their text, a neutral ID, the old catalogue untouched."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.embeddings.text_recipe import TextRecipe
from recbole_unisid.errors import UserError
from recbole_unisid.files import sha256_of
from recbole_unisid.runs.stored import version_numbers
from recbole_unisid.serving.add_items import add_items, read_new_items

NEW = """\
item_id,movie_title,class,release_year
n1,Fargo,Crime Drama Thriller,1996
n2,Space Sheriff,Sci-Fi Action,1990
"""


@pytest.fixture
def copy_of(served_runs: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a run that may be changed, and ``new.csv`` beside it."""

    def copy(model: str) -> Path:
        shutil.copytree(served_runs(model), tmp_path / "run")
        (tmp_path / "new.csv").write_text(NEW, encoding="utf-8")
        return tmp_path / "run"

    return copy


def test_an_item_file_is_cut_as_the_runs_own_was(tmp_path: Path) -> None:
    """With the run's ``field_separator``."""
    path = tmp_path / "new.item"
    path.write_text("item_id:token|title:token_seq\nn1|Fargo, again\n", encoding="utf-8")
    recipe = TextRecipe("lsa", "key", 8, ["title"])
    new = read_new_items(path, recipe, [], {}, separator="|")
    assert (new.item_ids, new.texts) == (["n1"], ["Fargo, again"])


def files_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("model", ["UniSID", "SemanticID", "DenseText"])
def test_new_items_are_recommended_and_nothing_old_changes(
    model: str, copy_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """By the commands alone: added, found by title, ranked; every old file and every old score stays."""
    folder = copy_of(model)
    before = files_of(folder)
    histories = [np.array([1, 2, 3]), np.arange(5, 60)]
    old = recbole_unisid.load(folder).scores(histories)
    assert main(["add-items", f"--run={folder}", f"--items={folder.parent / 'new.csv'}"]) == 0
    assert "2 items added" in capsys.readouterr().out
    after = files_of(folder)
    assert before.items() <= after.items()
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"catalogue"}
    run = recbole_unisid.load(folder)
    assert (run.catalogue, run.item_ids[-2:]) == (2, ["n1", "n2"])
    assert recbole_unisid.load(folder, catalogue=1).n_items == run.n_items - 2
    np.testing.assert_allclose(run.scores(histories)[:, :-2], old, atol=1e-6, rtol=0)
    arguments = [f"--run={folder}", "--history=Space Sheriff; Toy Story", f"-k={run.n_items}", "--seen=keep"]
    assert main(["recommend", *arguments, "--format=jsonl"]) == 0
    found = [item["item_id"] for item in json.loads(capsys.readouterr().out)["items"]]
    assert {"n1", "n2"} <= set(found)


def test_an_item_of_known_text_has_its_codes(copy_of: Callable[[str], Path]) -> None:
    """The new Fargo has the text of the old one, hence its tokens; of all vectors the old one's is nearest to its."""
    folder = copy_of("UniSID")
    add_items(folder, folder.parent / "new.csv", show_progress=False)
    run = recbole_unisid.load(folder)
    twin, old = run.item_ids.index("n1"), run.item_ids.index("100")
    assert run.codes is not None
    vectors = run.item_vectors
    assert vectors is not None
    assert run.items.texts[twin] == run.items.texts[old]
    assert (run.codes[twin] == run.codes[old]).all()
    items, known = run.model.items, run.stored.catalogue.n_items
    assert items.new_items.neighbours == 10
    apart = np.linalg.norm(vectors[1 : known + 1] - vectors[twin], axis=1)
    assert apart.argmin() + 1 == old
    like = items.new_items.like  # the term of texts
    torch.testing.assert_close(like(torch.tensor([twin])), run.model.terms["text"].vectors[old][None])


def test_a_run_whose_new_items_have_the_mean_id(copy_of: Callable[[str], Path]) -> None:
    """What stood for the setting: tokens of their own, and the mean of all IDs."""
    folder = copy_of("UniSID")
    add_items(folder, folder.parent / "new.csv", show_progress=False)
    run = recbole_unisid.load(folder)
    items, before = run.model.items, run.item_vectors
    items.new_items.neighbours = 0
    numbers = torch.tensor([len(before) - 2, len(before) - 1])
    with torch.no_grad():
        mean = items.ids.weight[1:][~items.untrained[1:]].mean(0)
        torch.testing.assert_close(items(numbers), items.semantic(numbers) + items.lift(mean))
        assert np.abs(items(numbers).numpy() - before[-2:]).max() > 1e-2


def test_versions_build_on_each_other(copy_of: Callable[[str], Path]) -> None:
    """A third version holds the second's items; asking for the second still gives the second."""
    folder = copy_of("SemanticID")
    add_items(folder, folder.parent / "new.csv", show_progress=False)
    second = recbole_unisid.load(folder)
    (folder.parent / "more.jsonl").write_text(
        '{"item_id": "n3", "movie_title": "Space Deputy", "class": "Sci-Fi"}\n'
    )
    added = add_items(folder, folder.parent / "more.jsonl", show_progress=False)
    assert added.items.absent == ["release_year"]
    third = recbole_unisid.load(folder)
    assert version_numbers(folder) == [1, 2, 3]
    assert third.item_ids == [*second.item_ids, "n3"]
    assert second.codes is not None
    assert third.codes is not None
    assert (third.codes[:-1] == second.codes).all()
    again = recbole_unisid.load(folder, catalogue=2)
    assert again.item_ids == second.item_ids
    history = [np.array([second.n_items, 1])]
    np.testing.assert_array_equal(again.scores(history), second.scores(history))


def test_the_root_of_the_categories_is_the_runs(tmp_path: Path) -> None:
    """New items all of one category keep it; the root that the run's items shared is left out."""
    from recbole_unisid.embeddings.text_recipe import TextRecipe
    from recbole_unisid.serving.add_items import read_new_items
    from recbole_unisid.text.item_file import ItemTable
    from recbole_unisid.text.item_text import category_roots

    columns = {"title": ["a", "b"], "categories": ["Shop, Shoes, Red", "Shop, Hats"]}
    types = dict.fromkeys(columns, "token_seq")
    roots = category_roots(ItemTable(["1", "2"], columns, types), ["title", "categories"])
    assert roots == {"categories": "Shop"}
    recipe = TextRecipe("lsa", "key", 8, ["title", "categories"], None, roots)
    table = 'item_id,title,categories\nn1,c,"Shoes, Blue"\nn2,d,"Shoes, Green"\nn3,e,"Shop, Shoes"\n'
    (tmp_path / "new.csv").write_text(table)
    texts = read_new_items(tmp_path / "new.csv", recipe, ["1", "2"], {}).texts
    assert texts == ["c; Shoes; Blue", "d; Shoes; Green", "e; Shoes"]


def test_a_table_with_other_names(copy_of: Callable[[str], Path]) -> None:
    """Columns are found by --columns, in any order, with others between."""
    folder = copy_of("UniSID")
    (folder.parent / "shop.tsv").write_text("genre\tstock\tname\tsku\nCrime\t3\tFargo\tx-1\n")
    columns = ["--columns=item_id=sku,movie_title=name,class=genre", "--show_progress=false"]
    assert main(["add-items", f"--run={folder}", f"--items={folder.parent / 'shop.tsv'}", *columns]) == 0
    run = recbole_unisid.load(folder)
    assert (run.item_ids[-1], run.titles[-1], run.items.texts[-1]) == ("x-1", "Fargo", "Fargo; Crime")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("item_id,movie_title\nn1,A\nn1,B\n", ["'n1' stands twice"]),
        ("item_id,movie_title\n100,A\n", ["'100' is in the catalogue already"]),
        ("item_id,movie_title\n,A\n", ["item 1", "identifier is missing"]),
        ("item_id,movie_title\nn1,A\nn2,  \n", ["item 2", "'n2'", "no text"]),
        ("movie_title,class\nA,B\n", ["no column 'item_id'", "movie_title, class"]),
        ("item_id,colour\nn1,red\n", ["no column 'movie_title'", "colour"]),
        ("item_id,movietitle,class\nn1,A,B\n", ["Did you mean movietitle"]),
        ("item_id,movie_title\nn1,A,B\n", ["1 rows", "wrong number of cells"]),
        ("item_id,movie_title\n", ["no item"]),
        ("", ["column names"]),
    ],
)
def test_bad_tables_are_said_in_one_line(
    table: str, words: list[str], copy_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What, where; nothing is written."""
    folder = copy_of("UniSID")
    (folder.parent / "new.csv").write_text(table)
    assert main(["add-items", f"--run={folder}", f"--items={folder.parent / 'new.csv'}"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert all(word in error[0] for word in words), error
    assert not (folder / "catalogue").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], ["add-items needs --items"]),
        (["--items=absent.csv"], ["absent.csv"]),
        (["--items=new.xls"], ["no file"]),
        (["--items=new.csv", "--columns=title"], ["field=column"]),
        (["--items=new.csv", "--columns=colour=class"], ["no field 'colour'"]),
        (["--items=new.csv", "--columns=class=colour"], ["no column 'colour'"]),
        (["--items=new.csv", "--vectors=v.npy"], ["leave --vectors out"]),
        (["--itmes=new.csv"], ["Did you mean items"]),
    ],
)
def test_bad_arguments(
    more: list[str],
    words: list[str],
    copy_of: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line on standard error and status 2."""
    folder = copy_of("UniSID")
    monkeypatch.chdir(folder.parent)
    assert main(["add-items", f"--run={folder}", *more]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert all(word in error[0] for word in words), error


@pytest.mark.parametrize("model", ["ItemID", "SASRec"])
def test_models_of_numbers_refuse_with_the_reason(model: str, copy_of: Callable[[str], Path]) -> None:
    """An item without training has no meaning to them."""
    folder = copy_of(model)
    with pytest.raises(UserError, match="by number alone"):
        add_items(folder, folder.parent / "new.csv")


def test_another_encoder_is_not_taken_for_the_runs(copy_of: Callable[[str], Path]) -> None:
    """Changed texts would teach LSA other terms: its key tells."""
    from recbole_unisid.embeddings.text_recipe import TextRecipe

    folder = copy_of("UniSID")
    recipe = recbole_unisid.load(folder).stored.recipe
    assert recipe is not None
    assert TextRecipe(**json.loads(json.dumps(asdict(recipe)))) == recipe
    with pytest.raises(UserError, match="not the run's"):
        recipe.encode(["a text"], ["n1"], ["some other corpus"], folder)


def test_vectors_from_a_file(ml_mini: Path, in_empty_folder: Path) -> None:
    """A run on ready-made vectors takes those of new items from a file, of the same width."""
    rng = np.random.default_rng(0)
    items = [
        line.split("\t")[0] for line in (ml_mini / "ml-mini" / "ml-mini.item").read_text().splitlines()[1:]
    ]

    def vectors(name: str, ids: list[str], width: int) -> str:
        np.save(f"{name}.npy", rng.standard_normal((len(ids), width), dtype=np.float32))
        Path(f"{name}.ids.txt").write_text("\n".join(ids) + "\n")
        return f"{name}.npy"

    settings = {
        "data_path": str(ml_mini),
        "text_encoder": vectors("old", items, 24),
        "codebook_sizes": [8, 8],
        "distances": ["cosine", "euclidean"],
        "epochs": 1,
        "show_progress": False,
    }
    folder = Path(recbole_unisid.run("UniSID", "ml-mini", settings, verbose=False)["run_dir"])
    Path("new.csv").write_text("item_id,movie_title\nn1,New One\n")
    with pytest.raises(UserError, match="--vectors"):
        add_items(folder, "new.csv", show_progress=False)
    with pytest.raises(UserError, match="wide"):
        add_items(folder, "new.csv", vectors=vectors("wide", ["n1"], 25), show_progress=False)
    with pytest.raises(UserError, match="none of"):
        add_items(folder, "new.csv", vectors=vectors("other", ["n9"], 24), show_progress=False)
    add_items(folder, "new.csv", vectors=vectors("new", ["n0", "n1"], 24), show_progress=False)
    assert recbole_unisid.load(folder).titles[-1] == "New One"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("name", ["items.tsv", "tokens.tsv", "vectors.safetensors", "serving.json"])
def test_damaged_versions_are_refused_and_nothing_runs(name: str, copy_of: Callable[[str], Path]) -> None:
    """A version cut short, or a pickle in a file's place; the catalogue as trained still loads."""
    folder = copy_of("DenseText" if name == "vectors.safetensors" else "UniSID")
    add_items(folder, folder.parent / "new.csv", show_progress=False)
    path = folder / "catalogue" / "2" / name
    whole = path.read_bytes()
    cut(path)
    with pytest.raises(UserError, match=name.split(".")[0]):
        recbole_unisid.load(folder)
    path.write_bytes(pickle.dumps(Path(__file__)))
    with pytest.raises(UserError):
        recbole_unisid.load(folder)
    assert recbole_unisid.load(folder, catalogue=1).catalogue == 1
    path.write_bytes(whole)
    assert recbole_unisid.load(folder).catalogue == 2


def test_an_addition_that_is_stopped_leaves_no_version(
    copy_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop before the last step leaves the catalogue as it was, and the next call succeeds."""
    from recbole_unisid.runs import stored

    folder = copy_of("UniSID")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stored.os, "rename", stopped)
        with pytest.raises(KeyboardInterrupt):
            add_items(folder, folder.parent / "new.csv", show_progress=False)
    assert list((folder / "catalogue").iterdir()) == []
    assert recbole_unisid.load(folder).catalogue == 1
    assert add_items(folder, folder.parent / "new.csv", show_progress=False).version.number == 2


def _add_and_die(folder: str, step: int) -> None:
    """Add items in a process that kills itself before the n-th file or folder takes its name."""
    steps = itertools.count(1)

    def count(event: str, _: object) -> None:
        if event == "os.rename" and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    add_items(folder, Path(folder).parent / "new.csv", show_progress=False)


def test_an_addition_that_is_killed_leaves_no_version(
    copy_of: Callable[[str], Path], forkserver: Any
) -> None:
    """Before the first, second, fourth ... of its files has its name; the next addition succeeds, all is whole."""
    folder = copy_of("UniSID")
    before = files_of(folder)
    killed, ended = 0, False
    while not ended:
        process = forkserver.Process(target=_add_and_die, args=(str(folder), 2**killed))
        process.start()
        process.join()
        ended = process.exitcode == 0
        if not ended:
            assert process.exitcode == -signal.SIGKILL
            killed += 1
            assert recbole_unisid.load(folder).catalogue == 1
    assert killed > 1
    after = files_of(folder)
    assert before.items() <= after.items()
    assert all(name.startswith("catalogue/2/") for name in after.keys() - before.keys())
    assert version_numbers(folder) == [1, 2]


def test_items_added_by_another_command_meanwhile_are_kept(
    copy_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was begun on version 1 is no version 3, which would lack the items of version 2."""
    folder = copy_of("UniSID")
    head, *rows = NEW.splitlines()
    for number, row in enumerate(rows[:2]):
        (folder.parent / f"{number}.csv").write_text(f"{head}\n{row}\n", encoding="utf-8")
    encode = TextRecipe.encode

    def while_encoding(self: TextRecipe, *given: Any) -> Any:
        monkeypatch.setattr(TextRecipe, "encode", encode)
        add_items(folder, folder.parent / "0.csv", show_progress=False)
        return encode(self, *given)

    monkeypatch.setattr(TextRecipe, "encode", while_encoding)
    with pytest.raises(UserError, match="made by another process meanwhile; add the items again"):
        add_items(folder, folder.parent / "1.csv", show_progress=False)
    assert version_numbers(folder) == [1, 2]
    add_items(folder, folder.parent / "1.csv", show_progress=False)
    assert recbole_unisid.load(folder).n_items == recbole_unisid.load(folder, catalogue=1).n_items + 2


def test_a_version_of_other_weights_is_refused(copy_of: Callable[[str], Path], tmp_path: Path) -> None:
    """A catalogue folder copied to another run would give its items meaningless codes."""
    folder = copy_of("UniSID")
    add_items(folder, folder.parent / "new.csv", show_progress=False)
    shutil.copytree(folder, tmp_path / "other")
    manifest = json.loads((tmp_path / "other" / "catalogue" / "2" / "serving.json").read_text())
    manifest["weights"] = "0" * 64
    del manifest["fingerprint"]
    (tmp_path / "other" / "catalogue" / "2" / "serving.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="other weights"):
        recbole_unisid.load(tmp_path / "other")
