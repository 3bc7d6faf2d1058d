"""Vectors of texts: each encoded once, never stale, never half."""

import logging

import numpy as np
import pytest
from safetensors.numpy import save_file

from recbole_unisid.array_file import DamagedFileError, load_arrays, save_arrays
from recbole_unisid.embeddings import encode, encode_texts
from recbole_unisid.errors import UserError

TEXTS = ["red nail polish", "blue nail polish", "", "shampoo for dry hair", "red nail polish", "  "]


class Counting:
    """An encoder that remembers what it was given; a text's vector is its length and first letter."""

    key, width, token_limit = "counting", 2, 9

    def __init__(self):
        self.seen = []

    def token_counts(self, texts):
        return np.array([len(text) for text in texts], dtype=np.int64)

    def encode(self, texts):
        self.seen += texts
        return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)

    def close(self):
        pass


@pytest.fixture
def counting(monkeypatch):
    model = Counting()
    monkeypatch.setattr(encode, "open_encoder", lambda *arguments: model)
    monkeypatch.setattr(encode, "SHARD_TEXTS", 2)
    return model


def run(texts, folder, encoder="counting", **options):
    return encode_texts(texts, encoder, folder, show_progress=False, **options)


def test_each_text_once_and_empty_is_zero(counting, tmp_path):
    vectors = run(TEXTS, tmp_path)
    assert vectors.dtype == np.float32
    assert vectors[[0, 2, 4, 5]].tolist() == [[15, 114], [0, 0], [15, 114], [0, 0]]
    assert sorted(counting.seen) == sorted({text for text in TEXTS if text.strip()})


def test_only_new_and_changed_texts_are_encoded(counting, tmp_path):
    run(TEXTS, tmp_path)
    counting.seen.clear()
    vectors = run([*TEXTS, "new"], tmp_path)
    assert counting.seen == ["new"]
    assert vectors[0].tolist() == [15, 114]
    counting.seen.clear()
    run(["red nail polish!", *TEXTS[1:]], tmp_path)
    assert sorted(counting.seen) == ["red nail polish!"]


def test_another_model_shares_nothing(counting, tmp_path):
    run(TEXTS, tmp_path)
    counting.key = "other weights"
    counting.seen.clear()
    run(TEXTS, tmp_path)
    assert len(counting.seen) == 3


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "text"])
def test_a_damaged_shard_is_encoded_again(counting, tmp_path, caplog, harm):
    before = run(TEXTS, tmp_path)
    path = sorted(tmp_path.rglob("*.safetensors"))[0]
    content = path.read_bytes()
    flipped = content[:-3] + bytes([content[-3] ^ 4]) + content[-2:]
    path.write_bytes({"cut": content[:-7], "flip": flipped, "empty": b"", "text": b"hello"}[harm])
    counting.seen.clear()
    assert np.array_equal(run(TEXTS, tmp_path), before)
    assert 1 <= len(counting.seen) <= 2
    assert "damaged" in caplog.text


