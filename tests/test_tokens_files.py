"""Code files of our own and of others, there and back."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_unisid.errors import UserError
from recbole_unisid.tokens import load_tokenizer, tokenize_items
from recbole_unisid.tokens.published import output_tags
from recbole_unisid.tokens.tokens_file import level_tags, read_codes, write_index_json, write_tokens_tsv

LETTER = {
    "0": ["<a_12>", "<b_0>", "<c_3>"],
    "7": ["<a_12>", "<b_1>", "<c_0>"],
    "x y": ["<a_0>", "<b_1>", "<c_3>"],
}


def test_index_json_goes_out_as_it_came_in(tmp_path):
    path, out = tmp_path / "beauty.index.json", tmp_path / "out.index.json"
    path.write_text(json.dumps(LETTER))
    table = read_codes(path)
    assert table.item_ids == ["0", "7", "x y"]
    assert table.codes.tolist() == [[12, 0, 3], [12, 1, 0], [0, 1, 3]]
    write_index_json(out, table.item_ids, table.codes, table.tags)
    assert out.read_bytes() == path.read_bytes()


items = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]), min_size=1)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(items, st.tuples(st.integers(0, 4096), st.integers(0, 9)), min_size=1))
def test_both_forms_round_trip(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("codes")
    ids, codes = list(table), np.array(list(table.values()))
    write_tokens_tsv(folder / "tokens.tsv", ids, codes)
    write_index_json(folder / "x.index.json", ids, codes)
    for name in ("tokens.tsv", "x.index.json"):
        back = read_codes(folder / name)
        assert back.item_ids == ids
        assert np.array_equal(back.codes, codes)


def test_tagged_tsv_without_header_and_other_letters(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_text("i\t<p_1> <q_2>\r\nj\t<p_0> <q_5>")
    table = read_codes(path)
    assert table.codes.tolist() == [[1, 2], [0, 5]]
    assert table.tags == ["p", "q"]


def test_level_tags():
    assert level_tags(3) == ["a", "b", "c"]
    assert level_tags(28)[25:] == ["z", "aa", "ab"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.tsv", "", "holds no codes"),
        ("c.tsv", "a <a_1>", "line 1: no tab"),
        ("c.tsv", "a\t<a_1>\nb\t<a_1> <b_2>", "item 'b'"),
        ("c.tsv", "a\t<a_1>\nb\t<b_1>", "item 'b'"),
        ("c.tsv", "a\t<a_-1>", "item 'a'"),
        ("c.tsv", "a\t<a_01>", "item 'a'"),
        ("c.tsv", "a\t1.5", "item 'a'"),
        ("c.tsv", "a\t1\na\t2", "'a' stands twice"),
        ("c.tsv", "a\t1 999999999", "'a' has the code 999999999; .* below 1,048,576"),
        ("c.index.json", "{", "no JSON"),
        pytest.param("c.index.json", "[" * 100_000, "no JSON", id="deep"),
        ("c.index.json", "[1]", "not of the form"),
        ("c.index.json", '{"a": [1]}', "not of the form"),
        ("c.index.json", '{"a": ["<a_1>"], "a": ["<a_2>"]}', "'a' stands twice"),
        ("c.index.json", "{}", "holds no codes"),
    ],
)
def test_bad_code_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_codes(path)
    assert "\n" not in str(error.value)


def published(tmp_path, lines="a\t<p_3> <q_0>\nb\t<p_3> <q_1>\nc\t<p_0> <q_1>\n"):
    path = tmp_path / "published.tsv"
    path.write_text(lines)
    return str(path)


def test_published_codes_as_a_tokenizer(tmp_path, caplog):
    """The file's items keep its codes, one that it lacks gets near ones, and all survive saving."""
    path = published(tmp_path)
    vectors = np.array([[0, 0], [0, 1], [9, 9], [8.9, 9]], dtype=np.float32)
    ids = ["c", "a", "b", "new"]
    options = {"path": path, "cache_dir": tmp_path / "cache", "show_progress": False}
    result = tokenize_items(vectors, ids, "file", **options)
    assert result.codes[:3].tolist() == [[0, 1], [3, 0], [3, 1]]
    assert result.codes[3].tolist() == [3, 1]
    assert "lacks 1 of 4" in caplog.text
    assert [len(book) for book in result.codebooks] == [4, 2]
    assert [level["size"] for level in result.health["levels"]] == [4, 2]
    again = tokenize_items(vectors, ids, "file", **options)
    assert np.array_equal(again.codes, result.codes)
    result.tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert np.array_equal(loaded.item_codes(vectors, ids), result.codes)
    assert output_tags(loaded, 2) == ["p", "q"]
    assert output_tags(loaded, 3) == ["a", "b", "c"]


def test_a_changed_file_is_read_again(tmp_path):
    vectors, options = np.eye(3, dtype=np.float32), {"cache_dir": tmp_path / "cache", "show_progress": False}
    first = tokenize_items(vectors, ["a", "b", "c"], "file", path=published(tmp_path), **options)
    changed = published(tmp_path, "a\t1 1\nb\t0 1\nc\t2 0\n")
    second = tokenize_items(vectors, ["a", "b", "c"], "file", path=changed, **options)
    assert first.codes.tolist() != second.codes.tolist() == [[1, 1], [0, 1], [2, 0]]


def test_published_codes_of_other_items(tmp_path):
    cases = {published(tmp_path): "codes for none", str(tmp_path / "gone"): "No file of codes"}
    for path, message in cases.items():
        with pytest.raises(UserError, match=message):
            tokenize_items(np.eye(2, dtype="f"), ["x", "y"], "file", path=path, show_progress=False)
