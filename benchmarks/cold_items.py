"""Items that a model was never trained on: ``python -m benchmarks.cold_items added | split``.

``added``: 500 items are taken out of a data set altogether, a model is trained on the rest, the 500 come back by
``add-items``, and users whose last item is one of them are asked for it. ``split``: the same question under
``--split=cold_items``, whose tokenizer has seen the texts. Every difference is paired user by user over the mean
of the seeds, with a bootstrap interval. Finished runs are found again, so a stopped study goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import recbole_unisid
from benchmarks.cold_text import history_text_scores, last_text_scores, unit_texts
from recbole_unisid.data.sequences import UserSequences
from recbole_unisid.data.split import TEST, cold_items, leave_one_out
from recbole_unisid.files import write_json
from recbole_unisid.host.config import UniSIDConfig
from recbole_unisid.host.dataset import PrefixRowDataset
from recbole_unisid.ranks.bootstrap import bootstrap_mean
from recbole_unisid.ranks.metrics import per_user_metric
from recbole_unisid.ranks.rank import ranks_from_scores
from recbole_unisid.ranks.table import RankTable
from recbole_unisid.scores.candidates import case_users
from recbole_unisid.serving.add_items import add_items
from recbole_unisid.serving.loaded import LoadedRun, load
from recbole_unisid.serving.versions import version_numbers

Ranks = NDArray[np.int64]
METRICS = ("recall@10", "ndcg@10", "recall@50")
#: Draws of random codes, averaged user by user.
DRAWS = 20
RANDOM: dict[str, Any] = {"tokenizer": "random"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "UniSID": ("UniSID", {}),
    "SemanticID": ("SemanticID", {}),
    "DenseText": ("DenseText", {}),
    "DenseText, id_dim 8": ("DenseText", {"id_dim": 8}),
    "UniSID, random codes": ("UniSID", RANDOM),
    "SemanticID, random codes": ("SemanticID", RANDOM),
}


@dataclass(frozen=True)
class Study:
    """Where the study is and what of it is wanted."""

    dataset: str
    data_path: Path
    output: Path
    seeds: Sequence[int]
    models: Sequence[str]
    removed: int = 500
    epochs: int | None = None

    def settings(self, seed: int, **more: Any) -> dict[str, Any]:
        """Settings of one run."""
        places = {"data_path": str(self.data_path), "output_dir": str(self.output / "runs")}
        budget = {} if self.epochs is None else {"epochs": self.epochs}
        return places | {"seed": seed, "show_progress": False} | budget | more

    def sequences(self) -> UserSequences:
        """Everybody's items."""
        dataset = PrefixRowDataset(UniSIDConfig("UniSID", self.dataset, (), self.settings(2020)))
        dataset.build_sequences()
        return dataset.sequences


@dataclass(frozen=True)
class Cases:
    """Who is asked for what: histories of names, a name each."""

    users: list[str]
    histories: list[list[str]]
    targets: list[str]

    @staticmethod
    def of(sequences: UserSequences, positions: NDArray[np.int64]) -> Cases:
        """Cases at some flat positions."""
        users = case_users(sequences, positions)
        names = sequences.item_ids
        return Cases(
            sequences.user_ids[users].tolist(),
            [
                names[sequences.items[sequences.offsets[u] : t]].tolist()
                for u, t in zip(users, positions, strict=True)
            ],
            names[sequences.items[positions]].tolist(),
        )


def ranks_among(
    scores: NDArray[np.float32],
    histories: Sequence[NDArray[np.int64]],
    targets: NDArray[np.int64],
    new_from: int,
) -> dict[str, Ranks]:
    """Ranks among all items but those seen (``full``) and among the new of these alone (``new``)."""
    rows = torch.from_numpy(np.repeat(np.arange(len(histories)), [len(h) for h in histories]))
    seen = (rows, torch.from_numpy(np.concatenate(histories)))
    found = {"full": ranks_from_scores(torch.from_numpy(scores), torch.from_numpy(targets), seen)["full"]}
    if (targets >= new_from).all():
        apart = scores.copy()
        apart[:, :new_from] = -np.inf
        found["new"] = ranks_from_scores(torch.from_numpy(apart), torch.from_numpy(targets), seen)["full"]
    return found


def values_of(ranks: Mapping[str, Ranks]) -> dict[str, NDArray[np.float64]]:
    """Every metric of every case, by candidate set and metric."""
    return {f"{name} {metric}": per_user_metric(r, metric) for name, r in ranks.items() for metric in METRICS}


