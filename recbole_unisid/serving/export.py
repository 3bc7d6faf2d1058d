"""A run as a folder that serves without torch: vectors, index, encoder, items, a manifest and the recommender."""

from __future__ import annotations

import importlib
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import nn
from tqdm import tqdm

import recbole_unisid
from recbole_unisid.array_file import Arrays
from recbole_unisid.data.disk import writing_to
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.files import replace_folder, scratch_folder, sha256_of, write_json
from recbole_unisid.models.backbones.last_state import last_states
from recbole_unisid.models.score_terms import ScoreTerms
from recbole_unisid.models.score_terms.popularity import Popularity
from recbole_unisid.models.score_terms.seen import Seen
from recbole_unisid.models.score_terms.text import TextSimilarity
from recbole_unisid.models.score_terms.transitions import LinkTerm
from recbole_unisid.serving import recommender

#: The recommender's name in an exported folder.
RECOMMENDER = "recommender.py"
_FILES = (recommender.ITEMS, recommender.VECTORS, recommender.INDEX, recommender.ENCODER, RECOMMENDER)
#: Of ONNX; the first with layer norm as one operator, and old enough for every runtime in use.
OPSET = 17
#: What a state may differ by between torch and onnxruntime, relative to the largest of them.
_TOLERANCE = 1e-4
#: Items' texts are read back by their gain, which therefore is not 0.
_LEAST_GAIN = 1e-6
KINDS = ("auto", "exact", "hnsw", "ivf")
#: Up to so many items an exact search takes a few milliseconds; see results/serving.md.
EXACT_UP_TO = 100_000
#: Beyond so many, the links of HNSW cost more memory and building than they save.
HNSW_UP_TO = 2_000_000
#: Links of an item, width of the search while building, and while asking (Malkov and Yashunin 2016: M, ef).
HNSW = {"links": 32, "construction": 200, "search": 128}
#: Items added between two updates of the progress bar.
_STEP = 20_000


def export(loaded: Any, to: str | Path, index: str = "auto", progress: bool = True) -> Path:
    """Write a run's model and catalogue for use without torch and RecBole.

    The run (:class:`LoadedRun`) is of a model that scores by item vectors. An earlier export in the folder `to` is
    replaced as a whole, anything else is left alone; a symbolic link is followed. `index` is one of :data:`KINDS`.
    """
    if loaded.item_vectors is None:
        raise UserError(
            f"{loaded.path} is a run of {loaded.config['model']}, which has no item vectors to export; UniSID, "
            "SemanticID, ItemID and DenseText have (serve --run=... serves any model)."
        )
    kind = choose_kind(index, len(loaded.item_ids) - 1)
    with writing_to(to, "name another folder with --to=DIR"):
        final = Path(os.path.realpath(to))
        if final.exists() and not _is_export(final):
            raise UserError(f"{to} is there already and is no export; name another folder with --to=DIR.")
        final.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(final) as scratch:
            part = scratch / "export"
            part.mkdir()
            _write(loaded, part, kind, progress)
            replace_folder(part, final)
    return Path(to)


def _is_export(folder: Path) -> bool:
    """Whether a folder holds an export and nothing else, or nothing at all."""
    ours = {recommender.MANIFEST, *_FILES, "__pycache__"}
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= ours


def _write(loaded: Any, folder: Path, kind: str, progress: bool) -> None:
    vectors = np.ascontiguousarray(loaded.item_vectors[1:], dtype=np.float32)  # row 0 is padding
    if not np.isfinite(vectors).all():
        raise UserError(f"{loaded.path} has item vectors that are not finite; nothing was exported.")
    width, max_length = vectors.shape[1], int(loaded.model.max_seq_length)
    write_encoder(folder / recommender.ENCODER, loaded.model.transformer, width, max_length)
    terms, tensors = _term_tensors(loaded.model, vectors)
    vectors = tensors["vectors"]
    if loaded.codes is not None:
        tensors["codes"] = np.ascontiguousarray(loaded.codes[1:], dtype=np.int64)
    (folder / recommender.VECTORS).write_bytes(save(tensors))  # save_file lets nobody else read it
    write_json(folder / recommender.ITEMS, {"ids": loaded.item_ids[1:], "titles": loaded.titles[1:]})
    index, about = build_index(vectors, kind, progress)
    (folder / recommender.INDEX).write_bytes(faiss.serialize_index(index).data)
    shutil.copyfile(recommender.__file__, folder / RECOMMENDER)
    manifest = {
        "schema": recommender.SCHEMA,
        "model": loaded.config["model"],
        "dataset": loaded.config["dataset"],
        "run": Path(loaded.path).name,
        "items": len(vectors),
        "width": vectors.shape[1],
        "levels": 0 if loaded.codes is None else int(loaded.codes.shape[1]),
        "max_length": max_length,
        "index": about,
        "encoder": {"opset": OPSET, "inputs": ["vectors", "lengths"], "output": "states"},
        "versions": {"recbole_unisid": recbole_unisid.__version__},
        "files": {
            name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
            for name in _FILES
        },
    }
    manifest |= {} if terms is None else {"terms": terms}
    write_json(folder / recommender.MANIFEST, manifest | {"sha256": recommender.digest_of(manifest)})


