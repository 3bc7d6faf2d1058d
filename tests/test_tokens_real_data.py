"""On the real sets, where they are present: the default tokenizer, the published codes, and new items."""

import os
from pathlib import Path

import numpy as np
import pytest

from recbole_unisid.embeddings import encode_texts
from recbole_unisid.text import item_categories, item_texts, read_item_file
from recbole_unisid.tokens import load_tokenizer, tokenize_items
from recbole_unisid.tokens.tokenization import write_tokenization
from recbole_unisid.tokens.tokens_file import read_codes, write_index_json

REPOSITORY = Path(__file__).resolve().parents[1]


def data(name):
    """A dataset's folder, or a skip that says why."""
    folders = [REPOSITORY / "dataset", REPOSITORY.parent / "shared" / "data"]
    if "RECBOLE_UNISID_DATA" in os.environ:
        folders.insert(0, Path(os.environ["RECBOLE_UNISID_DATA"]))
    found = next((folder / name for folder in folders if (folder / name).is_dir()), None)
    if found is None:
        pytest.skip(f"{name} is in none of the data folders (set RECBOLE_UNISID_DATA)")
    return found


@pytest.mark.parametrize(("name", "items"), [("amazon-beauty", 12_101), ("amazon-scientific-18", 4_344)])
def test_item_files(name, items):
    table = read_item_file(data(name) / f"{name}.item")
    assert len(table.ids) == items
    texts = item_texts(table, table.ids)
    assert sum(not text for text in texts) < 10
    assert not any(text.endswith("; Beauty") or "Industrial & Scientific;" in text for text in texts[:100])


def test_the_whole_step_without_a_model(tmp_path):
    """Scientific with LSA vectors: every code used, balanced tuples all distinct at little cost."""
    table = read_item_file(data("amazon-scientific-18") / "amazon-scientific-18.item")
    texts, categories = item_texts(table, table.ids), item_categories(table, table.ids)
    vectors = encode_texts(texts, "lsa", tmp_path / "embeddings", show_progress=False)

    def run(collisions):
        settings = {"collisions": collisions, "cache_dir": tmp_path / "tokens", "categories": categories}
        tokens = tokenize_items(vectors, table.ids, **settings, show_progress=False)
        write_tokenization(tokens, tmp_path / collisions)
        return tokens

    plain, balanced = run("none"), run("balanced")
    assert [level["used"] for level in plain.health["levels"]] == [256, 256, 256]
    assert plain.health["distinct_fraction"] > 0.7
    assert balanced.health["distinct_fraction"] == 1
    assert balanced.health["reconstruction_error"] < 1.1 * plain.health["reconstruction_error"]
    purity = plain.health["prefix_purity"][0]
    assert purity["purity"] > purity["shuffled"] + 0.3
    written = read_codes(tmp_path / "none" / "tokens.tsv")
    assert np.array_equal(written.codes, plain.codes)
    assert read_codes(tmp_path / "none" / "index.json").item_ids == written.item_ids
    new = np.random.default_rng(0).standard_normal((3, len(plain.tokenizer.mean))).astype(np.float32)
    assert np.array_equal(load_tokenizer(tmp_path / "none").encode(new), plain.encode(new))


@pytest.mark.parametrize("name", ["rqvae_native", "rkmeans_native", "letter_repo"])
def test_published_codes_go_out_as_they_came_in(tmp_path, name):
    path = data("sids") / f"amazon-beauty.{name}.tsv"
    table = read_codes(path)
    assert table.codes.shape == (12_101, 4)
    write_index_json(tmp_path / "a.index.json", table.item_ids, table.codes, table.tags)
    back = read_codes(tmp_path / "a.index.json")
    lines = [
        f"{item}\t{' '.join(f'<{tag}_{code}>' for tag, code in zip(back.tags, row, strict=True))}"
        for item, row in zip(back.item_ids, back.codes.tolist(), strict=True)
    ]
    assert lines == path.read_text().splitlines()
