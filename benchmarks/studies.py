"""Studies: one question each, a handful of settings, several seeds, paired intervals.

    python -m benchmarks.studies distances --dataset=amazon-scientific-18 --seeds=5
    python -m benchmarks.studies --list

Every run is an ordinary run folder, found by its hash and never trained twice: a stopped study goes on with the
same command. The table goes to ``results/tables/study-<study>-<dataset>.csv``, and a page of results/ asks for it
by name. Settings that are not named are those of the recipe, with attention alone and without score terms
(:data:`PLAIN`); nothing is tuned here, so a study says what a setting does to *this* recipe and no more.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

from recbole_unisid.files import write_text
from recbole_unisid.recbole_adapter.keys import keys_read
from recbole_unisid.recbole_adapter.registry import resolve
from recbole_unisid.report.leaderboard import Leaderboard, Row, Run, make_leaderboard
from recbole_unisid.report.run_files import load_runs
from recbole_unisid.runs.api import run
from recbole_unisid.runs.machine import machine, versions

COSINE, EUCLID = "cosine", "euclidean"
#: What a study of items and losses leaves out: the low-pass, and score terms, which read text beside the tokens.
PLAIN = {"recipe": "plain"}


@dataclass(frozen=True)
class Arm:
    """One setting of a study."""

    label: str
    model: str = "UniSID"
    settings: dict[str, Any] = field(default_factory=dict)


def _levels(levels: int, codes: int) -> dict[str, Any]:
    distances = [COSINE] * (levels - 1) + [EUCLID]
    return {"codebook_sizes": [codes] * levels, "distances": distances}


def _distances(levels: int) -> list[Arm]:
    # The recipe's own pattern is mixed: left out, so that the run is found again by the other studies.
    patterns: dict[str, dict[str, Any]] = {
        "mixed": {},
        "cosine": {"distances": [COSINE] * levels},
        "Euclid": {"distances": [EUCLID] * levels},
    }
    arms = [Arm(name, settings=pattern) for name, pattern in patterns.items()]
    unit = {"tokenizer_options": {"code_length": "unit"}}
    for name in ("mixed", "cosine"):
        arms.append(Arm(f"{name}, unit lengths", settings=patterns[name] | unit))
    return arms


def _joint() -> list[Arm]:
    """Fixed against learned codes, both with the paper's three levels."""
    ours, three = {"semantics": "joint"}, _levels(3, 256)
    return [
        Arm("fixed, 3 x 256", settings=three),
        Arm("joint, 3 x 256, EMA codebooks", settings=three | ours),
        Arm("joint, 3 x 256, rotation", settings=three | ours | {"joint_estimator": "rotation"}),
        Arm("joint, 3 x 256, direct", settings=three | ours | {"joint_learning": "direct"}),
        Arm("joint, 3 x 256, EMA, 1-negative BCE", settings=three | ours | {"loss": "bce", "negatives": 1}),
    ]


def studies(levels: int, vectors: str | None = None) -> dict[str, list[Arm]]:
    """Every study; the first arm of each is the one that the others are compared with.

    Parameters
    ----------
    levels : int
        Code levels of the default recipe.
    vectors : str, optional
        File of item vectors, for the study of encoders.
    """
    given = [] if vectors is None else [Arm("given vectors", settings={"text_encoder": vectors})]
    shapes = [(1, 256), (2, 256), (3, 64), (3, 128), (3, 256), (3, 512), (4, 256)]
    return {
        "models": [
            Arm("ItemID", "ItemID"),
            Arm("UniSID"),
            Arm("SemanticID", "SemanticID"),
            Arm("DenseText", "DenseText"),
            Arm("DenseText + ID", "DenseText", {"id_dim": 6}),
            Arm("DenseText + ID, concatenated", "DenseText", {"id_dim": 6, "id_join": "concatenate"}),
        ],
        "distances": _distances(levels),
        "tokens": [
            Arm("residual k-means"),
            Arm("RQ-VAE", settings={"tokenizer": "rqvae"}),
            # OPQ cuts the vectors into parts: four fit the width of MiniLM (384), five do not.
            Arm("OPQ, 4 x 256", settings={"tokenizer": "opq", "codebook_sizes": [256] * 4}),
            Arm("LSH", settings={"tokenizer": "lsh"}),
            Arm("random codes", settings={"tokenizer": "random"}),
            Arm("residual k-means, balanced", settings={"collisions": "balanced"}),
            Arm("tables started from noise", settings={"table_init": "normal"}),
        ],
        "id-dimension": [
            Arm(f"ID {width}-d", settings={"id_dim": width}) for width in (6, 0, 2, 4, 8, 16, 32, 64)
        ],
        "id-join": [
            Arm("added through a map"),
            Arm("concatenated", settings={"id_join": "concatenate"}),
        ],
        "levels": [
            Arm(f"{levels} x 256"),
            *(Arm(f"{n} x {k}", settings=_levels(n, k)) for n, k in shapes),
        ],
        "joint": _joint(),
        "encoders": [
            Arm("MiniLM"),
            Arm("LSA (TF-IDF, SVD)", settings={"text_encoder": "lsa"}),
            *given,
        ],
        "losses": [
            Arm("sampled softmax"),
            Arm("softmax", settings={"loss": "softmax"}),
            Arm("BCE, 1 negative", settings={"loss": "bce", "negatives": 1}),
            Arm("gBCE, 128 negatives", settings={"loss": "gbce", "negatives": 128}),
        ],
    }


