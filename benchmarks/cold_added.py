"""Items that came later: ``python -m benchmarks.cold_added``.

500 items are taken out of a data set altogether, a model is trained on the rest, the 500 come back by
``add-items``, and users whose last item is one of them are asked for it. Every difference is paired user by user
over the mean of the seeds, with a bootstrap interval. Finished runs are found again, so a stopped study goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
from recbole_unisid.data.split import TEST, leave_one_out
from recbole_unisid.evaluation.metrics import per_user_metric
from recbole_unisid.files import write_json
from recbole_unisid.items.new_items import NewItems
from recbole_unisid.runs.stored import version_numbers
from recbole_unisid.serving.add_items import add_items
from recbole_unisid.serving.loaded import LoadedRun, load

#: Draws of random codes, averaged user by user.
DRAWS = 20


@dataclass(frozen=True)
class Cases:
    """Who is asked for what: histories of names, a name each."""

    users: list[str]
    histories: list[list[str]]
    targets: list[str]

    @staticmethod
    def of(sequences: UserSequences, positions: NDArray[np.int64]) -> Cases:
        """Cases at some flat positions."""
        users = sequences.owners(positions)
        names = sequences.item_ids
        return Cases(
            sequences.user_ids[users].tolist(),
            [
                names[sequences.items[sequences.offsets[u] : t]].tolist()
                for u, t in zip(users, positions, strict=True)
            ],
            names[sequences.items[positions]].tolist(),
        )


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
    """The model, the same weights where new items have their own tokens, right and meaningless, and text controls."""
    number = {item: n for n, item in enumerate(run.item_ids)}
    histories = [np.array([number[item] for item in history]) for history in cases.histories]
    targets = np.array([number[item] for item in cases.targets])
    first_new = run.stored.catalogue.n_items + 1

    def measured(scores: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        return values_of(ranks_among(scores, histories, targets, first_new))

    found = {model: measured(run.scores(histories))}
    if run.codes is not None:
        means, run.model.items.new_items = run.model.items.new_items, NewItems()
        run.model.eval()  # vectors kept from before are dropped
        if means.neighbours:
            found[f"{model}, own tokens and the mean ID"] = measured(run.scores(histories))
        for name, codes in meaningless_codes(run, first_new):
            draws = [measured(scores_with(run, drawn, histories, first_new)) for drawn in codes]
            found[f"{model}, {name}"] = mean_of(draws)
        run.model.items.new_items = means
        run.model.eval()
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


def main() -> None:
    """Run the study and keep its figures."""
    study = study_of_command(__doc__, ["UniSID", "SemanticID", "DenseText"])
    write_json(study.output / f"added-{study.dataset}.json", added_study(study))


if __name__ == "__main__":
    main()
