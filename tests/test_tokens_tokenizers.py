"""Every tokenizer through the one interface, and the edge cases of real datasets."""

import numpy as np
import pytest

from recbole_unisid.errors import UserError
from recbole_unisid.tokens import TOKENIZERS, build_tokenizer, load_tokenizer, tokenize_items
from recbole_unisid.tokens.tokenizer import check_vectors

OPTIONS = {"rqvae": {"epochs": 2, "batch_size": 64, "hidden": [16], "latent_width": 8}}
FITTED = [name for name in TOKENIZERS if name != "file"]
WIDTH = 12


def vectors(n=150, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((10, WIDTH))[rng.integers(10, size=n)]
    return (centres + 0.3 * rng.standard_normal((n, WIDTH))).astype(np.float32)


def fitted(name, data, sizes=(8, 8, 8), seed=1, **options):
    pytest.importorskip("faiss") if name == "opq" else None
    return build_tokenizer(name, list(sizes), seed=seed, **OPTIONS.get(name, {}), **options).fit(data, False)


@pytest.mark.parametrize("name", FITTED)
def test_fit_encode_decode_save_load(name, tmp_path):
    data, new = vectors(), vectors(40, seed=5)
    tokenizer = fitted(name, data)
    codes = tokenizer.encode(data)
    assert codes.shape == (150, 3)
    assert codes.dtype == np.int64
    assert codes.min() >= 0
    assert (codes < 8).all()
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert np.array_equal(loaded.encode(new), tokenizer.encode(new))
    assert np.array_equal(loaded.decode(codes), tokenizer.decode(codes))
    assert loaded.depends_on() == tokenizer.depends_on()


@pytest.mark.parametrize("name", FITTED)
def test_same_seed_same_codes_and_no_global_generator(name):
    data = vectors()
    np.random.seed(0)  # noqa: NPY002 - that it does not matter is what is tested
    first = fitted(name, data).encode(data)
    np.random.seed(1)  # noqa: NPY002
    assert np.array_equal(first, fitted(name, data).encode(data))
    if name != "opq":  # whose best rotation may be the same from any start
        assert not np.array_equal(first, fitted(name, data, seed=2).encode(data))


@pytest.mark.parametrize("name", FITTED)
def test_items_are_encoded_each_by_itself(name):
    data = vectors()
    tokenizer = fitted(name, data)
    assert np.array_equal(tokenizer.encode(data)[17:18], tokenizer.encode(data[17:18]))


@pytest.mark.parametrize("name", ["residual_kmeans", "lsh", "random", "rqvae"])
@pytest.mark.parametrize("data", [np.ones((5, 4)), np.zeros((5, 4)), np.eye(3), np.ones((1, 4)) * 1e20])
def test_degenerate_vectors(name, data):
    tokenizer = fitted(name, data.astype(np.float32), sizes=(4, 4))
    codes = tokenizer.encode(data)
    assert (codes >= 0).all()
    assert (codes < 4).all()
    assert np.isfinite(tokenizer.decode(codes)).all()


def test_three_items_decode_exactly():
    data = vectors(3)
    tokenizer = fitted("residual_kmeans", data, sizes=(256, 256, 256))
    np.testing.assert_allclose(tokenizer.decode(tokenizer.encode(data)), data, atol=1e-5)


def test_unequal_sizes_and_explicit_distances():
    data = vectors()
    tokenizer = build_tokenizer(
        "residual_kmeans", [16, 2, 1, 5], ["euclidean", "cosine", "cosine", "euclidean"]
    )
    codes = tokenizer.fit(data, False).encode(data)
    assert codes.max(axis=0).tolist() == [15, 1, 0, 4]
    assert [book.shape for book in tokenizer.codebooks] == [(16, WIDTH), (2, WIDTH), (1, WIDTH), (5, WIDTH)]


def test_default_distances_are_mixed():
    assert build_tokenizer("residual_kmeans", [4, 4, 4, 4]).distances == ("cosine",) * 3 + ("euclidean",)


def test_unit_and_fitted_code_lengths():
    data = vectors()
    unit = fitted("residual_kmeans", data, code_length="unit")
    np.testing.assert_allclose(np.linalg.norm(unit.codebooks[0], axis=1), 1, atol=1e-6)
    assert (np.linalg.norm(fitted("residual_kmeans", data).codebooks[0], axis=1) > 1.5).all()


def test_more_levels_and_training_reconstruct_better():
    data = vectors(400)
    errors = []
    for sizes in ([8], [8, 8], [8, 8, 8]):
        tokenizer = fitted("residual_kmeans", data, sizes=sizes)
        errors.append(np.square(data - tokenizer.decode(tokenizer.encode(data))).sum())
    assert errors[0] > errors[1] > errors[2]


def test_a_sample_is_fitted_where_items_are_many():
    data = vectors(2000)
    tokenizer = fitted("residual_kmeans", data, points_per_code=20)
    assert len(np.unique(tokenizer.encode(data)[:, 0])) == 8


def test_opq_is_faiss_product_quantisation():
    faiss = pytest.importorskip("faiss")
    data = vectors(400)
    tokenizer = fitted("opq", data)
    latents = tokenizer.latents(data)
    rotation = faiss.OPQMatrix(WIDTH, 3)
    rotation.pq = quantiser = faiss.ProductQuantizer(WIDTH, 3, 3)
    quantiser.cp.seed = 1
    quantiser.cp.min_points_per_centroid = 1
    rotation.train(latents)
    rotated = rotation.apply(latents)
    quantiser.train(rotated)
    codes = quantiser.compute_codes(rotated)
    bits = np.unpackbits(codes, axis=1, bitorder="little")[:, :9].reshape(-1, 3, 3)
    assert np.mean(tokenizer.encode(data) == bits @ [1, 2, 4]) > 0.99


@pytest.mark.parametrize("name", FITTED)
def test_nothing_is_printed_while_it_is_fitted(name, capfd):
    """Not by libraries either: faiss would print each iteration of each codebook. Bars go to the other stream."""
    pytest.importorskip("faiss") if name == "opq" else None
    build_tokenizer(name, [8, 8, 8], seed=1, **OPTIONS.get(name, {})).fit(vectors(), True)
    assert not capfd.readouterr().out


def test_lsh_keeps_near_vectors_together():
    data = vectors(300)
    tokenizer = fitted("lsh", data, sizes=(16,))
    near = data + 1e-4 * vectors(300, seed=3)
    far = data[::-1]
    codes = tokenizer.encode(data)
    assert np.mean(tokenizer.encode(near) == codes) > 0.98 > np.mean(tokenizer.encode(far) == codes) + 0.5


def test_random_codes_are_uniform_and_meaningless():
    data = vectors(4000)
    codes = fitted("random", data, sizes=(8, 8)).encode(data)
    assert np.bincount(codes[:, 0]).min() > 400
    assert len(np.unique(codes[:10], axis=0)) > 5


BAD = [
    (("residual_kmean", [4]), {}, "Did you mean residual_kmeans"),
    (("residual_kmeans", [4, 0]), {}, "codebook_sizes"),
    (("residual_kmeans", []), {}, "codebook_sizes"),
    (("residual_kmeans", [4], ["cosin"]), {}, "'cosin' is none of cosine, euclidean. Did you mean cosine"),
    (("residual_kmeans", [4, 4], ["cosine"]), {}, "1 distances for 2"),
    (("residual_kmeans", [4]), {"iteration": 3}, "Did you mean iterations"),
    (("residual_kmeans", [4]), {"code_length": "units"}, "Did you mean unit"),
    (("rqvae", [4]), {"epochs": 0}, "rqvae needs"),
    (("rqvae", [4]), {"estimator": "rotate"}, "estimator"),
    (("file", [4]), {}, "path"),
]


@pytest.mark.parametrize(("arguments", "options", "message"), BAD)
def test_bad_settings(arguments, options, message):
    with pytest.raises(UserError, match=message):
        build_tokenizer(*arguments, **options)


def test_bad_vectors():
    data = vectors(20)
    tokenizer = fitted("residual_kmeans", data)
    for bad, message in (
        (np.full((2, WIDTH), np.nan), "not finite"),
        (data[:, :5], "5 wide, the tokenizer knows 12"),
        (data[0], "shape"),
        (data[:0], "with items"),
    ):
        with pytest.raises(UserError, match=message):
            tokenizer.encode(bad)
    with pytest.raises(UserError, match="not finite"):
        build_tokenizer("residual_kmeans", [4]).fit(np.array([[np.inf, 1]]), False)
    holes = np.where(np.isin(np.arange(20), [3, 7])[:, None], np.nan, data)
    with pytest.raises(UserError, match=r"^The vector of item number 3 is not finite \(2 such\)"):
        tokenizer.encode(holes)
    largest = np.full((2, WIDTH), np.finfo(np.float32).max)  # finite, though their sum is not in float32
    assert check_vectors(largest).tolist() == largest.tolist()
    with pytest.raises(UserError, match="powers of two"):
        fitted("lsh", data, sizes=(6,))
    with pytest.raises(UserError, match="2 vectors for 1 items"):
        tokenize_items(data[:2], ["a"])


def test_codes_that_are_none_are_refused_by_the_tokenizers_name(monkeypatch):
    tokenizer = fitted("residual_kmeans", vectors(20))
    monkeypatch.setattr(tokenizer, "choose_codes", lambda latents: latents)
    with pytest.raises(UserError, match=r"^Tokenizer 'residual_kmeans', choose_codes: the codes are float32"):
        tokenizer.encode(vectors(20))


def test_codebooks_that_are_none_are_refused_by_the_tokenizers_name(monkeypatch):
    tokenizer = build_tokenizer("residual_kmeans", [4])
    monkeypatch.setattr(tokenizer, "_fit", lambda *arguments: None)
    with pytest.raises(UserError, match=r"^Tokenizer 'residual_kmeans': self\.codebooks is 0 codebooks"):
        tokenizer.fit(vectors(20), False)


@pytest.mark.parametrize("item_ids", [None, [f"{row}" for row in range(6)], ["5", "4", "3", "2", "1", "0"]])
def test_published_codes_go_by_the_items_names_which_are_row_numbers_unless_told(item_ids, tmp_path):
    lines = [f"{item}\t{5 - item}" for item in range(6)]
    (tmp_path / "codes.tsv").write_text("\n".join(["item_id\tcodes", *lines]))
    data = vectors(6)
    tokenizer = build_tokenizer("file", path=str(tmp_path / "codes.tsv")).fit(data, False, item_ids)
    code_of = [5 - int(item) for item in item_ids or range(6)]
    assert tokenizer.codebooks[0][code_of] == pytest.approx(data - data.mean(axis=0), abs=1e-5)


def test_vectors_are_decoded_in_single_precision():
    tokenizer = fitted("residual_kmeans", vectors(20))
    assert tokenizer.decode(tokenizer.encode(vectors(20))).dtype == np.float32


def test_a_damaged_or_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(UserError, match="No tokenizer"):
        load_tokenizer(tmp_path)
    fitted("residual_kmeans", vectors()).save(tmp_path)
    path = tmp_path / "tokenizer.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load_tokenizer(tmp_path)


def test_tokenization_is_cached_by_what_it_depends_on(tmp_path, caplog):
    data, ids = vectors(), [str(row) for row in range(150)]

    def run(**changes):
        arguments = {"codebook_sizes": [8, 8], "seed": 1, "cache_dir": tmp_path, "show_progress": False}
        return tokenize_items(**{"vectors": data, "item_ids": ids, **arguments, **changes})

    first = run()
    files = set(tmp_path.rglob("*.safetensors"))
    times = {path: path.stat().st_mtime_ns for path in files}
    again = run()
    assert np.array_equal(first.codes, again.codes)
    assert first.health == again.health
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    run(collisions="suffix")
    assert len(list(tmp_path.iterdir())) == 1  # the same tokenizer
    for change in ({"seed": 2}, {"codebook_sizes": [8, 4]}, {"vectors": data + 1}, {"balance": 0.0}):
        before = len(list(tmp_path.iterdir()))
        run(**change)
        assert len(list(tmp_path.iterdir())) == before + 1
    for path in files:
        path.write_bytes(path.read_bytes()[:-9])
    assert np.array_equal(run().codes, first.codes)
    assert "damaged" in caplog.text