def test_the_token_limit_is_named(counting, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(2):  # from the encoder, and from the cache
        run(["short", "x" * 10, "y" * 10_000], tmp_path)
        assert "at most 9 tokens a text: 2 of 3" in caplog.text
        caplog.clear()


def test_longest_texts_first_and_the_same_batches_after_a_stop(counting, tmp_path):
    texts = ["a" * n for n in (3, 1, 5, 2, 4)]
    run(texts, tmp_path)
    assert [len(text) for text in counting.seen] == [5, 4, 3, 2, 1]
    sorted(tmp_path.rglob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)[-1].unlink()
    counting.seen.clear()
    run(texts, tmp_path)
    assert counting.seen == ["a"]


def test_no_text_at_all(counting, tmp_path):
    assert run(["", " "], tmp_path).tolist() == [[0, 0], [0, 0]]


def test_an_encoder_that_gives_nan(counting, tmp_path, monkeypatch):
    monkeypatch.setattr(Counting, "encode", lambda self, texts: np.full((len(texts), 2), np.nan, dtype="f"))
    with pytest.raises(UserError, match="no finite vector for the text 'abc'"):
        run(["abc"], tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_lsa(tmp_path):
    vectors = run(TEXTS, tmp_path, "lsa")
    assert np.array_equal(vectors, run(TEXTS, tmp_path / "other", "lsa"))
    np.testing.assert_allclose(np.linalg.norm(vectors[[0, 1, 3]], axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.3 > vectors[0] @ vectors[3]
    assert not vectors[2].any()


@pytest.mark.parametrize(
    "texts", [["", ""], ["?!", "..."], ["same", "same"], ["\u65e5\u672c\u8a9e", "\U0001f600 ok"]]
)
def test_lsa_of_odd_texts(tmp_path, texts):
    vectors = run(texts, tmp_path, "lsa")
    assert len(vectors) == 2
    assert np.isfinite(vectors).all()


def test_lsa_of_new_items_uses_the_first_corpus(tmp_path):
    first = run(TEXTS, tmp_path, "lsa")
    new = run(["red nail polish", "unheard of"], tmp_path, "lsa", corpus=TEXTS)
    np.testing.assert_allclose(new[0], first[0], atol=1e-6)
    assert new.shape[1] == first.shape[1]


def vector_file(folder, vectors, ids, name="v.npy"):
    path = folder / name
    np.save(path, vectors) if name.endswith(".npy") else save_file({"vectors": vectors}, path)
    path.with_suffix(".ids.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["v.npy", "v.safetensors"])
def test_given_vectors(tmp_path, caplog, name):
    path = vector_file(tmp_path, np.arange(6.0).reshape(3, 2), ["a", "b", "\u00e9"], name)
    vectors = run(["", "", ""], tmp_path, path, ids=["\u00e9", "a", "missing"])
    assert vectors.tolist() == [[4, 5], [0, 1], [0, 0]]
    assert "lacks 1 of 3 items" in caplog.text


@pytest.mark.parametrize(
    ("vectors", "ids", "message"),
    [
        (np.zeros((2, 3)), ["a"], "2 rows but v.ids.txt has 1 ids"),
        (np.zeros((2, 3)), ["a", "a"], "names an item twice"),
        (np.zeros((2, 3)), ["x", "y"], "none of the dataset's items"),
        (np.zeros(2), ["a", "b"], "shape"),
        (np.array([[1, np.nan], [1, 1]]), ["a", "b"], "vector of item 'a' is not finite"),
        (np.array([["x"], ["y"]]), ["a", "b"], "not numbers"),
    ],
)
def test_bad_vectors(tmp_path, vectors, ids, message):
    path = vector_file(tmp_path, vectors, ids)
    with pytest.raises(UserError, match=message) as error:
        run(["", ""], tmp_path, path, ids=["a", "b"])
    assert "\n" not in str(error.value)


def test_bad_vector_files(tmp_path):
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "t.safetensors").write_bytes(b"half")
    np.save(tmp_path / "n.npy", np.zeros((1, 2)))
    for name, message in (
        ("gone.npy", "No file of vectors"),
        ("o.npy", "cannot be read"),
        ("t.safetensors", "cannot be read"),
        ("n.npy", "needs n.ids.txt"),
    ):
        with pytest.raises(UserError, match=message):
            run([""], tmp_path, str(tmp_path / name), ids=["a"])
    with pytest.raises(UserError, match="need the items' ids"):
        run([""], tmp_path, str(tmp_path / "n.npy"))


def test_array_files(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"x": np.arange(3), "empty": np.zeros((0, 2), dtype="f")}, {"caf\u00e9": [1]})
    arrays, about = load_arrays(path)
    assert arrays["x"].tolist() == [0, 1, 2]
    assert arrays["empty"].shape == (0, 2)
    assert about == {"caf\u00e9": [1]}
    content = path.read_bytes()
    for harmed in (content[:20], content + b"x", content.replace("\u00e9".encode(), "\u00e8".encode()), b""):
        path.write_bytes(harmed)
        with pytest.raises(DamagedFileError):
            load_arrays(path)
