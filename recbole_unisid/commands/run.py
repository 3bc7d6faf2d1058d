"""``recbole-unisid run``: train and evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbole_unisid.commands.options import parse_options, take_config_files

HELP = """\
usage: recbole-unisid run [--model=M[,M...]] [--dataset=D] [--key=value ...]
       python run_recbole_unisid.py   (the same)

Train models on a data set and evaluate them under one protocol.

  --model=UniSID          one or several, with commas: UniSID, ItemID, SemanticID, DenseText, TIGER, RPG
                          (ours), any RecBole sequential model by its name, Pop, ItemKNN, BPR,
                          module:Class for one of your own
  --dataset=ml-100k       a folder under --data_path with D.inter and D.item (RecBole atomic files)
  --data_path=dataset     where data sets are
  --seed=2020             or --seeds=5 (2020 ... 2024) or --seeds=7,8,9
  --tune=20               search settings instead, 20 trials a model, on the validation set alone
  --recipe=default        a named set of settings of the model
  --config_files=F        YAML files of settings, with commas; they may name the model and the data set, too
  --output_dir=runs       run folders go to OUTPUT_DIR/DATASET/MODEL/SEED-HASH
  --use_gpu=true          a GPU is used where there is one
  --list-models           show every model
  --help                  show this

Every setting of RecBole and of ours is a key, such as --epochs=20 --learning_rate=1e-3 --id_dim=16.
Ours stand with their meaning in properties/overall.yaml and properties/model/. A finished run is not
run again; a stopped one goes on with the same command.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    options: dict[str, Any] = dict(parse_options(arguments))
    if options.pop("help", None):
        print(HELP, end="")
        return 0
    if options.pop("list_models", None):
        print(model_list())
        return 0
    # The heavy imports come after --help.
    from recbole_unisid import distributed
    from recbole_unisid.report.tables import summary_table
    from recbole_unisid.report.wording import command
    from recbole_unisid.runs.api import run

    found = run(config_files=take_config_files(options), config_dict=options)
    if not distributed.is_writer():
        return 0
    if isinstance(found, list) and "folder" in found[0]:
        for search in found:
            print(f"{search['model']}: {search['score']:.4f} on validation; run it with")
            named = f"--model={search['model']} --dataset={search['dataset']}"
            print("  " + command("run", f"{named} --config_files={search['folder']}/best.yaml"))
    elif not isinstance(found, list):
        print(summary_table(found))
    return 0


def model_list() -> str:
    """All models by kind, one kind a paragraph."""
    from recbole_unisid.recbole_adapter.registry import GENERAL_BASELINES, OWN_MODELS, sequential_models

    kinds = {
        "Ours, trained on whole sequences:": OWN_MODELS,
        "RecBole's sequential models:": sequential_models(),
        "RecBole's general baselines:": GENERAL_BASELINES,
    }
    return "\n".join(f"{title}\n  {', '.join(names)}" for title, names in kinds.items())
