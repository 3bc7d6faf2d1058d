"""The console command ``recbole-unisid``: one subcommand a stage."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import recbole_unisid
from recbole_unisid.commands.options import take_extensions
from recbole_unisid.errors import UserError, did_you_mean, machine_trouble
from recbole_unisid.interruption import deafen, listen
from recbole_unisid.plugins.loading import failed_in

#: Subcommand -> module of this package with `main(arguments)`, and what it does.
SUBCOMMANDS = {
    "run": ("run", "train and evaluate models on a data set"),
    "recommend": ("recommend", "next items for a user or a history, from a finished run"),
    "add-items": ("add_items", "new items into a trained model, without retraining"),
    "split": ("split", "train, validation and test as files, for models that are trained elsewhere"),
    "evaluate": ("evaluate", "predictions of a model that was trained elsewhere, as a run"),
    "report": ("report", "one page, and tables, of finished runs"),
    "board": ("board", "a static site of finished runs: which model to use, and every run to download"),
    "prepare": ("prepare", "make a data set of public originals or of your own tables"),
    "tokenize": ("tokenize", "item text to tokens alone: tokens.tsv, index.json and their health"),
    "export": ("export", "a run as a folder that recommends without torch and RecBole"),
    "serve": ("serve", "recommendations over HTTP, with a page to try them"),
    "versions": ("versions", "exports side by side: add, promote, roll back"),
    "runs": ("runs", "remove what killed commands left: runs prune DIR"),
    "inspect": ("inspect", "count a data set, its ties, text and leaks, and say what will break"),
}


def usage() -> str:
    """The text of ``recbole-unisid --help``."""
    commands = "\n".join(f"  {name:<10} {about}" for name, (_, about) in SUBCOMMANDS.items())
    return f"""\
usage: recbole-unisid SUBCOMMAND [--key=value ...]

ID, semantic, unified or generative? Sequential recommenders side by side in RecBole.

{commands}

recbole-unisid SUBCOMMAND --help says more. Each takes --use=module:Class too: a class of your own that a
config file or a run folder names, and that is not imported without your word."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    The exit status is 0 when done, 2 for bad input (one line on standard error), 130 when stopped.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    listen()
    try:
        given = take_extensions(given)
        if not given or given[0] in {"-h", "--help"}:
            print(usage())
            return 0
        if given[0] == "--version":
            print(f"recbole_unisid {recbole_unisid.__version__}")
            return 0
        name = given[0]
        if name.startswith("-"):
            raise UserError(f"Options come after a subcommand: recbole-unisid run {name} (see --help).")
        if name not in SUBCOMMANDS:
            raise UserError(f"There is no subcommand '{name}'.{did_you_mean(name, SUBCOMMANDS)} See --help.")
        module = importlib.import_module(f"recbole_unisid.commands.{SUBCOMMANDS[name][0]}")
        if {"-h", "--help"} & set(given) and name != "run":  # which says more of a --model
            print(module.HELP, end="")
            return 0
        status: int = module.main(given[1:])
        return status
    except UserError as error:
        print(f"recbole-unisid: {error}", file=sys.stderr)
        return 2
    except (Exception, SystemExit) as error:
        # A bug of ours keeps its traceback; one in a module of the user's, or trouble of the machine, is a line.
        line = failed_in(error) or machine_trouble(error)
        if line is None:
            raise
        print(f"recbole-unisid: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        deafen()
        print("\nStopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
