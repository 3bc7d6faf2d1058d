"""A FAISS index of item vectors, exact or approximate by the size of the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.files import write_atomically

KINDS = ("auto", "exact", "hnsw", "ivf")
#: Up to so many items an exact search takes a few milliseconds; see results/serving.md.
EXACT_UP_TO = 100_000
#: Beyond so many, the links of HNSW cost more memory and building than they save.
HNSW_UP_TO = 2_000_000
#: Links of an item, width of the search while building, and while asking (Malkov and Yashunin 2016: M, ef).
HNSW = {"links": 32, "construction": 200, "search": 128}
#: Items added between two updates of the progress bar.
_STEP = 20_000


def choose_kind(kind: str, n_items: int) -> str:
    """Resolve ``auto`` by the number of items.

    Raises
    ------
    UserError
        For an unknown kind.

    Examples
    --------
    >>> choose_kind("auto", 12_101)
    'exact'
    """
    if kind not in KINDS:
        raise UserError(f"--index={kind} is none of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
    if kind != "auto":
        return kind
    return "exact" if n_items <= EXACT_UP_TO else "hnsw" if n_items <= HNSW_UP_TO else "ivf"


def build_index(vectors: NDArray[np.float32], kind: str, progress: bool = True) -> tuple[Any, dict[str, Any]]:
    """Index item vectors by inner product.

    Parameters
    ----------
    vectors : ndarray of float32, shape [items, width]
        Without the padding row: the index's number of an item is its row.
    kind : str
        ``exact``, ``hnsw`` or ``ivf``.
    progress : bool
        Show a bar.

    Returns
    -------
    index : faiss.Index
    about : dict
        ``kind`` and its sizes, as the manifest keeps them.

    Notes
    -----
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
    for start in tqdm(starts, desc="Indexing", disable=not progress or len(starts) < 2):
        index.add(np.ascontiguousarray(vectors[start : start + _STEP]))
    return index, about


def write_index(index: Any, path: Path) -> None:
    """Write an index in FAISS's own binary format, atomically."""
    with write_atomically(path) as part:
        faiss.write_index(index, str(part))
