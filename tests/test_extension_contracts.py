"""What a class of the user's own promises is checked before it costs hours, and each breach is one line."""

from __future__ import annotations

import inspect
import re
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.embeddings import encode_texts
from recbole_unisid.errors import UserError
from recbole_unisid.plugins import loading as extensions
from recbole_unisid.tokens import build_tokenizer, load_tokenizer, tokenize_items
from recbole_unisid.tokens.registry import RESERVED
from recbole_unisid.tokens.tokenizer import additive_codebooks

pytestmark = pytest.mark.usefixtures("nothing_in_use")

QUICK = ["--text_encoder=lsa", "--codebook_sizes=[4,4]", "--epochs=1", "--show_progress=false"]
TOKENIZER = """
import numpy as np
from recbole_unisid.tokens import Tokenizer

class Own(Tokenizer):
    only_distance = "own"
    def __init__(self, codebook_sizes, distances=None, seed=2020, shift=0):
        super().__init__(codebook_sizes, distances, seed)
        self.shift = shift
    def options(self):
        return {OPTIONS}
    def choose_codes(self, latents):
        signs = ((latents[:, :2] > 0).astype(np.int64) + self.shift) % 4
        return CODES
    def _fit(self, vectors, item_ids, show_progress):
        self.rows = len(vectors)
        self.codebooks = BOOKS
    def state(self):
        return super().state() | STATE
    def restore(self, state):
        super().restore(state)
        RESTORE
"""
SOUND = {
    "OPTIONS": "'shift': self.shift",
    "CODES": "signs",
    "BOOKS": "[np.zeros((4, 6), np.float32)] * 2",
    "STATE": "{}",
    "RESTORE": "pass",
}


VECTORS = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
ITEMS = [str(k) for k in range(20)]


def tokenize(given: dict[str, int] | None = None, **parts: str) -> np.ndarray:
    """Codes of 20 items by a tokenizer of which some parts are replaced."""
    text = TOKENIZER
    for name, value in (SOUND | parts).items():
        text = text.replace(name, value)
    Path("own_part.py").write_text(text)
    recbole_unisid.use("own_part:Own")
    options = {"shift": 1} if given is None else given
    return tokenize_items(VECTORS, ITEMS, "own_part:Own", [4, 4], **options).codes


