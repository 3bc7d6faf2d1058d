"""The protocol's cold items: ``python -m benchmarks.cold_split``.

Models under ``--split=cold_items``, whose tokenizer has seen the texts of the items that are never trained on.
``--draws`` are protocol seeds, each of which draws the cold items anew; the protocol's by default.
Every difference is paired user by user over the mean of the seeds, with a bootstrap interval. Finished runs are
found again, so a stopped study goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TEST, cold_items
from recbole_unisid.evaluation.table import RankTable
from recbole_unisid.files import write_json
from recbole_unisid.recbole_adapter.config import UniSIDConfig
from recbole_unisid.recbole_adapter.dataset import PrefixRowDataset
from recbole_unisid.recbole_adapter.semantics import item_semantics


class Draw(NamedTuple):
    """The cases of one draw of cold items."""

    values: dict[str, dict[str, NDArray[np.float64]]]  # by model or rule, then metric
    users: list[str]
    targets: list[str]
    cold: int


def split_study(study: Study) -> dict[str, Any]:
    """Models under ``--split=cold_items``, with the text controls on the same cases; those of all draws together."""
    sequences, texts = study.sequences(), dataset_texts(study)
    draws = [one_draw(study, sequences, texts, draw) for draw in study.draws]
    merged = {
        name: {key: np.concatenate([draw.values[name][key] for draw in draws]) for key in of_first}
        for name, of_first in draws[0].values.items()
    }
    names = [name for draw in draws for name in draw.users], [name for draw in draws for name in draw.targets]
    return {
        "cases": len(names[0]),
        "target_items": len(set(names[1])),
        "cold_items": sum(draw.cold for draw in draws),
        "seeds": list(study.seeds),
        "draws": list(study.draws),
        "means": {name: summary(found) for name, found in merged.items()},
        "differences": differences(merged, *names),
        "over_nearest_text": over_nearest_text(merged, *names),
    }


def one_draw(study: Study, sequences: UserSequences, texts: NDArray[np.float32], draw: int) -> Draw:
    """Train on what is not cold, and ask for what is; means over the seeds."""
    split = cold_items(sequences, 0.1, draw)
    positions = split.targets(TEST)
    settings = {"split": "cold_items", "protocol_seed": draw}
    merged = {}
    for model in study.models:
        name, more = VARIANTS[model]
        parts = []
        for seed in study.seeds:
            result = recbole_unisid.run(
                name, study.dataset, study.settings(seed, **settings, **more), verbose=False
            )
            table = RankTable.load(Path(result["run_dir"]) / "ranks.npz")
            assert table.target.tolist() == sequences.item_ids[sequences.items[positions]].tolist()
            parts.append(values_of({"full": table.ranks["full"]}))
            print(f"{model} draw {draw} seed {seed}: {summary(parts[-1])}", flush=True)
        merged[model] = mean_of(parts)
    users, targets = sequences.owners(positions), sequences.items[positions]
    histories = [sequences.items[sequences.offsets[u] : t] for u, t in zip(users, positions, strict=True)]
    for control, score in (("last item", last_text_scores), ("whole history", history_text_scores)):
        ranks = ranks_among(score(texts, histories), histories, targets, sequences.n_items + 1)
        merged[f"nearest text to the {control}"] = values_of(ranks)
    cold = int((split.training_counts(sequences)[1:] == 0).sum())
    return Draw(merged, sequences.user_ids[users].tolist(), sequences.item_ids[targets].tolist(), cold)


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
    of = "" if study.draws == [12345] else f"-{len(study.draws)}-draws"
    write_json(study.output / f"split-{study.dataset}{of}.json", split_study(study))


if __name__ == "__main__":
    main()
