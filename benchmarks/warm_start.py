"""A warm start against training from the beginning: accuracy and time on the CPU, after 5 % new interactions.

    python benchmarks/warm_start.py DATASET --to=DIR [--data_path=dataset] [--share=0.95] [--model=UniSID] [--seed=2020]
        [--key=value ...]

All interactions are put in order of time. The first `share` of them are the old data, all of them the new. Three runs:
the model on the old data, the same on the new data from the beginning, and on the new data from the first run
(`run --from`), with its short schedule or what `--warm.key=value` says of it. A run that is finished is not run again.
Prints, as JSON, the three results and the ratios of the warm start to training from the beginning: NDCG@10, and seconds
on the CPU of training (its validations and score terms included), and of the whole command with its evaluation.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from recbole_unisid.commands.options import parse_options, positional


def write_part(source: Path, folder: Path, share: float) -> None:
    """The first share of a data set's interactions by time, in the order of the file."""
    if (folder / f"{folder.name}.item").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    head, *rows = (source / f"{source.name}.inter").read_text(encoding="utf-8").splitlines()
    column = [name.split(":")[0] for name in head.split("\t")].index("timestamp")
    times = np.array([float(row.split("\t")[column]) for row in rows])
    first = np.sort(np.argsort(times, kind="stable")[: int(len(rows) * share)])
    text = "\n".join([head, *(rows[at] for at in first)]) + "\n"
    (folder / f"{folder.name}.inter").write_text(text, encoding="utf-8")
    shutil.copy(source / f"{source.name}.item", folder / f"{folder.name}.item")


def trained(to: Path, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The result of a run, with its folder and the CPU seconds of the whole command that made it."""
    kept = to / f"{name}.json"
    if not kept.is_file():
        places = {"data_path": to / "data", "output_dir": to / "runs" / name, "show_progress": False}
        words = [f"--{key}={value}" for key, value in (options | places).items()]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "recbole_unisid", "run", *words]
        subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        (folder,) = {path.parent for path in (to / "runs" / name).rglob("result.json")}
        kept.write_text(json.dumps({"folder": str(folder), "command_cpu_seconds": spent}))
    about = json.loads(kept.read_text())
    result = json.loads((Path(about["folder"]) / "result.json").read_text(encoding="utf-8"))
    figures = {
        "ndcg@10": result["test"]["full"]["ndcg@10"],
        "valid_ndcg@10": result["valid"] and result["valid"]["full"]["ndcg@10"],
        "cpu_seconds": result["cpu_seconds"] | {"command": about["command_cpu_seconds"]},
        "epochs": result["epochs"],
        "data": {key: result["data"][key] for key in ("users", "items", "interactions")},
    }
    return figures | {"folder": about["folder"]} | ({"from": result["from"]} if "from" in result else {})


def main() -> None:
    """Print the runs and the ratios as JSON."""
    dataset, rest = positional(sys.argv[1:])
    given: dict[str, Any] = dict(parse_options(rest))
    assert dataset is not None
    to, root = Path(given.pop("to")), Path(given.pop("data_path", "dataset"))
    share, name = float(given.pop("share", 0.95)), given.pop("warm_name", "warm")
    warm = {key[5:]: given.pop(key) for key in list(given) if key.startswith("warm.")}
    for part, size in (("old", share), ("new", 1.0)):
        write_part(root / dataset, to / "data" / f"{dataset}-{part}", size)
    settings = {"model": "UniSID"} | given
    old = trained(to, "old", settings | {"dataset": f"{dataset}-old"})
    found = {"old": old, "full": trained(to, "full", settings | {"dataset": f"{dataset}-new"})}
    found["warm"] = trained(to, name, warm | {"dataset": f"{dataset}-new", "from": old["folder"]})
    spent = {name: one["cpu_seconds"] for name, one in found.items()}
    ratios = {"ndcg@10": found["warm"]["ndcg@10"] / found["full"]["ndcg@10"]}
    if found["warm"]["valid_ndcg@10"]:  # with --warm.figures=all
        ratios["valid_ndcg@10"] = found["warm"]["valid_ndcg@10"] / found["full"]["valid_ndcg@10"]
    ratios |= {part: spent["warm"][part] / spent["full"][part] for part in ("training", "command")}
    print(json.dumps(found | {"warm / full": ratios}, indent=1))


if __name__ == "__main__":
    main()