def run_study(arms: Sequence[Arm], options: argparse.Namespace) -> Leaderboard:
    """Run what is missing, seed by seed, so that a stopped study has whole seeds; compare with the first arm."""
    runs: list[Run] = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for arm in arms:
            settings = {
                "data_path": options.data_path,
                "output_dir": options.output_dir,
                "seed": seed,
                "show_progress": False,
            }
            read = keys_read(resolve(arm.model))
            shared = {key: value for key, value in (PLAIN | options.settings).items() if key in read}
            result = run(arm.model, options.dataset, settings | shared | arm.settings, verbose=False)
            print(f"{arm.label}, seed {seed}: NDCG@10 {result['test']['full']['ndcg@10']:.4f}", flush=True)
            files = load_runs([result["run_dir"]])[0]
            # Arms are told apart by their label: their settings may differ in several keys.
            runs.append(Run({**files.result, "model": arm.label, "recipe": "default"}, files.ranks))
    return make_leaderboard(runs, arms[0].label)


def _chosen(arms: list[Arm], labels: str | None) -> list[Arm]:
    """The arms of these labels, behind the study's reference; all of them where none are named."""
    if labels is None:
        return arms
    wanted = labels.split("|")
    if unknown := set(wanted) - {arm.label for arm in arms}:
        raise SystemExit(
            f"--arms: no arm {sorted(unknown)[0]!r}; there are {', '.join(arm.label for arm in arms)}"
        )
    return [arm for arm in arms if arm is arms[0] or arm.label in wanted]


def to_rows(board: Leaderboard) -> list[list[str]]:
    """The study as a table: means, deviations over seeds, differences with paired intervals."""
    rows = [["arm", "token parameters", "R@10", "NDCG@10", "difference in NDCG@10", "HR@10, 99 negatives"]]
    for row in board.rows:
        rows.append(
            [
                row.model,
                "" if row.token_parameters is None else f"{row.token_parameters:,}",
                _spread(row, ("full", "recall@10")),
                _spread(row, ("full", "ndcg@10")),
                _difference(row),
                _spread(row, ("sampled99", "hit@10")),
            ]
        )
    return rows


def _spread(row: Row, column: tuple[str, str]) -> str:
    spread = row.spreads[column]
    return f"{spread.mean:.4f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.4f}")


def _difference(row: Row) -> str:
    found = row.comparisons.get(("full", "ndcg@10"))
    if found is None:
        return "reference"
    interval, relative = found.difference, found.relative or 0.0
    mark = "**" if found.significant else ""
    return f"{mark}{100 * relative:+.1f} %{mark} [{interval.low:+.4f}, {interval.high:+.4f}]"


def main() -> None:
    """Run one study and write its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("studies", nargs="*", help="which, by name")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--dataset", default="amazon-scientific-18")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--output_dir", default="runs")
    parser.add_argument("--results", type=Path, default=Path("results/tables"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first_seed", type=int, default=2020)
    parser.add_argument("--levels", type=int, default=5, help="code levels of the default recipe")
    parser.add_argument("--vectors", help="file of item vectors, for the study of encoders")
    parser.add_argument(
        "--arms", help="these alone, by label, parted by |; the first arm of a study always runs"
    )
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="of every arm that has no own, as JSON"
    )
    options = parser.parse_args()
    known = studies(options.levels, options.vectors)
    if options.list or not options.studies:
        print("\n".join(f"{name}: {', '.join(arm.label for arm in arms)}" for name, arms in known.items()))
        return
    for name in options.studies:
        board = run_study(_chosen(known[name], options.arms), options)
        rows = to_rows(board)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_text(options.results / f"study-{name}-{options.dataset}.csv", text.getvalue())
        print(tabulate(rows[1:], headers=rows[0], disable_numparse=True))
        print(f"{options.seeds} seeds, {machine()['cpu']}, torch {versions()['torch']}")


if __name__ == "__main__":
    main()