def test_a_sound_tokenizer_passes() -> None:
    """The text that the cases below break is whole."""
    assert set(np.unique(tokenize())) == {1, 2}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"BOOKS": "[]"}, r"self.codebooks is 0 codebooks after _fit; a list of 2 is wanted"),
        ({"BOOKS": "[np.zeros((4, 6), np.float32)]"}, "a list of 2"),
        (
            {"BOOKS": "[np.zeros((4, 6)), np.zeros((3, 6))]"},
            r"codebook 1 is float64 of shape \[3, 6\]; floating-point numbers \[4, 6\]",
        ),
        ({"BOOKS": "[np.zeros((4, 6)), np.zeros((4, 5))]"}, r"\[4, 5\]; floating-point numbers \[4, 6\]"),
        ({"BOOKS": "[np.full((4, 6), np.nan)] * 2"}, "all finite"),
        ({"BOOKS": "[np.zeros((4, 6), int)] * 2"}, "floating-point"),
        ({"CODES": "signs[:, :1]"}, r"\[20, 1\] for 20 vectors and 2 levels; whole numbers \[20, 2\]"),
        ({"CODES": "signs[:, 0]"}, r"shape \[20\]"),
        ({"CODES": "signs[1:]"}, r"\[19, 2\] for 20 vectors"),
        ({"CODES": "signs / 2"}, "choose_codes: the codes are float64 of shape"),
        ({"CODES": "signs + 3"}, "choose_codes: code [45] at level [01]; codes from 0 to 3"),
        ({"CODES": "signs - 2"}, "code -1"),
        ({"STATE": "{'word': 'text'}"}, "'word'.* is no array of numbers"),
        ({"RESTORE": "self.rows = state['rows']"}, "copy.* fails .*'rows'.* state\\(\\) must hold all"),
        ({"CODES": "signs * min(self.rows, 1)"}, "copy.* fails .*'rows'.* state\\(\\) must hold all"),
        ({"RESTORE": "self.shift = 0"}, "other codes once read from a file"),
        ({"OPTIONS": ""}, r"options\(\) holds no 'shift'.* cached .*'shift': self.shift"),
        ({"OPTIONS": "'shift': 0"}, r"options\(\) holds shift=0 where 1 was given"),
        ({"OPTIONS": "'shift': {1, 2}"}, "plain values"),
        ({"OPTIONS": "'shift': self.shift, 'seed': self.seed"}, "holds 'seed'.* leave it out"),
        ({"BOOKS": "None"}, "self.codebooks is None after _fit"),
        ({"BOOKS": "[[[1.0], [1.0, 2.0]]] * 2"}, "codebook 0 is a list that is no array .*inhomogeneous"),
        ({"BOOKS": "[np.zeros((4, 3), np.float32)] * 2"}, r"codebooks are 3 wide.* \[1, 6\]"),
        ({"BOOKS": "[np.zeros((4, 1), np.float32)] * 2"}, "codebooks are 1 wide"),
        ({"CODES": "None"}, r"the codes are None \(is its return missing\?\)"),
        ({"CODES": "[[0, 1], [1]]"}, "inhomogeneous"),
        ({"CODES": "(latents[:, :2] > latents[:, :2].mean(axis=0)).astype(int)"}, "among other vectors"),
        ({"CODES": "np.random.default_rng(0).integers(4, size=signs.shape)"}, "among other vectors"),
        ({"CODES": "np.argsort(np.argsort(latents[:, :2], axis=0), axis=0) // 5"}, "among other vectors"),
        ({"CODES": "np.column_stack([signs[:, 0], np.arange(len(signs)) % 4])"}, "among other vectors"),
    ],
)
def test_a_tokenizer_is_checked(parts: dict[str, str], words: str) -> None:
    """Codebooks after `_fit`, codes whenever they are chosen, and what a file would give back."""
    with pytest.raises(UserError, match=f"own_part:Own.*{words}"):
        tokenize(**parts)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("restore(self): 0", r"copy.* fails \(TypeError: .*restore\(\) takes 1 positional"),
        ("options(self): return ['shift']", r"options\(\) must be a dict"),
        ("state(self): 0", r"copy.* fails \(AttributeError: 'NoneType'"),
        ("__init__(self, codebook_sizes, distances=None, seed=0): 0", r"must call super\(\).__init__"),
        (
            "__init__(self, codebook_sizes, distances=None, seed=0): super().__init__(codebook_sizes, seed=1)",
            "all three",
        ),
        ("__init__(self, codebook_sizes, distances=None, seed=0, titles=0): 0", "cannot be called 'titles'"),
        ("_encode_latents(self, vectors): return vectors[:, :3]", r"codebooks are 6 wide.* \[1, 3\]"),
    ],
)
def test_methods_are_checked(method: str, words: str) -> None:
    """What the base class calls, and with what; every size that has to agree."""
    with pytest.raises(UserError, match=f"own_part:Own.*{words}"):
        tokenize(RESTORE=f"pass\n\nclass Own(Own):\n    def {method}", given={})


@pytest.mark.parametrize(
    ("line", "words"),
    [("state['gone']", r"restore\(state\) takes \(it lacks 'gone'\)"), ("self.gone", "no attribute 'gone'")],
)
def test_a_file_of_a_former_class(line: str, words: str) -> None:
    """An edited `restore` wants what the file does not hold."""
    tokenize()
    build_tokenizer("own_part:Own", [4, 4]).fit(VECTORS).save(Path("saved"))
    own = sys.modules["own_part"].Own
    own.restore = eval(f"lambda self, state: {line}")
    with pytest.raises(UserError, match=f"tokenizer.safetensors is not what.*{words}.*; fit it again"):
        load_tokenizer(Path("saved"))


def test_settings_of_an_ancestor() -> None:
    """A constructor with ``**kwargs`` has the settings of the class that it hands them to."""
    text = """
from recbole_unisid.tokens.residual_kmeans import ResidualKMeans
class Own(ResidualKMeans):
    def __init__(self, *args, shift=0, **kwargs):
        super().__init__(*args, **kwargs)
        self.shift = shift
    def options(self):
        return super().options() | {"shift": self.shift}
"""
    made = tokenize(RESTORE=f"pass\n{text}", given={"iterations": 3, "shift": 2})
    assert np.array_equal(made, tokenize_items(VECTORS, ITEMS, codebook_sizes=[4, 4], iterations=3).codes)
    with pytest.raises(UserError, match="'args'"):
        tokenize(RESTORE=f"pass\n{text}", given={"args": 3})


