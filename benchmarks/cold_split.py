"""The protocol's cold items: ``python -m benchmarks.cold_split``.

Models under ``--split=cold_items``, whose tokenizer has seen the texts of the items that are never trained on.
Every difference is paired user by user over the mean of the seeds, with a bootstrap interval. Finished runs are
found again, so a stopped study goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import recbole_unisid
from benchmarks.cold_study import (
    VARIANTS,
    Study,
    differences,
    mean_of,
    ranks_among,
    study_of_command,
    summary,
    values_of,
)
from benchmarks.cold_text import history_text_scores, last_text_scores, unit_texts
from recbole_unisid.data.split import TEST, cold_items
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.files import write_json
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import PrefixRowDataset
from recbole_unisid.recbole_adapter.semantics import item_semantics


def split_study(study: Study) -> dict[str, Any]:
    """Models under ``--split=cold_items``, with the text controls on the same cases."""
    sequences = study.sequences()
    split = cold_items(sequences, 0.1, 12345)
    positions = split.targets(TEST)
    counts = split.training_counts(sequences)
    cold = np.flatnonzero(counts == 0)[1:]
    merged = {}
    for model in study.models:
        name, more = VARIANTS[model]
        parts = []
        for seed in study.seeds:
            result = recbole_unisid.run(
                name, study.dataset, study.settings(seed, split="cold_items", **more), verbose=False
            )
            table = RankTable.load(Path(result["run_dir"]) / "ranks.npz")
            assert table.target.tolist() == sequences.item_ids[sequences.items[positions]].tolist()
            parts.append(values_of({"full": table.ranks["full"]}))
            print(f"{model} seed {seed}: {summary(parts[-1])}", flush=True)
        merged[model] = mean_of(parts)
    users = sequences.owners(positions)
    histories = [sequences.items[sequences.offsets[u] : t] for u, t in zip(users, positions, strict=True)]
    texts, targets = dataset_texts(study), sequences.items[positions]
    for control, score in (("last item", last_text_scores), ("whole history", history_text_scores)):
        ranks = ranks_among(score(texts, histories), histories, targets, sequences.n_items + 1)
        merged[f"nearest text to the {control}"] = values_of(ranks)
    names = sequences.user_ids[users].tolist(), sequences.item_ids[targets].tolist()
    return {
        "cases": len(positions),
        "target_items": len(np.unique(targets)),
        "cold_items": len(cold),
        "seeds": list(study.seeds),
        "means": {name: summary(found) for name, found in merged.items()},
        "differences": differences(merged, *names),
        "over_nearest_text": over_nearest_text(merged, *names),
    }


def over_nearest_text(
    merged: Mapping[str, Mapping[str, NDArray[np.float64]]], users: Sequence[str], targets: Sequence[str]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Every model minus the plain rule "text nearest to the last item", with intervals."""
    rule = merged["nearest text to the last item"]
    models = {name: values for name, values in merged.items() if not name.startswith("nearest text")}
    return {
        name: differences({name: values, "rule": rule}, users, targets, name)["rule"]
        for name, values in models.items()
    }


def dataset_texts(study: Study) -> NDArray[np.float32]:
    """Unit text vectors of a data set's items, padding first."""
    config = UniSIDConfig("UniSID", study.dataset, study.settings(2020))
    dataset = PrefixRowDataset(config)
    return unit_texts(item_semantics(config, dataset).vectors)


def main() -> None:
    """Run the study and keep its figures."""
    study = study_of_command(__doc__, list(VARIANTS))
    write_json(study.output / f"split-{study.dataset}.json", split_study(study))


if __name__ == "__main__":
    main()
