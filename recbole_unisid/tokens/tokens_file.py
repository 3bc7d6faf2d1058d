"""Code tuples as text: our ``tokens.tsv``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.files import write_text

HEADER = "item_id\tcodes"


def write_tokens_tsv(path: Path, item_ids: Sequence[str], codes: NDArray[np.int64]) -> None:
    """Write one line an item: its token, a tab, its codes with blanks between; atomically.

    Parameters
    ----------
    path : Path
    item_ids : sequence of str
    codes : ndarray of int64, shape [items, levels]
    """
    rows = (f"{item}\t{' '.join(map(str, row))}" for item, row in zip(item_ids, codes.tolist(), strict=True))
    write_text(path, "\n".join([HEADER, *rows]) + "\n")