def _term_tensors(model: Any, vectors: NDArray[np.float32]) -> tuple[dict[str, Any] | None, Arrays]:
    """What the manifest says of score terms, and their weighted tensors; text, then popularity widen `vectors`."""
    terms: ScoreTerms | None = getattr(model, "terms", None)
    if terms is None or not bool(terms.weights.any()):
        return None, {"vectors": vectors}
    weights = terms.by_name()
    about: dict[str, Any] = {"seen": [], "text": {"width": 0, "rate": 0.0}, "popularity": False, "links": {}}
    tensors, last = {"vectors": vectors}, []
    for name, term in terms.items():
        if isinstance(term, Seen):
            rates = zip((1.0, 0.0, term.rate), term.features, strict=True)
            about["seen"] = [[rate, weights[feature]] for rate, feature in rates]
        elif isinstance(term, TextSimilarity):
            gain = (weights["text"] + weights["text_cold"] * term.cold[1:]).cpu().numpy()
            gain = np.where(np.abs(gain) < _LEAST_GAIN, _LEAST_GAIN, gain).astype(np.float32)
            text = term.vectors[1:].cpu().numpy() * gain[:, None]
            about["text"] = {"width": text.shape[1], "rate": term.rate}
            tensors |= {"vectors": np.hstack([vectors, text]), "text_gain": gain}
        elif isinstance(term, Popularity):
            about["popularity"] = True
            last = [weights["popularity"] * term.level[1:, None].cpu().numpy()]
        elif isinstance(term, LinkTerm):
            links, weight = term.links, weights[term.features[0]]
            about["links"][name] = term.rate
            tensors[f"{name}.starts"] = links.starts[1:].cpu().numpy()
            tensors[f"{name}.items"] = links.items.cpu().numpy() - 1
            tensors[f"{name}.values"] = links.values.cpu().numpy() * np.float32(weight)
        else:
            raise UserError(f"An export cannot hold the score term '{name}'; serve --run=... can.")
    joined = np.hstack([tensors["vectors"], *last], dtype=np.float32)
    return about, tensors | {"vectors": np.ascontiguousarray(joined)}


def choose_kind(kind: str, n_items: int) -> str:
    """The kind of index that ``auto`` takes for so many items, or the one that was named.

    >>> choose_kind("auto", 12_101)
    'exact'
    """
    if kind not in KINDS:
        raise UserError(f"--index={kind} is none of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
    if kind != "auto":
        return kind
    return "exact" if n_items <= EXACT_UP_TO else "hnsw" if n_items <= HNSW_UP_TO else "ivf"


def build_index(vectors: NDArray[np.float32], kind: str, progress: bool = True) -> tuple[Any, dict[str, Any]]:
    """Index item vectors [items, width] by inner product; the index, its kind and its sizes.

    With several threads FAISS adds items to HNSW in whatever order they come: ``OMP_NUM_THREADS=1`` makes the
    index the same every time.
    """
    n_items, width = vectors.shape
    about: dict[str, Any] = {"kind": kind}
    index: Any
    if kind == "exact":
        index = faiss.IndexFlatIP(width)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(width, HNSW["links"], faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = HNSW["construction"], HNSW["search"]
        about |= HNSW
    else:
        lists = max(1, min(round(4 * n_items**0.5), n_items // 39))  # FAISS wants 39 items a list to train on
        index = faiss.index_factory(width, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        index.nprobe = min(lists, max(8, lists // 16))
        about |= {"lists": lists, "probes": index.nprobe}
        index.train(vectors)
    starts = range(0, n_items, _STEP)
    for start in tqdm(starts, desc="Indexing", disable=None if progress and len(starts) > 1 else True):
        index.add(np.ascontiguousarray(vectors[start : start + _STEP]))
    return index, about


class UserEncoder(nn.Module):
    """The part of a model that reads histories: item vectors in, the state that scores the next item out."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Encode, [batch, length, width] padded on the right and int64 [batch] -> [batch, width]."""
        return last_states(self.transformer, vectors, lengths)


def write_encoder(path: Path, transformer: nn.Module, width: int, max_length: int) -> None:
    """Write the encoder as ONNX for any batch and any length up to `max_length`, and compare it with torch."""
    for package in ("onnx", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError:
            raise UserError(
                f"export needs {package}, which is not installed: pip install 'recbole_unisid[export]'."
            ) from None
    encoder = UserEncoder(transformer).eval()
    example = (torch.zeros(2, min(3, max_length), width), torch.ones(2, dtype=torch.int64))
    dynamic = {"vectors": {0: "batch", 1: "length"}, "lengths": {0: "batch"}, "states": {0: "batch"}}
    with torch.no_grad(), warnings.catch_warnings():
        # torch calls this exporter the older one, but the newer one needs onnxscript on top.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            encoder,
            example,
            str(path),
            input_names=["vectors", "lengths"],
            output_names=["states"],
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
    session = recommender.read_encoder(path, threads=0)
    generator = torch.Generator().manual_seed(0)
    # The shortest and the longest histories: tracing may bake sizes in.
    for batch, length in ((1, 1), (5, max_length)):
        vectors = torch.randn(batch, length, width, generator=generator)
        lengths = torch.randint(1, length + 1, (batch,), generator=generator)
        with torch.no_grad():
            expected = transformer(vectors)[torch.arange(batch), lengths - 1].numpy()
        found = session.run(["states"], {"vectors": vectors.numpy(), "lengths": lengths.numpy()})[0]
        if not np.allclose(found, expected, rtol=0, atol=_TOLERANCE * np.abs(expected).max()):
            apart = np.abs(found - expected).max()
            raise UserError(f"The ONNX encoder differs from the model by {apart:.2g}; nothing was exported.")
