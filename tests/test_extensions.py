"""Classes of the user's own: named, checked, hashed, and imported for nobody who did not ask."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.config.given import take_models
from recbole_unisid.embeddings import encode_texts
from recbole_unisid.errors import UserError
from recbole_unisid.plugins import loading as extensions
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.registry import resolve
from recbole_unisid.tokens import build_tokenizer, load_tokenizer, tokenize_items

pytestmark = pytest.mark.usefixtures("nothing_in_use")

QUICK = ["--text_encoder=lsa", "--codebook_sizes=[8,8,8]", "--epochs=1", "--show_progress=false"]
TOKENIZER = """
import numpy as np
from recbole_unisid.tokens import Tokenizer
from recbole_unisid.tokens.tokenizer import additive_codebooks

class Signs(Tokenizer):
    only_distance = "sign"
    def __init__(self, codebook_sizes, distances=None, seed=2020, first=0):
        super().__init__(codebook_sizes, distances, seed)
        self.first = first
    def options(self):
        return {"first": self.first}
    def choose_codes(self, latents):
        return (latents[:, self.first : self.first + len(self.codebook_sizes)] > 0).astype(np.int64)
    def _fit(self, vectors, item_ids, show_progress):
        latents = self.latents(vectors)
        self.codebooks = additive_codebooks(latents, self.choose_codes(latents), self.codebook_sizes)

class Half(Tokenizer):
    pass
"""


MODEL = "from recbole_unisid.models.unisid import UniSID\nclass X(UniSID):\n"


def write(name: str, text: str) -> None:
    """Write a module, and forget the one of that name."""
    Path(f"{name}.py").write_text(text)
    sys.modules.pop(name, None)


def code(reference: str) -> str:
    """The hash of a class's source."""
    return extensions.code_of([reference])[reference]


def test_a_tokenizer_is_saved_and_read_by_who_asks_alone(tmp_path: Path) -> None:
    """Fitted, cached and loaded with its settings; a file that names it imports nothing."""
    write("own_signs", TOKENIZER)
    vectors = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    items = [str(k) for k in range(20)]
    with pytest.raises(UserError, match="--use=own_signs:Signs"):
        build_tokenizer("own_signs:Signs", [2, 2])
    assert "own_signs" not in sys.modules
    recbole_unisid.use("own_signs:Signs")
    made = tokenize_items(vectors, items, "own_signs:Signs", [2, 2], cache_dir=tmp_path / "tokens", first=3)
    assert np.array_equal(made.codes, vectors[:, 3:5] > vectors[:, 3:5].mean(axis=0))
    (folder,) = (tmp_path / "tokens").iterdir()
    assert folder.name.startswith("Signs-")
    assert np.array_equal(load_tokenizer(folder).encode(vectors), made.codes)
    assert made.health["name"] == "own_signs:Signs"
    extensions._in_use.clear()
    del sys.modules["own_signs"]
    with pytest.raises(UserError, match="no file may import"):
        load_tokenizer(folder)
    assert "own_signs" not in sys.modules


def test_an_edited_class_is_another_one(tmp_path: Path) -> None:
    """The hash of a run and the caches follow the source, that of an ancestor too."""
    write("own_signs", TOKENIZER)
    write("own_child", "import own_signs\nclass Child(own_signs.Signs):\n    pass\n")
    recbole_unisid.use("own_child:Child")
    first = code("own_child:Child")
    settings = {"tokenizer": "own_child:Child", "text_encoder": "lsa"}
    hashed = UniSIDConfig("UniSID", "ml-100k", settings=settings).hashed()
    assert hashed["code"] == {"own_child:Child": first}
    assert "code" not in UniSIDConfig("UniSID", "ml-100k").hashed()
    write("own_signs", TOKENIZER + "\n# edited\n")
    assert code("own_child:Child") == first  # what is in memory is what was read
    with pytest.raises(UserError, match=r"own_signs:Signs.*edited since .* importlib.reload\(own_signs\)"):
        recbole_unisid.use("own_child:Child")
    importlib.reload(importlib.import_module("own_signs"))
    importlib.reload(sys.modules["own_child"])
    recbole_unisid.use("own_child:Child")
    assert code("own_child:Child") != first