def mean_of(parts: Sequence[Mapping[str, NDArray[np.float64]]]) -> dict[str, NDArray[np.float64]]:
    """Case by case, over seeds or draws."""
    return {key: np.mean([part[key] for part in parts], axis=0) for key in parts[0]}


# --- added: strictly new items ------------------------------------------------------------------------


def reduced_dataset(study: Study, cold: set[str]) -> Path:
    """Write the data set without some items; what is left of a sequence keeps its order."""
    name = f"{study.dataset}-without-{study.removed}"
    folder = study.output / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    source = study.data_path / study.dataset
    for ending, place in (("inter", "item_id"), ("item", "item_id")):
        head, *lines = (
            (source / f"{study.dataset}.{ending}").read_text(encoding="utf-8").rstrip("\n").split("\n")
        )
        column = [field.split(":")[0] for field in head.split("\t")].index(place)
        rows = [(line.split("\t")[column] in cold, line) for line in lines]
        kept = "\n".join([head, *(line for is_cold, line in rows if not is_cold)]) + "\n"
        (folder / f"{name}.{ending}").write_text(kept, encoding="utf-8")
        if ending == "item":
            new = "\n".join([head, *(line for is_cold, line in rows if is_cold)]) + "\n"
            (study.output / "data" / "new.item").write_text(new, encoding="utf-8")
    return folder


def added_study(study: Study) -> dict[str, Any]:
    """Train without the items, add them, and ask for them."""
    sequences = study.sequences()
    drawn = np.random.default_rng(12345).permutation(sequences.n_items)[: study.removed] + 1
    folder = reduced_dataset(study, set(sequences.item_ids[drawn].tolist()))
    tests = leave_one_out(sequences).targets(TEST)
    is_new = np.isin(sequences.items[tests], drawn)
    new_cases, old_cases = Cases.of(sequences, tests[is_new]), Cases.of(sequences, tests[~is_new])
    values: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
    old: dict[str, list[dict[str, float]]] = {}
    for model in study.models:
        for seed in study.seeds:
            settings = study.settings(seed) | VARIANTS[model][1] | {"data_path": str(folder.parent)}
            result = recbole_unisid.run(VARIANTS[model][0], folder.name, settings, verbose=False)
            run = with_added(Path(result["run_dir"]), study.output / "data" / "new.item")
            for name, found in measure_added(run, new_cases, model).items():
                values.setdefault(name, []).append(found)
            old.setdefault(model, []).append(warm_before_and_after(run, old_cases))
            print(f"{model} seed {seed}: {summary(values[model][-1])}", flush=True)
    merged = {name: mean_of(parts) for name, parts in values.items()}
    return {
        "cases": len(new_cases.targets),
        "target_items": len(set(new_cases.targets)),
        "new_items": study.removed,
        "seeds": list(study.seeds),
        "means": {name: summary(found) for name, found in merged.items()},
        "differences": differences(merged, new_cases.users, new_cases.targets),
        "other_targets": {
            m: {k: float(np.mean([p[k] for p in parts])) for k in parts[0]} for m, parts in old.items()
        },
    }


def with_added(run_dir: Path, items: Path) -> LoadedRun:
    """The run with the items in its catalogue, added once."""
    if version_numbers(run_dir) == [1]:
        add_items(run_dir, items, show_progress=False)
    return load(run_dir, catalogue=2)


