"""A data set whose text says less: ``python -m benchmarks.weak_text --dataset=NAME --mixed=0.5`` or ``--keep=COLUMN``.

`--mixed`: that share of the items, drawn at random, swap their texts among themselves. `--keep`: one column of the text
is left, the others are empty. It is written beside the data set as NAME-mixed50 or NAME-COLUMN, with the interactions
of NAME, and run like any other.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd


def with_mixed_texts(items: pd.DataFrame, share: float, seed: int = 1) -> pd.DataFrame:
    """Items with column ``item_id:token`` first; a share of them has another's text."""
    generator = np.random.default_rng(seed)
    places = np.flatnonzero(generator.random(len(items)) < share)
    found = items.copy()
    found.iloc[places, 1:] = items.iloc[generator.permutation(places), 1:].to_numpy()
    return found


def with_one_column(items: pd.DataFrame, kept: str) -> pd.DataFrame:
    """Items whose columns are all empty but for the first and the one of this name."""
    others = [column for column in items.columns[1:] if column.split(":")[0] != kept]
    return items.assign(**dict.fromkeys(others, ""))


def main() -> None:
    """Write the data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="amazon-scientific-18")
    parser.add_argument("--data_path", type=Path, default=Path("dataset"))
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--mixed", type=float)
    how.add_argument("--keep")
    given = parser.parse_args()
    source = given.data_path / given.dataset
    name = f"{given.dataset}-{given.keep or f'mixed{100 * given.mixed:.0f}'}"
    folder = given.data_path / name
    folder.mkdir(exist_ok=True)
    items = pd.read_csv(source / f"{given.dataset}.item", sep="\t", dtype=str, keep_default_na=False)
    made = with_one_column(items, given.keep) if given.keep else with_mixed_texts(items, given.mixed)
    made.to_csv(folder / f"{name}.item", sep="\t", index=False)
    shutil.copyfile(source / f"{given.dataset}.inter", folder / f"{name}.inter")
    print(f"{folder}: {int((made != items).any(axis=1).sum()):,} of {len(items):,} items have another text")


if __name__ == "__main__":
    main()