def test_a_config_file_imports_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A class in a YAML file is refused by one line; ``--use`` is the reader's word for it."""
    write("own_mark", "from pathlib import Path\nPath('imported').touch()\n" + TOKENIZER)
    Path("given.yaml").write_text("tokenizer: own_mark:Signs\n")
    tokenize = ["tokenize", "--dataset=ml-100k", *QUICK[:2]]
    assert main(["run", "--config_files=given.yaml", *QUICK]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "own_mark:Signs" in error
    assert "--use=" in error
    assert not Path("imported").exists()
    with pytest.raises(UserError, match="no file may import"):
        recbole_unisid.run("UniSID", "ml-100k", {"text_encoder": "lsa"}, ["given.yaml"], verbose=False)
    with pytest.raises(UserError, match="no file may import"):
        UniSIDConfig("own_mark:Signs", "ml-100k")
    assert not Path("imported").exists()
    assert main([*tokenize, "--use=own_mark:Signs", "--tokenizer=own_mark:Signs"]) == 0
    assert Path("imported").exists()
    assert Path("runs/ml-100k/tokens/Signs/tokens.tsv").is_file()


def test_a_model_of_recboles(ml_mini: Path) -> None:
    """A subclass of SASRec has RecBole's settings and trainer, and equals SASRec where it changes nothing."""
    write(
        "own_sasrec",
        "from recbole.model.sequential_recommender.sasrec import SASRec\n"
        "class Mine(SASRec):\n    defaults = {'n_layers': 1, 'extra': 3}\n",
    )
    given = {"data_path": str(ml_mini), "epochs": 1, "show_progress": False}
    mine = recbole_unisid.run("own_sasrec:Mine", "ml-mini", given, verbose=False)
    theirs = recbole_unisid.run("SASRec", "ml-mini", given | {"n_layers": 1}, verbose=False)
    assert mine["test"] == theirs["test"]
    assert Path(mine["run_dir"]).parent.name == "Mine"
    assert mine["model"] == "own_sasrec:Mine"
    config = UniSIDConfig("own_sasrec:Mine", "ml-mini", settings=given)
    assert config["extra"] == 3
    assert not config.is_own_model
    assert config["inner_size"] == UniSIDConfig("SASRec", "ml-mini", settings=given)["inner_size"]


def test_a_model_of_ours(ml_mini: Path) -> None:
    """Its defaults lie over those of the class it comes from; its keys are known, misspelt ones are not."""
    write(
        "own_model",
        "from recbole_unisid.models.unisid import DenseText\n"
        "from recbole_unisid.models.whole_sequence import WholeSequenceRecommender\n"
        "class Wide(DenseText):\n    defaults = {'semantic_dim': 16, 'breadth': 2}\n"
        "class Wider(Wide):\n    defaults = {'breadth': 5}\n"
        "class Bare(WholeSequenceRecommender):\n    pass\n"
        "from recbole_unisid.models.published import PublishedRecommender, WEARec\n"
        "class Deep(WEARec):\n    defaults = {'n_layers': 3}\n"
        "class Plain(PublishedRecommender):\n    pass\n",
    )
    for name in ("Wider", "Bare", "Deep", "Plain"):
        recbole_unisid.use(f"own_model:{name}")
    given = {"data_path": str(ml_mini)}
    config = UniSIDConfig("own_model:Wider", "ml-mini", settings=given)
    dense = UniSIDConfig("DenseText", "ml-mini", settings=given)
    assert (config["semantic_dim"], config["breadth"]) == (16, 5)
    assert config["inner_size"] == dense["inner_size"]
    assert config.is_own_model
    assert UniSIDConfig("own_model:Bare", "ml-mini", settings=given)["id_dim"] == 64
    deep, plain = (UniSIDConfig(f"own_model:{name}", "ml-mini", settings=given) for name in ("Deep", "Plain"))
    assert (deep["n_layers"], deep["n_heads"], plain["filter_cutoff"]) == (3, 8, 5)
    assert not deep.is_own_model
    assert not plain.is_own_model
    assert UniSIDConfig("own_model:Wider", "ml-mini", settings=given | {"breadth": 7})["breadth"] == 7
    with pytest.raises(UserError, match="Did you mean breadth"):
        UniSIDConfig("own_model:Wider", "ml-mini", settings=given | {"breatdh": 7})


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("", ["--tokenizer=own_absent:X"], ["no module 'own_absent'"]),
        ("", ["--tokenizer=own_module.part:X"], ["own_module.part"]),
        ("class Sings: pass", ["--tokenizer=own_module:Signs"], ["no class 'Signs'", "Did you mean Sings"]),
        ("1 / 0", ["--model=own_module:X"], ["ZeroDivisionError", "own_module.py, line 1"]),
        ("def f(:", ["--model=own_module:X"], ["SyntaxError", "line 1"]),
        ("import own_gone", ["--model=own_module:X"], ["ModuleNotFoundError", "own_gone"]),
        ("class X: pass", ["--model=own_module:X"], ["no model", "UniSID"]),
        ("class X: pass", ["--tokenizer=own_module:X"], ["no tokenizer", "tokens.Tokenizer"]),
        (TOKENIZER, ["--tokenizer=own_module:Half"], ["_fit"]),
        (TOKENIZER, ["--tokenizer=own_module:Signs", "--tokenizer_options={last: 1}"], ["last", "first"]),
        ("class X: pass", ["--text_encoder=own_module:X"], ["no text encoder", "encode"]),
        (
            "class X:\n def __init__(self, a): 0\n def encode(self, t): 0",
            ["--text_encoder=own_module:X"],
            ["'a'"],
        ),
        ("class X:\n def encode(self, t): return [1.0]", ["--text_encoder=own_module:X"], ["shape [1]"]),
        (
            "class X:\n def encode(self, t): 0",
            ["--text_encoder=own_module:X", "--text_prompt=q"],
            ["text_prompt"],
        ),
        (
            "from recbole_unisid.models.unisid import UniSID\nclass X(UniSID): defaults = 3",
            ["--model=own_module:X"],
            ["defaults", "int"],
        ),
        (
            "from recbole.model.sequential_recommender import S3Rec\nclass X(S3Rec): 0",
            ["--model=own_module:X"],
            ["one stage"],
        ),
        ("", ["--use=own_module"], ["module:Class"]),
        (
            "from recbole_unisid.tokens import Tokenizer",
            ["--tokenizer=own_module:Tokenizer"],
            ["no whole tokenizer"],
        ),
        ("", ["--use=,"], ["--use=module:Class"]),
        ("import sys\nsys.exit(0)", ["--model=own_module:X"], ["SystemExit: 0", "own_module.py, line 2"]),
        ("import sys\nsys.exit(0)", ["--use=own_module:X"], ["SystemExit: 0"]),
        (
            f"import sys\n{MODEL} def __init__(self, c, d): sys.exit(0)",
            ["--model=own_module:X"],
            ["line 4, in __init__"],
        ),
        (f"{MODEL} pass", ["--model=own_module"], ["own_module:Class"]),
        (f"{MODEL} pass", ["--model=own_module.X"], ["Did you mean own_module:X?"]),
        (f"{MODEL} pass", ["--model=X"], ["Did you mean own_module:X?"]),
        (f"{MODEL} pass", ["--use=own_module:X", "--model=X"], ["Did you mean own_module:X?"]),
        (f"{MODEL} pass", ["--model=Xyz"], ["one of your own is module:Class"]),
        (f"{MODEL} pass", ["--model=own_module.py:X"], ["Leave out .py"]),
    ],
)
def test_one_clear_line(
    text: str, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a module of one's own may be like: what is wrong, status 2, no traceback."""
    write("own_module", text)
    quick = [option for option in QUICK if option.split("=")[0] not in {a.split("=")[0] for a in arguments}]
    assert main(["run", "--dataset=ml-100k", *quick, *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("recbole-unisid: ")
    assert all(word in error for word in words), error


def test_an_encoder_is_asked_once_for_each_text(tmp_path: Path) -> None:
    """Vectors are kept by text, source, settings and key; what a constructor names it gets."""
    text = (
        "import numpy as np\n"
        "class Count:\n"
        "    calls, key, token_limit = [], 'weights 1', 5\n"
        "    def __init__(self, prompt=None, corpus=()): self.prompt, self.corpus = prompt or '', list(corpus)\n"
        "    def encode(self, texts):\n"
        "        self.calls.append(texts)\n"
        "        return np.array([[len(self.prompt + t), len(self.corpus)] for t in texts])\n"
        "    def token_counts(self, texts): return [len(t.split()) for t in texts]\n"
        "    def close(self): self.calls.append('closed')\n"
    )
    write("own_count", text)
    name = recbole_unisid.use("own_count:Count")
    calls = sys.modules["own_count"].Count.calls
    vectors = encode_texts(["a b", "", "ccc"], name, tmp_path, prompt="q: ")
    assert vectors.tolist() == [[6, 3], [0, 0], [6, 3]]
    assert calls == [["a b", "ccc"], "closed"] or calls == [["ccc", "a b"], "closed"]
    encode_texts(["a b", "", "ccc"], name, tmp_path, prompt="q: ")
    assert calls[-2:] == ["closed", "closed"]
    sys.modules["own_count"].Count.key = "weights 2"
    encode_texts(["a b", "", "ccc"], name, tmp_path, prompt="q: ")
    assert calls[-2] != "closed"


def test_a_class_of_a_notebook(ml_mini: Path) -> None:
    """``use`` takes the class itself and gives the name to write."""

    class Lengths:
        def encode(self, texts: list[str]) -> np.ndarray:
            return np.array([[len(text), 1.0] for text in texts])

    name = recbole_unisid.use(Lengths)
    assert name == f"{__name__}:Lengths"
    made = {}
    exec(
        "class Loose:\n    def encode(self, texts): return [[1.0]] * len(texts)",
        {"__name__": "own_cell"},
        made,
    )
    recbole_unisid.use(made["Loose"])
    assert code("own_cell:Loose") == code("own_cell:Loose")
    given = {"data_path": str(ml_mini), "text_encoder": name, "epochs": 1, "show_progress": False}
    result = recbole_unisid.run("DenseText", "ml-mini", given, verbose=False)
    assert result["status"] == "complete"


@pytest.mark.parametrize("given", [5, None, "Lengths", np])
def test_what_is_no_class(given: Any) -> None:
    """``use`` and ``run`` say what they take."""
    with pytest.raises(UserError, match="names no class; write module:Class"):
        recbole_unisid.use(given)
    with pytest.raises(UserError, match=r"There is no model|names no model"):
        recbole_unisid.run([given])


def test_run_takes_a_class(ml_mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The class itself stands for its name; one of ours, too; a comma or a blank too many is nothing."""
    write("own_model", MODEL.replace("UniSID", "ItemID") + " pass\n")
    recbole_unisid.use("own_model:X")
    kind = sys.modules["own_model"].X
    assert take_models({}, [kind, "UniSID "]) == ["own_model:X", "UniSID"]
    given = {"data_path": str(ml_mini), "epochs": 1, "show_progress": False}
    assert recbole_unisid.run(kind, "ml-mini", given, verbose=False)["model"] == "own_model:X"
    assert resolve(recbole_unisid.use(kind.__base__)).family == "ItemID"
    command = ["run", "--use", "own_model:X,", "--model=own_model:X,", f"--data_path={ml_mini}"]
    assert main([*command, "--dataset=ml-mini", "--epochs=1", "--show_progress=false"]) == 0
    assert "finished before" in capsys.readouterr().out
