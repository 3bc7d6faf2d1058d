"""``recbole-unisid versions``: exports side by side, one of which is served, and a way back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_unisid.commands.options import known_options, positional
from recbole_unisid.errors import UserError

if TYPE_CHECKING:
    from recbole_unisid.serving.versions import Versions

HELP = """\
usage: recbole-unisid versions add DIR --run=RUN | --export=EXPORT [--name=N] [--promote]
       recbole-unisid versions promote DIR [--name=N]
       recbole-unisid versions roll-back DIR
       recbole-unisid versions list DIR

Keep versions of a model in a folder. One is current: serve --versions=DIR serves it, and goes over to another
that is promoted without losing a request. A version that is in the folder is never changed.

  --run=RUN               add: a finished run, or a folder above (the newest there), is exported
  --export=EXPORT         add: a folder made by export is copied
  --name=N                add: its name; default: the next number. promote: which; default: the last in the list
  --promote               add: and make it current

promote takes a version that has been seen to recommend, by renaming one small file: a reader sees the version before
or the new one. roll-back goes to the version that was current before, and again to the one before that.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    action, rest = positional(arguments)
    folder, rest = positional(rest)
    if action not in {"add", "promote", "roll-back", "list"} or folder is None:
        raise UserError("Write recbole-unisid versions add|promote|roll-back|list DIR (see versions --help).")
    options = known_options("versions", HELP, rest)
    takes = {"add": {"run", "export", "name", "promote"}, "promote": {"name"}}.get(action, set())
    if left := sorted(options.keys() - takes):
        raise UserError(f"versions {action} does not take --{left[0]} (see versions --help).")
    if action != "add" and not Path(folder).is_dir():
        raise UserError(f"There is no folder {folder}.")
    try:
        from recbole_unisid.serving.versions import Versions, copy_of
    except ImportError as error:
        raise UserError(
            f"versions needs {error.name}, which is not installed: pip install 'recbole_unisid[export]'."
        ) from None
    versions = Versions(folder)
    if action == "list":
        return _list(versions)
    name = options.get("name")
    if action == "add":
        if ("run" in options) == ("export" in options):
            raise UserError("versions add needs either --run=RUN or --export=EXPORT (see versions --help).")
        if "export" in options:
            name = versions.add(copy_of(Path(options["export"])), name)
        else:
            from recbole_unisid.report.run_files import newest_run
            from recbole_unisid.serving.export import export
            from recbole_unisid.serving.loaded import load

            run = load(newest_run(options["run"]))
            name = versions.add(lambda to: export(run, to), name)
        print(f"version {name} -> {versions.folder / name}")
        if "promote" not in options:
            return 0
    pointer = versions.roll_back() if action == "roll-back" else versions.promote(name)
    before = f", before it {pointer.earlier[-1]}" if pointer.earlier else ""
    print(f"current: {pointer.current}{before}")
    return 0


def _list(versions: Versions) -> int:
    """A version a line, the current one marked."""
    pointer = versions.pointer()
    damaged = False
    for name in versions.names():
        mark = "*" if pointer is not None and pointer.current == name else " "
        try:
            about = json.loads((versions.folder / name / "manifest.json").read_text(encoding="utf-8"))
            told = f"{about['model']} of {about['dataset']}, run {about['run']}, {about['items']:,} items"
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            told, damaged = "damaged: its manifest.json cannot be read", True
        print(f"{mark} {name}  {told}")
    return 1 if damaged else 0
