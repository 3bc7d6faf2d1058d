"""Files of settings as people hand them on: three hundred damaged ones, each a clear line or what the file says."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

import recbole_unisid
from recbole_unisid.errors import UserError

#: As a user of RecBole has it, for a model of either kind.
FILE = """\
# dataset config
USER_ID_FIELD: user_id
ITEM_ID_FIELD: item_id
TIME_FIELD: timestamp
load_col:
  inter: [user_id, item_id, rating, timestamp]
field_separator: "\\t"
val_interval:
  rating: "[2,inf)"
user_inter_num_interval: "[3,inf)"
# training and evaluation
epochs: 1
train_batch_size: 512
learning_rate: 1e-3
stopping_step: 10
MAX_ITEM_LIST_LENGTH: 20
clip_grad_norm: {max_norm: 5}
eval_args:
  split: {RS: [0.8, 0.1, 0.1]}
  order: TO
  group_by: user
  mode: full
metrics: [Recall, MRR, NDCG]
topk: [5, 10]
valid_metric: NDCG@10
seed: 2020
use_gpu: false
show_progress: false
"""
CHARACTERS = ":#\t\"'{}[]&*!%@`|>-?~,\\\0\x07\u2028\ufeffé0x_.<= \n"
VALUES = [
    "", "~", "null", "[]", "{}", "''", "yes", "no", "5", "-1", "1e400", ".inf", "-.nan", "0x1F", "0o17", "1_000",
    "190:20:30", "9" * 5000, "2020-13-45", "2020-11-28", "!!binary aGVsbG8=", "!!set {a, b}", "!!omap [a: 1]",
    "!!python/object:os.system x", "!!float abc", "!!int x", "[1, [2, [3]]]", "{1: 2}", "{[a]: b}", "&x [*x]",
    "{a: {b: {c: d}}}", "*nothing", "<<", "=", "'unclosed", "|\n  block", ">-\n  folded", "[a, b", "RS", "'[RS]'",
    "\"{'LS': 'test_only'}\"", "([1, 2)", "1e-3", "'1e-3'", "- a", "? a", "\"\\xFF\"", "\"\\q\"", "'(' + ')'",
    "'" + "(" * 500 + "'", "'[' * 9", "'" + "-" * 9000 + "1'",
]  # fmt: skip
#: The same and other values of a setting, as people write them, and what they say.
SPELLINGS: dict[str, list[tuple[str, Any]]] = {
    "epochs": [("2", 2), ("'3'", 3), ("!!int 4", 4), ("1_0", 10)],
    "learning_rate": [("1e-3", 0.001), ("0.01", 0.01), ("1.e-2", 0.01), ("'5e-4'", 0.0005), ("1", 1)],
    "topk": [("10", 10), ("[5, 10]", [5, 10]), ("'[10, 20]'", [10, 20]), ("'5,10'", (5, 10)), ("\n  - 10", [10])],
    "metrics": [("NDCG", "NDCG"), ("\n- NDCG\n- Recall", ["NDCG", "Recall"]), ("'[NDCG]'", ["NDCG"])],
    "clip_grad_norm": [("{max_norm: 2, norm_type: 1}", {"max_norm": 2, "norm_type": 1}), ("~", None)],
    "use_gpu": [("no", False), ("False", False), ("'false'", False), ("off", False)],
    "seed": [("&s 7", 7), ("0x10", 16), ("7 # mine", 7)],
    "field_separator": [('"\\t"', "\t"), ('"\\x09"', "\t")],
    "user_inter_num_interval": [("'[3,inf)'", "[3,inf)"), ("(2,inf)", "(2,inf)"), ("[3, 5]", "[3,5]")],
}  # fmt: skip
#: Small files of many parts: aliases of aliases, merges of merges, lists in lists, and a text that holds such.
ALIASES = [f"&l{k} [{', '.join([f'*l{k - 1}' if k else 'x'] * 9)}]" for k in range(11)]
BOMBS = [
    "metrics:\n" + "".join(f"  - {one}\n" for one in ALIASES),
    "a0: &a0 {x: 1}\n" + "".join(f"a{k}: &a{k} {{<<: [*a{k - 1}, *a{k - 1}]}}\n" for k in range(1, 40)),
    "topk: " + "[" * 900 + "]" * 900,
    "topk: " + "[" * 5_000,
    "tokenizer_options: " + "{a: " * 900 + "1" + "}" * 900,
    f'metrics: "[{", ".join(ALIASES)}]"',
    "metrics: [" + "x, " * 12_000 + "]",
    "".join(f"key{k}: {k}\n" for k in range(2_000)),
    "epochs: " + "1" * 100_000,
    "USER_ID_FIELD: " + "x" * 100_000,
]


def mutated(draw: random.Random) -> tuple[bytes, dict[str, Any]]:
    """The file with up to three wounds, perhaps in another encoding, and what some settings in it must say."""
    lines, meant = FILE.splitlines(), {}
    if draw.random() < 0.4:
        for key in draw.sample(sorted(SPELLINGS), 3):
            spelling, meant[key] = draw.choice(SPELLINGS[key])
            lines = [f"{key}: {spelling}" if line.startswith(f"{key}:") else line for line in lines]
    else:
        for _ in range(draw.randint(1, 3)):
            if lines:
                wound(draw, lines)
    text = "\n".join(lines) + "\n"
    marks = ("utf-8-sig", "utf-8", "utf-8", "utf-8", "utf-8", "utf-8", "utf-16", "utf-16-le", "latin-1")
    data = text.encode(draw.choice(marks), "replace")
    return draw.choice([data, data, data.replace(b"\n", b"\r\n"), data + b"\xff"]), meant


def wound(draw: random.Random, lines: list[str]) -> None:
    at = draw.randrange(len(lines))
    key, _, value = lines[at].partition(":")
    match draw.randrange(9):
        case 0:  # a character
            place = draw.randrange(len(lines[at]) + 1)
            character = draw.choice(CHARACTERS)
            lines[at] = lines[at][:place] + character + lines[at][place + draw.randrange(2) :]
        case 1:  # indentation
            lines[at] = draw.choice([" ", "  ", "\t", "    "]) + lines[at].removeprefix(
                draw.choice(["", "  "])
            )
        case 2:  # a key once more
            lines.insert(draw.randrange(len(lines) + 1), lines[at])
        case 3:  # a line less
            del lines[at]
        case 4 | 5:  # a value of another type
            lines[at] = f"{key}: {draw.choice(VALUES)}"
        case 6:  # a key that is none
            name = draw.choice(
                [
                    "5",
                    "~",
                    "yes",
                    "[a]",
                    "{a: b}",
                    "1.5",
                    "2020-11-28",
                    "''",
                    key.upper(),
                    f"{key}s",
                    f" {key}",
                ]
            )
            lines[at] = f"{name}:{value}"  # fmt: skip
        case 7:  # without the colon, or without its blank
            lines[at] = lines[at].replace(": ", draw.choice([":", " ", "=", " : "]), 1)
        case _:
            lines[:] = lines[: draw.choice([0, at])] if draw.random() < 0.2 else [*lines[at:], *lines[:at]]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be run is handed back in its stead."""
    from recbole_unisid.runs import many, single, tune

    monkeypatch.setattr(single, "run_single", lambda config, verbose: config)
    monkeypatch.setattr(many, "run_many", lambda configs, verbose: configs[0])
    monkeypatch.setattr(tune, "tune", lambda config, *_: {"config": config})


def test_three_hundred_files_of_settings(ml_mini: Path, in_empty_folder: Path, settled: None) -> None:
    """A line, short enough to be read, or every setting of the file with its value; none costs much work."""
    refusals: list[str] = []
    damaged = 0
    for seed in range(300):
        draw = random.Random(seed)
        bomb = seed < len(BOMBS)
        data, meant = (BOMBS[seed].encode(), {}) if bomb else mutated(draw)
        Path("mine.yaml").write_bytes(data)
        model, given = draw.choice(["ItemID", "SASRec"]), {"data_path": str(ml_mini), "dataset": "ml-mini"}
        try:
            config = recbole_unisid.run(model, None, given, ["mine.yaml"], verbose=False)
        except UserError as error:
            refusals.append(str(error))
            damaged += not meant or b"\xff" in data or b"\0" in data
            continue
        assert not bomb, seed
        said = yaml.safe_load(data.decode("utf-8-sig"))
        assert said.keys() <= config.external_config_dict.keys(), seed
        for key, value in meant.items():
            assert config[key] in (value, list(value) if isinstance(value, tuple) else [value]), (seed, key)
    assert 80 < len(refusals) == damaged < 220
    assert max(map(len, refusals)) < 1000
    assert not any("\n" in line for line in refusals)