def test_rounding_is_no_other_vector() -> None:
    """Edges that are items' own values: another place in a product of matrices may round to the other side."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    Path("own_tokenizer.py").write_text(text.split('title="my_tokenizer.py"\n')[1].split("\n```")[0])
    name = recbole_unisid.use("own_tokenizer:QuantileCodes")
    for n in (2, 3, 17, 33, 257, 500):
        vectors = np.random.default_rng(n).normal(size=(n, 40)).astype(np.float32)
        tokenize_items(vectors, [str(k) for k in range(n)], name, [16, 16], show_progress=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "codes / 2",
            r"the codes are float64 of shape \[6, 2\] for 6 vectors and 2 levels; whole numbers \[6, 2\]",
        ),
        ("codes[1:]", r"\[5, 2\] for 6 vectors"),
        ("codes[:, 0]", r"shape \[6\]"),
        ("None", "None"),
        ("codes + 3", "code 4 at level 0; codes from 0 to 3"),
        ("codes - 1", "code -1 at level 0"),
    ],
)
def test_additive_codebooks_of_bad_codes(arguments: str, words: str) -> None:
    """The function says what it was given."""
    codes = np.array([[0, 0], [1, 1]] * 3)
    with pytest.raises(UserError, match=f"additive_codebooks: .*{words}"):
        additive_codebooks(VECTORS[:6], eval(arguments, {"codes": codes}), [4, 4])


@pytest.mark.parametrize(
    ("vectors", "sizes", "words"),
    [
        (
            VECTORS[:6, 0],
            [4, 4],
            r"vectors are float32 of shape \[6\]; floating-point numbers \[items, width\] are wanted, such as "
            r"self\.latents\(vectors\)\.$",
        ),
        (VECTORS[:6].astype(int), [4, 4], "vectors are int64"),
        (VECTORS[:6], 4, "codebook_sizes=4"),
    ],
)
def test_additive_codebooks_of_bad_vectors(vectors: np.ndarray, sizes: list[int], words: str) -> None:
    """Not numpy's words for it."""
    with pytest.raises(UserError, match=f"additive_codebooks: .*{words}"):
        additive_codebooks(vectors, np.zeros((6, 2), int), sizes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("{seed: 3}", "give it as --tokenizer_seed"),
        ("{titles: 3}", "'titles' is no setting"),
        ("{1: 3}", "tokenizer_options={1: 3} must be a mapping"),
    ],
)
def test_settings_of_every_tokenizer(options: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are given beside the tokenizer's own, not among them."""
    command = ["tokenize", "--dataset=ml-100k", *QUICK[:2], f"--tokenizer_options={options}"]
    assert main(command) == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]


def test_no_setting_is_taken_twice() -> None:
    """Every parameter that is not the tokenizer's own is reserved."""
    named = {*inspect.signature(tokenize_items).parameters, *inspect.signature(build_tokenizer).parameters}
    assert named - {"options"} == RESERVED


def encode(body: str, texts: list[str]) -> np.ndarray:
    """Vectors of texts by an encoder of that body."""
    Path("own_part.py").write_text(f"import numpy as np\nimport torch\nclass Own:\n {body}\n")
    sys.modules.pop("own_part", None)
    extensions._in_use.clear()
    return encode_texts(texts, recbole_unisid.use("own_part:Own"), Path("cache"), show_progress=False)


ONES = "def encode(self, texts): return np.ones((len(texts), 3))\n "
LEARNS = "def encode(self, texts): return np.ones((len(texts), len(set(' '.join(texts)))))"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def encode(self, texts): pass", r"returned None \(is its return missing\?\)"),
        (
            "def encode(self, texts): return [1.0]",
            r"float64 of shape \[1\]; an array of numbers \[3, width\] is wanted",
        ),
        ("def encode(self, texts): return [[1], [1, 2], [3]]", "inhomogeneous"),
        ("def encode(self, texts): return ['a', 'b', 'c']", "<U1"),
        (
            "def encode(self, texts): return (text for text in texts)",
            "a generator that is no array of numbers",
        ),
        ("def encode(self, texts): return np.ones((3, 0))", r"\[3, 0\]"),
        ("def encode(self, texts): return torch.ones((3, 2)).to_sparse()", "to_dense"),
        (
            "def encode(self, texts):\n  import scipy.sparse\n  return scipy.sparse.csr_matrix(np.ones((3, 2)))",
            "a csr_matrix that is no array of numbers",
        ),
        (f"{ONES}key = 5", "key = 5 must be a string"),
        (f"{ONES}key = ''", "key = '' must be a string"),
        (f"{ONES}key = None", "key = None must be a string"),
        (f"{ONES}def key(self): return 'a'", "key = <bound method"),
        (
            f"{ONES}def token_counts(self, texts): return [1]",
            r"token_counts returned int64 of shape \[1\]; an array of numbers \[3\]",
        ),
        (f"{ONES}def token_counts(self, texts): pass", "token_counts returned None"),
    ],
)
def test_an_encoder_is_checked(body: str, words: str) -> None:
    """What came and what is wanted, for whatever numpy would have said."""
    with pytest.raises(UserError, match=f"own_part:Own.*{words}"):
        encode(body, ["a", "b", "c"])


