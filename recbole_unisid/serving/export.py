"""A run as a folder that serves without torch: vectors, index, encoder, items, a manifest and the recommender."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

import recbole_unisid
from recbole_unisid.errors import UserError
from recbole_unisid.files import sha256_of, write_json
from recbole_unisid.serving import recommender
from recbole_unisid.serving.encoder import OPSET, write_encoder
from recbole_unisid.serving.index import build_index, choose_kind, write_index

#: The recommender's name in an exported folder.
RECOMMENDER = "recommender.py"


def export(loaded: Any, to: str | Path, index: str = "auto", progress: bool = True) -> Path:
    """Write a run's model and catalogue for use without torch and RecBole.

    Parameters
    ----------
    loaded : LoadedRun
        A finished run of a model that scores by item vectors.
    to : str or Path
        The folder to make; an earlier export there is replaced as a whole, anything else is left alone.
    index : str
        ``exact``, ``hnsw``, ``ivf``, or ``auto`` by the number of items.
    progress : bool
        Show a bar where it takes long.

    Returns
    -------
    Path
        The folder: ``manifest.json``, ``items.json``, ``vectors.safetensors``, ``index.faiss``,
        ``encoder.onnx`` and ``recommender.py``.

    Raises
    ------
    UserError
        For a model without item vectors, or a folder that is no export.
    """
    final = Path(to)
    refuse_other_models(loaded)
    kind = choose_kind(index, len(loaded.item_ids) - 1)
    if final.exists() and not _is_export(final):
        raise UserError(f"{final} is there already and is no export; name another folder with --to=DIR.")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=f".{final.name}.") as scratch:
            part = Path(scratch) / "export"
            part.mkdir()
            _write(loaded, part, kind, progress)
            if final.exists():
                final.rename(Path(scratch) / "earlier")
            part.rename(final)
    except OSError as error:
        raise UserError(
            f"Cannot write to {final}: {error.strerror}; name another folder with --to=DIR."
        ) from error
    return final


def refuse_other_models(loaded: Any) -> None:
    """Refuse a model that cannot be exported.

    Raises
    ------
    UserError
        Unless the model scores by a state and item vectors.
    """
    if loaded.item_vectors is None:
        raise UserError(
            f"{loaded.path} is a run of {loaded.config['model']}, which has no item vectors to export; UniSID, "
            "SemanticID, ItemID and DenseText have (serve --run=... serves any model)."
        )


def _is_export(folder: Path) -> bool:
    """Whether a folder holds an export and nothing else, or nothing at all."""
    ours = {recommender.MANIFEST, *_files()}
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= ours | {"__pycache__"}


def _files() -> tuple[str, ...]:
    return (recommender.ITEMS, recommender.VECTORS, recommender.INDEX, recommender.ENCODER, RECOMMENDER)


def _write(loaded: Any, folder: Path, kind: str, progress: bool) -> None:
    vectors = np.ascontiguousarray(loaded.item_vectors[1:], dtype=np.float32)  # row 0 is padding
    if not np.isfinite(vectors).all():
        raise UserError(f"{loaded.path} has item vectors that are not finite; nothing was exported.")
    width, max_length = vectors.shape[1], int(loaded.model.max_seq_length)
    write_encoder(folder / recommender.ENCODER, loaded.model.transformer, width, max_length)
    tensors = {"vectors": vectors}
    if loaded.codes is not None:
        tensors["codes"] = np.ascontiguousarray(loaded.codes[1:], dtype=np.int64)
    (folder / recommender.VECTORS).write_bytes(save(tensors))  # save_file lets nobody else read it
    write_json(folder / recommender.ITEMS, {"ids": loaded.item_ids[1:], "titles": loaded.titles[1:]})
    index, about = build_index(vectors, kind, progress)
    write_index(index, folder / recommender.INDEX)
    shutil.copyfile(recommender.__file__, folder / RECOMMENDER)
    write_json(
        folder / recommender.MANIFEST,
        {
            "schema": recommender.SCHEMA,
            "model": loaded.config["model"],
            "dataset": loaded.config["dataset"],
            "run": Path(loaded.path).name,
            "items": len(vectors),
            "width": width,
            "levels": 0 if loaded.codes is None else int(loaded.codes.shape[1]),
            "max_length": max_length,
            "index": about,
            "encoder": {"opset": OPSET, "inputs": ["vectors", "lengths"], "output": "states"},
            "versions": {"recbole_unisid": recbole_unisid.__version__},
            "files": {name: _about(folder / name) for name in _files()},
        },
    )


def _about(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
