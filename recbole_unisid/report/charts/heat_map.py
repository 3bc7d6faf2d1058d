"""How often each code is in use, as a square of cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbole_unisid.report.markup import Markup, tag

#: Shades of the cells that are in use; a code without items is drawn apart.
SHADES = 6


def heat_map(usage: NDArray[np.int64], spoken: str) -> Markup:
    """Draw one cell a code, in the order of the codes, darker the more items it has.

    Parameters
    ----------
    usage : ndarray of int64, shape [codes]
        Items of each code.
    spoken : str
        The drawing in words.

    Notes
    -----
    Shades follow the logarithm: the first codes of a skewed level would outshine all others otherwise.
    Cells of one shade are one path, so that 4,096 codes cost a few kilobytes.
    """
    columns = max(1, int(np.ceil(np.sqrt(len(usage)))))
    rows = -(-len(usage) // columns)
    scaled = np.log(np.maximum(usage, 1)) / max(np.log(usage.max(initial=2)), 1e-12)
    shade = np.where(usage > 0, np.minimum(SHADES, 1 + (scaled * (SHADES - 1) + 0.5).astype(int)), 0)
    paths = []
    for one in range(SHADES + 1):
        cells = np.flatnonzero(shade == one).tolist()
        if cells:
            # Each cell is a square of .9 with a gap of .1 around it.
            way = "".join(f"M{cell % columns} {cell // columns}h.9v.9h-.9z" for cell in cells)
            paths.append(tag("path", d=way, class_=f"h{one}"))
    return tag(
        "svg", *paths, viewbox=f"-.05 -.05 {columns} {rows}", class_="heat", role="img", aria_label=spoken
    )
