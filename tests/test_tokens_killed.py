"""Killed with SIGKILL at every write, or at any time: the next start gives the same files."""

import os
import subprocess
import sys

import pytest

#: Imports once, then forks: one child that is killed at its n-th step of writing (before a temporary
#: file is written, half-way through, before and after its rename), and one that goes on from there.
SCRIPT = r"""
import os, signal, sys, time
from pathlib import Path
import torch._dynamo  # which Adam imports when first used; once for all children
import recbole_unisid.embeddings.encode as encode
from recbole_unisid.array_file import load_arrays
from recbole_unisid.text import item_categories, item_texts, item_titles, read_item_file
from recbole_unisid.tokens.tokenization import tokenize_items, write_tokenization

folder, tokenizer = Path(sys.argv[1]), sys.argv[2]
encode.SHARD_TEXTS = 16
words = "red blue green nail polish hair oil soap brush cream lotion".split()
lines = ["item_id:token\ttitle:token_seq\tcategories:token_seq"]
for n in range(50):
    title = " ".join(words[(n * k + k * k) % 11] for k in range(1, 6))
    lines.append(f"i{n}\t{title} {n}\tRoot, C{n % 4}")
(folder / "x.item").write_text("\n".join(lines) + "\n")
options = {"rqvae": {"epochs": 2, "hidden": [8], "latent_width": 4}}.get(tokenizer, {})

def run(place):
    table, cache = read_item_file(folder / "x.item"), place / "cache"
    texts = item_texts(table, table.ids)
    vectors = encode.encode_texts(texts, "lsa", cache / "embeddings", show_progress=False)
    shown = {"titles": item_titles(table, table.ids), "categories": item_categories(table, table.ids)}
    tokens = tokenize_items(
        vectors, table.ids, tokenizer, [4, 4, 4], collisions="balanced", cache_dir=cache / "tokens", **shown,
        **options, show_progress=False)
    write_tokenization(tokens, place / "out")

steps, limit = 0, None

def step(write_half=None):
    global steps
    steps += 1
    if steps == limit:
        if write_half:
            write_half()
        os.kill(os.getpid(), signal.SIGKILL)

def watched(original, half=None):
    def call(*arguments, **named):
        step((lambda: half(*arguments)) if half else None)
        result = original(*arguments, **named)
        step()
        return result
    return call

write_bytes, write_text = Path.write_bytes, Path.write_text
os.replace = watched(os.replace)
Path.write_bytes = watched(write_bytes, lambda path, data: write_bytes(path, data[: len(data) // 2]))
Path.write_text = watched(write_text, lambda path, data, **_: write_text(path, data[: len(data) // 2]))

def forked(work):
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]

def outputs(place):
    files = [path for path in (place / "out").iterdir() if path.suffix != ".part"]
    return {path.name: content(path) for path in files}

def content(path):
    if path.suffix != ".safetensors":
        return path.read_bytes()
    arrays, about = load_arrays(path)  # safetensors writes them in any order
    return about, sorted((name, array.tobytes()) for name, array in arrays.items())

def reference():
    run(folder / "reference")
    write_text(folder / "steps", str(steps))

started = time.monotonic()
assert forked(reference) == 0
seconds = time.monotonic() - started
total, expected = int((folder / "steps").read_text()), outputs(folder / "reference")
assert len(expected) == 4 and total > 30, (expected.keys(), total)

def check(place):
    for path in place.rglob("*.safetensors"):
        load_arrays(path)  # whole, or refused
    assert forked(lambda: run(place)) == 0
    assert outputs(place) == expected, place

for limit in range(1, total + 1, int(sys.argv[3])):
    place = folder / f"step{limit}"
    assert os.WTERMSIG(forked(lambda: run(place))) == signal.SIGKILL
    if (place / "out").is_dir():
        assert all(expected[name] == found for name, found in outputs(place).items())
    limit = None
    check(place)

for n in range(3):  # and by the clock, wherever it then is
    place = folder / f"time{n}"
    child = os.fork()
    if not child:
        run(place)
        os._exit(0)
    time.sleep(seconds * (n + 0.5) / 3)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    check(place)
print("steps", total)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize(("tokenizer", "every"), [("residual_kmeans", 1), ("rqvae", 9)])
def test_killed_anywhere(tmp_path, tokenizer, every):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), tokenizer, str(every)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("steps")
