"""Everything that mends RecBole 1.2 on today's packages, in one place.

The upstream issue, where one was found, is of github.com/RUCAIBox/RecBole/issues. What can be mended by a
subclass is mended there and only listed here:

====================================  ============  ==========================================
breakage                              upstream      mended in
====================================  ============  ==========================================
NumPy 2 removed ``np.float_`` ...     #2215, #1604  :func:`restore_numpy_names`
anomaly mode left on by ``sine.py``   none found    :func:`switch_off_anomaly_mode`
ten tensors of memory for one GELU    none found    ``recbole_adapter.gelu``
dropout drawn number by number        none found    ``recbole_adapter.dropout``
positions computed that nobody reads  none found    ``recbole_adapter.last_position``
kmeans_pytorch wanted (1.2.0)         none found    :func:`import_general_models`
quotes in text columns swallow lines  none found    :func:`unquoted_tables`
TensorBoard events in the cwd         none found    :func:`tensorboard_in`
``torch.load`` of pickled objects     #2212         ``recbole_adapter.resumable`` (no pickles at all)
``.cpu()`` on integers, counters      #2191         ``recbole_adapter.collector``
links that answer Access Denied       #2218         ``recbole_adapter.dataset`` (own download)
barrier without a process group       #1989, #2050  ``recbole_adapter.dataset`` (own download)
ray imported by the quick start       #1820, #1518  ``recbole.quick_start`` is never imported
float32 times lose seconds            #2204         ``recbole_adapter.dataset`` (``exact_times``)
====================================  ============  ==========================================
"""

from __future__ import annotations

import csv
import importlib.util
import logging
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.tensorboard import SummaryWriter

# Names that RecBole still reads from the numpy module (metrics, interaction, dataset, hyper_tuning).
_REMOVED_NUMPY_NAMES: dict[str, type] = {
    "bool": np.bool_,
    "int": np.int_,
    "float": np.float64,
    "complex": np.complex128,
    "object": np.object_,
    "str": np.str_,
    "long": np.int_,
    "unicode": np.str_,
}


def restore_numpy_names() -> None:
    """Give NumPy back the aliases that RecBole reads (#2215, #1604)."""
    for name, alias in _REMOVED_NUMPY_NAMES.items():
        # NumPy 2 has its own np.bool and np.long: those stay. vars(), since NumPy 1.26 warns on getattr.
        if name not in vars(np):
            setattr(np, name, alias)


def switch_off_anomaly_mode() -> None:
    """Undo ``torch.autograd.set_detect_anomaly(True)``.

    ``recbole/model/sequential_recommender/sine.py`` runs it at import, and the package imports that file
    for every sequential model; it costs a third of a SASRec step. The package is imported first, so that
    a later import cannot switch it on again.
    """
    import recbole.model.sequential_recommender  # noqa: F401

    torch.autograd.set_detect_anomaly(False)


def import_general_models() -> None:
    """Import RecBole's general models without ``kmeans_pytorch``.

    RecBole 1.2.0, the version that Python 3.12 and later can install (1.2.1 wants an old ray), imports it
    in ``ldiffrec.py`` for a model that nobody asked for, and does not install it; 1.2.1 imports it later.
    """
    absent = importlib.util.find_spec("kmeans_pytorch") is None
    if absent:
        stand_in = types.ModuleType("kmeans_pytorch")
        stand_in.kmeans = None  # type: ignore[attr-defined]
        sys.modules["kmeans_pytorch"] = stand_in
    try:
        importlib.import_module("recbole.model.general_recommender")
    finally:
        if absent:
            del sys.modules["kmeans_pytorch"]


def _read_unquoted(path: str, **options: Any) -> pd.DataFrame:
    # A separator of one character needs no Python parser: C reads millions of lines in seconds.
    options["engine"] = "python" if len(str(options.get("delimiter", ","))) > 1 else "c"
    # An item called "NA" or "null" is an item; only an empty cell is missing.
    options |= {"quoting": csv.QUOTE_NONE, "keep_default_na": False, "na_values": [""]}
    table: pd.DataFrame = pd.read_csv(path, **options)
    return table


@contextmanager
def unquoted_tables() -> Iterator[None]:
    """Read atomic files without quoting while the block runs.

    RecBole leaves pandas' quote character active: a ``"`` at the start of a field swallows lines.
    """
    from recbole.data.dataset import dataset as module

    original = module.pd
    module.pd = types.SimpleNamespace(**vars(pd) | {"read_csv": _read_unquoted})
    try:
        yield
    finally:
        module.pd = original


@contextmanager
def tensorboard_in(folder: Path | None) -> Iterator[None]:
    """Let a RecBole trainer that is made in this block write its TensorBoard events to `folder`.

    RecBole's own writer goes to ``./log_tensorboard``, wherever the process stands. None: nothing is
    written (by a process that is not the writer of its run).
    """
    from recbole.trainer import trainer as module

    def forget(*_: Any, **__: Any) -> None: ...

    def writer(_logger: logging.Logger) -> Any:
        if folder is None:
            return types.SimpleNamespace(add_scalar=forget, add_hparams=forget)
        return SummaryWriter(str(folder))

    original = module.get_tensorboard
    module.get_tensorboard = writer
    try:
        yield
    finally:
        module.get_tensorboard = original


def mend() -> None:
    """Apply the mends that hold for the whole process; calling it again does nothing more."""
    # RecBole calls pandas and torch in ways that still work; its users can do nothing about them.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")
    restore_numpy_names()
    import_general_models()
    switch_off_anomaly_mode()
    importlib.import_module(
        "recbole_unisid.recbole_adapter.gelu"
    ).chunk_gelu()  # RecBole can be imported by then
