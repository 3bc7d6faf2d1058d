"""`recbole_unisid.prepare`: data frames of one's own turned into a data set."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from recbole_unisid.data.own_tables import prepare_from_tables
from recbole_unisid.data.summary import Summary
from recbole_unisid.errors import UserError


def prepare(
    interactions: pd.DataFrame,
    name: str,
    items: pd.DataFrame | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    data_path: str | Path = "dataset",
    core: int = 1,
    duplicates: str = "exact",
    overwrite: bool = False,
) -> Summary:
    """Write a data set of data frames, as the command ``prepare --from-csv`` does of tables.

    Ids best are text: pandas makes floats of whole numbers where one is missing. The `columns` go by role, as in
    ``{"user": "buyer", "item": "sku", "time": "date"}``; usual names are tried. The `core` is the k of a k-core; 1
    keeps everyone. The summary that comes back prints as the command's.
    """
    if (Path(data_path) / name / f"{name}.inter").exists() and not overwrite:
        raise UserError(
            f"{Path(data_path) / name} holds a data set: say overwrite=True, or choose another name."
        )
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for kind, table in (("interactions", interactions), ("items", items)):
            paths.append(None if table is None else Path(folder) / f"{kind}.parquet")
            if table is not None:
                table.to_parquet(paths[-1], index=False)
        assert paths[0] is not None
        return prepare_from_tables(
            paths[0],
            paths[1],
            columns or {},
            name,
            data_path,
            core=core,
            duplicates=duplicates,
            progress=False,
        )
