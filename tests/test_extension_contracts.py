"""What a class of the user's own promises is checked before it costs hours, and each breach is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import recbole_unisid
from recbole_unisid.commands.main import main
from recbole_unisid.errors import UserError
from recbole_unisid.tokens import tokenize_items

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


def tokenize(**parts: str) -> np.ndarray:
    """Codes of 20 items by a tokenizer of which some parts are replaced."""
    text = TOKENIZER
    for name, value in (SOUND | parts).items():
        text = text.replace(name, value)
    Path("own_part.py").write_text(text)
    recbole_unisid.use("own_part:Own")
    vectors = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    made = tokenize_items(vectors, [str(k) for k in range(20)], "own_part:Own", [4, 4], shift=1)
    return made.codes


def test_a_sound_tokenizer_passes() -> None:
    """The text that the cases below break is whole."""
    assert set(np.unique(tokenize())) == {1, 2}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"BOOKS": "[]"}, "0 codebooks after _fit; 2 are wanted"),
        ({"BOOKS": "[np.zeros((4, 6), np.float32)]"}, "1 codebooks"),
        ({"BOOKS": "[np.zeros((4, 6)), np.zeros((3, 6))]"}, r"codebook 1 has the shape \[3, 6\]; \[4, 6\]"),
        ({"BOOKS": "[np.zeros((4, 6)), np.zeros((4, 5))]"}, r"\[4, 5\]; \[4, 6\]"),
        ({"BOOKS": "[np.full((4, 6), np.nan)] * 2"}, "all finite"),
        ({"BOOKS": "[np.zeros((4, 6), int)] * 2"}, "floating-point"),
        ({"CODES": "signs[:, :1]"}, r"\[20, 1\] for 20 items; whole numbers \[20, 2\]"),
        ({"CODES": "signs[:, 0]"}, r"shape \[20\]"),
        ({"CODES": "signs[1:]"}, r"\[19, 2\] for 20 items"),
        ({"CODES": "signs / 2"}, "type float64"),
        ({"CODES": "signs + 3"}, "gave code [45] at level [01]; codes from 0 to 3"),
        ({"CODES": "signs - 2"}, "gave code -1"),
        ({"STATE": "{'word': 'text'}"}, "'word'.* must be an array of numbers"),
        ({"RESTORE": "self.rows = state['rows']"}, "'rows' is not what state"),
        ({"CODES": "signs * min(self.rows, 1)"}, "'rows' is not what state"),
        ({"OPTIONS": ""}, "other codes once read from a file"),
    ],
)
def test_a_tokenizer_is_checked(parts: dict[str, str], words: str) -> None:
    """Codebooks after `_fit`, codes whenever they are chosen, and what a file would give back."""
    with pytest.raises(UserError, match=f"own_part:Own.*{words}"):
        tokenize(**parts)


def test_a_bug_of_ours_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only errors that arise in a file of a class in use lose their traceback."""
    Path("own_part.py").write_text("class Own: 0")
    recbole_unisid.use("own_part:Own")
    monkeypatch.setattr("recbole_unisid.commands.main.usage", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["--help"])


def test_a_file_of_that_name_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """``--text_encoder=own_part`` asks no hub where own_part.py lies beside."""
    Path("own_part.py").write_text("class Own: 0")
    for option in ("--text_encoder=own_part", "--tokenizer=own_part"):
        assert main(["run", "--dataset=ml-100k", *QUICK[1:], option]) == 2
        assert "own_part:Class" in capsys.readouterr().err


def test_several_runs_of_a_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    """A shell pattern that fits two folders leaves a second value behind."""
    assert main(["recommend", "--run", "runs/a", "runs/b", "--history", "x"]) == 2
    assert "--run was given several values" in capsys.readouterr().err
