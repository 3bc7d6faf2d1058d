"""``recbole-unisid run``: train and evaluate."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from recbole_unisid.commands.options import parse_options, take_config_files

_INDENT: dict[str, Any] = {"initial_indent": "      ", "subsequent_indent": "      "}
HELP = """\
usage: recbole-unisid run [--model=M[,M...]] [--dataset=D] [--key=value ...]
       python run_recbole_unisid.py   (the same)

Train models on a data set and evaluate them under one protocol.

  --model=UniSID          one or several, with commas: UniSID, ItemID, SemanticID, DenseText, TIGER, RPG
                          (ours), NearestText, Transitions, TransitionText (rules: nothing is trained),
                          BSARec, WEARec (as published), sequential models of RecBole (--list-models), Pop,
                          ItemKNN, BPR, module:Class for one of your own
  --dataset=ml-100k       a folder under --data_path with D.inter and D.item (RecBole atomic files)
  --data_path=dataset     where data sets are
  --seed=2020             or --seeds=5 (2020 ... 2024) or --seeds=7,8,9
  --from=RUN              start from a finished run's weights, tokens and settings, on data that has grown since;
                          two epochs unless told otherwise
  --tune=20               search settings instead, 20 trials a model, on the validation set alone
  --recipe=default        a named set of settings of the model
  --config_files=F        YAML files of settings, with commas; they may name the model and the data set, too
  --output_dir=runs       run folders go to OUTPUT_DIR/DATASET/MODEL/SEED-HASH
  --use_gpu=true          a GPU is used where there is one
  --list-models           show every model
  --help                  show this; with --model=M, every setting that M reads

Every setting of RecBole and of ours is a key, such as --epochs=20 --learning_rate=1e-3 --id_dim=16.
docs/settings.md lists all of them. A finished run is not run again; a stopped one goes on with the same
command.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    options: dict[str, Any] = dict(parse_options(arguments))
    if options.pop("help", None):
        print(HELP + ("" if "model" not in options else model_settings(options["model"])), end="")
        return 0
    if options.pop("list_models", None):
        print(model_list())
        return 0
    from recbole_unisid.runs.api import run

    found = run(config_files=take_config_files(options), config_dict=options)
    # Torch takes seconds to import: what cannot be meant was said before.
    from recbole_unisid import distributed
    from recbole_unisid.report.tables import summary_table
    from recbole_unisid.report.wording import command

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


def model_settings(name: str) -> str:
    """Every setting that a model reads with its default, one paragraph a group."""
    from recbole_unisid.config.settings import settings, words_of
    from recbole_unisid.recbole_adapter.keys import defaults_of, keys_read
    from recbole_unisid.recbole_adapter.registry import resolve

    model, lines = resolve(name), list[str]()
    read, defaults = keys_read(model), defaults_of(model)
    for group in dict.fromkeys(setting.group for setting in settings().values()):
        lines += ["", f"{group}, of {name}:"]
        for setting in settings().values():
            if setting.group == group and setting.name in read:
                default = f"={defaults[setting.name]}" if setting.name in defaults else ""
                said = f"{words_of(setting.kind)}. {setting.words}"
                lines += [f"  --{setting.name}{default}", *textwrap.wrap(said, 100, **_INDENT)]
        lines = lines[:-2] if lines[-1].endswith(":") else lines
    others = [f"--{key}={defaults[key]}" for key in sorted(read - settings().keys()) if key in defaults]
    lines += ["", f"Further settings of RecBole's {name}:", f"  {' '.join(others)}"] if others else []
    return "\n".join([*lines, ""])


def model_list() -> str:
    """All models by kind, one kind a paragraph."""
    from recbole_unisid.recbole_adapter import registry

    kinds: dict[str, Iterable[str]] = {
        "Ours, trained on whole sequences:": [
            name for name in registry.OWN_MODELS if name not in registry.RULES
        ],
        "Rules, with nothing to train:": registry.RULES,
        "Of other papers, written here as published:": registry.PUBLISHED_MODELS,
        "RecBole's sequential models:": registry.sequential_models(),
        "RecBole's general baselines:": registry.GENERAL_BASELINES,
    }
    return "\n".join(f"{title}\n  {', '.join(names)}" for title, names in kinds.items())