def measure_added(run: LoadedRun, cases: Cases, model: str) -> dict[str, dict[str, NDArray[np.float64]]]:
    """The model, the same model with meaningless codes for the new items, and the text controls."""
    number = {item: n for n, item in enumerate(run.item_ids)}
    histories = [np.array([number[item] for item in history]) for history in cases.histories]
    targets = np.array([number[item] for item in cases.targets])
    first_new = run.stored.catalogue.n_items + 1

    def measured(scores: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        return values_of(ranks_among(scores, histories, targets, first_new))

    found = {model: measured(run.scores(histories))}
    if run.codes is not None:
        for name, codes in meaningless_codes(run, first_new):
            draws = [measured(scores_with(run, drawn, histories, first_new)) for drawn in codes]
            found[f"{model}, {name}"] = mean_of(draws)
    if model == "UniSID":
        texts = unit_texts(run)
        found["nearest text to the last item"] = measured(last_text_scores(texts, histories))
        found["nearest text to the whole history"] = measured(history_text_scores(texts, histories))
    return found


def meaningless_codes(run: LoadedRun, first_new: int) -> Iterator[tuple[str, list[NDArray[np.int64]]]]:
    """Codes for the new items that say nothing: drawn uniformly, or each those of another new item."""
    assert run.codes is not None
    assert run.tokenization is not None
    rng = np.random.default_rng(0)
    real, sizes = run.codes[first_new:], [len(book) for book in run.tokenization.codebooks]
    yield "random codes for the new", [rng.integers(sizes, size=real.shape) for _ in range(DRAWS)]
    yield "codes shuffled among the new", [rng.permutation(real) for _ in range(DRAWS)]


def scores_with(
    run: LoadedRun, codes: NDArray[np.int64], histories: Sequence[NDArray[np.int64]], first_new: int
) -> NDArray[np.float32]:
    """Scores of the same weights when the new items have other codes."""
    tokens = run.model.items.semantic
    real = tokens.rows.clone()
    starts = torch.tensor([0, *tokens.codebook_sizes[:-1]]).cumsum(0)
    tokens.rows[first_new:] = torch.from_numpy(codes) + starts
    run.model.eval()  # vectors kept from before are dropped
    scores = run.scores(histories)
    tokens.rows.copy_(real)
    run.model.eval()
    return scores


def warm_before_and_after(run: LoadedRun, cases: Cases) -> dict[str, float]:
    """NDCG@10 for users whose last item was trained on, with the catalogue as trained and as it is now."""
    found = {}
    for name, one in (("before", load(run.path, catalogue=1)), ("after", run)):
        number = {item: n for n, item in enumerate(one.item_ids)}
        histories = [np.array([number[i] for i in h if i in number], dtype=np.int64) for h in cases.histories]
        kept = [row for row, history in enumerate(histories) if len(history)]
        chosen = [histories[row] for row in kept]
        targets = np.array([number[cases.targets[row]] for row in kept])
        ranks = ranks_among(one.scores(chosen), chosen, targets, one.n_items + 1)["full"]
        found[name] = float(per_user_metric(ranks, "ndcg@10").mean())
    return found


# --- split: the cold-item split of the protocol ---------------------------------------------------------


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
    users = case_users(sequences, positions)
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
    from recbole_unisid.host.semantics import text_vectors

    config = UniSIDConfig("UniSID", study.dataset, (), study.settings(2020))
    dataset = PrefixRowDataset(config)
    vectors = text_vectors(config, dataset, [str(i) for i in dataset.field2id_token[dataset.iid_field][1:]])
    return unit_texts(vectors)


def summary(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Means over cases."""
    return {key: round(float(value.mean()), 4) for key, value in values.items()}


def differences(
    merged: Mapping[str, Mapping[str, NDArray[np.float64]]],
    users: Sequence[str],
    targets: Sequence[str],
    one: str = "UniSID",
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """One line against each other line: difference, its 95 % interval and p, for every metric.

    ``users``: had other users come. ``items``: had other items been cold, which is wider, since a few items
    are the target of many users.
    """
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, values in merged.items():
        if name == one:
            continue
        for key in values:
            gaps = merged[one][key] - values[key]
            for unit, owners in (("users", users), ("items", targets)):
                interval = bootstrap_mean(gaps, np.array(owners))
                rounded = [round(float(number), 4) for number in interval]
                found.setdefault(name, {}).setdefault(key, {})[unit] = rounded
    return found


def main() -> None:
    """Run one study and keep its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=("added", "split"))
    parser.add_argument("--dataset", default="amazon-scientific-18")
    parser.add_argument("--data_path", type=Path, default=Path("dataset"))
    parser.add_argument("--output", type=Path, default=Path("cold-items"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    parser.add_argument("--models", nargs="+", default=None, choices=list(VARIANTS))
    parser.add_argument("--epochs", type=int, help="at most, the same for every model; default: its own")
    given = parser.parse_args()
    default = ["UniSID", "SemanticID", "DenseText"] if given.study == "added" else list(VARIANTS)
    models = given.models or default
    study = Study(given.dataset, given.data_path, given.output, given.seeds, models, epochs=given.epochs)
    found = added_study(study) if given.study == "added" else split_study(study)
    write_json(study.output / f"{given.study}-{given.dataset}.json", found)


if __name__ == "__main__":
    main()
