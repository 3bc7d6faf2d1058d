"""A data set in which people repeat: ``python -m benchmarks.repeats --dataset=NAME --share=0.3``.

Each item of a sequence but the first becomes, with that chance, one that its user had before, drawn evenly from the
history. It is written beside the data set as NAME-repeats, with the items of NAME, and run like any other.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd


def with_repeats(rows: pd.DataFrame, share: float, seed: int = 0) -> pd.DataFrame:
    """Interactions with columns ``user_id:token``, ``item_id:token`` and others, of each user in order of time."""
    generator = np.random.default_rng(seed)
    rows = rows.sort_values("timestamp:float", kind="stable")
    items = rows["item_id:token"].to_numpy(copy=True)
    for places in rows.reset_index(drop=True).groupby("user_id:token", sort=False).indices.values():
        again = generator.random(len(places)) < share
        for number in np.flatnonzero(again[1:]) + 1:
            items[places[number]] = items[places[generator.integers(number)]]
    return rows.assign(**{"item_id:token": items})


def main() -> None:
    """Write the data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="amazon-scientific-18")
    parser.add_argument("--data_path", type=Path, default=Path("dataset"))
    parser.add_argument("--share", type=float, default=0.3)
    given = parser.parse_args()
    source, name = given.data_path / given.dataset, f"{given.dataset}-repeats"
    folder = given.data_path / name
    folder.mkdir(exist_ok=True)
    rows = pd.read_csv(source / f"{given.dataset}.inter", sep="\t", dtype=str, keep_default_na=False)
    rows["timestamp:float"] = rows["timestamp:float"].astype(float)
    made = with_repeats(rows, given.share)
    made.to_csv(folder / f"{name}.inter", sep="\t", index=False)
    shutil.copyfile(source / f"{given.dataset}.item", folder / f"{name}.item")
    print(f"{folder}: {len(made):,} interactions of {made['user_id:token'].nunique():,} people")


if __name__ == "__main__":
    main()