CALLS = {
    "tokenizer": ("_fit(self, vectors): 0", "choose_codes(self): 0", "decode_latents(self): 0"),
    "text_encoder": ("encode(self): 0", "encode(self, texts, size): 0", "__init__(self, size): 0"),
}


@pytest.mark.parametrize(("kind", "method"), [(kind, method) for kind in CALLS for method in CALLS[kind]])
def test_a_method_that_takes_something_else(
    kind: str, method: str, ml_mini: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python's words in one line, with the class and the line of the method."""
    text = "class Own:\n def encode(self, texts): 0\n" if kind == "text_encoder" else TOKENIZER
    for name, value in SOUND.items():
        text = text.replace(name, value)
    text = text.replace("(4, 6)", "(4, vectors.shape[1])")  # as wide as the text is
    Path("own_part.py").write_text(f"{text}\nclass Own(Own):\n def {method}\n")
    command = ["run", f"--data_path={ml_mini}", "--dataset=ml-mini", *QUICK, f"--{kind}=own_part:Own"]
    command = [part for part in command if "lsa" not in part or kind == "tokenizer"]
    assert main(command) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("recbole-unisid: ")]
    name, place = method.partition("(")[0], f"line {len(text.splitlines()) + 3}"
    assert re.search(rf"{name}\(\) (takes|missing) .*own_part:Own.*{place}", line), line


@pytest.mark.parametrize(
    "value", ["torch.ones(2, dtype=torch.bfloat16)", "torch.ones(2, requires_grad=True)"]
)
def test_tensors_of_any_kind_are_numbers(value: str) -> None:
    """Together or in a list, with gradients or of a type that numpy lacks."""
    for body in (f"[{value} for _ in texts]", f"{value}.expand(len(texts), 2)"):
        assert encode(f"def encode(self, texts): return {body}", ["a", "b", "c"]).tolist() == [[1.0, 1.0]] * 3


def test_vectors_are_of_one_width() -> None:
    """A vocabulary learned within `encode` is another one in the next call, of this process or of a later one."""
    assert encode(LEARNS, ["ab", "cd"]).shape == (2, 5)
    with pytest.raises(UserError, match="5 wide of some texts and 1 wide of others"):
        encode(LEARNS, ["ab", "e", "cd"])
    with pytest.raises(UserError, match=r"3 wide of some texts and 6 wide of others.*`corpus`"):
        encode(f"{LEARNS}\n mark = 1", ["abcdef"] * 2 + ["".join(text) for text in product("ab", repeat=10)])


def test_a_bug_of_ours_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only errors that arise in a file of a class in use lose their traceback."""
    Path("own_part.py").write_text("class Own: 0")
    recbole_unisid.use("own_part:Own")
    monkeypatch.setattr("recbole_unisid.commands.main.usage", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["--help"])


def test_a_file_of_that_name_is_named(ml_mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--text_encoder=own_part`` asks no hub where own_part.py lies beside."""
    Path("own_part.py").write_text("class Own: 0")
    for option in ("--text_encoder=own_part", "--tokenizer=own_part"):
        assert main(["run", f"--data_path={ml_mini}", "--dataset=ml-mini", *QUICK[1:], option]) == 2
        assert "own_part:Class" in capsys.readouterr().err


def test_several_runs_of_a_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    """A shell pattern that fits two folders leaves a second value behind."""
    assert main(["recommend", "--run", "runs/a", "runs/b", "--history", "x"]) == 2
    assert "--run was given several values" in capsys.readouterr().err
