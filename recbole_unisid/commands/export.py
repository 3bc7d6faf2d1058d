"""``recbole-unisid export``: a run as a folder that recommends without torch and RecBole."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_unisid.commands.options import known_options, whole_number
from recbole_unisid.errors import UserError

HELP = """\
usage: recbole-unisid export --run=RUN --to=DIR [--index=auto] [--catalogue=N]

Write item vectors, a FAISS index, the encoder of histories as ONNX, the items and their tokens, a manifest and
recommender.py, which reads them with numpy, onnxruntime, faiss and safetensors alone.

  --run=RUN               a finished run of UniSID, SemanticID, ItemID or DenseText, or a folder above (the newest)
  --to=DIR                the folder to make; an earlier export there is replaced
  --index=auto            exact (up to 100,000 items by default), hnsw (up to 2 million) or ivf
  --catalogue=N           version of the catalogue (see add-items); default: the newest
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    options = known_options("export", HELP, arguments)
    for key, what in (("run", "a run's folder"), ("to", "the folder to make")):
        if key not in options:
            raise UserError(f"export needs --{key}=..., {what} (see export --help).")
    catalogue = whole_number(options, "catalogue", 1)
    # The heavy imports come after --help.
    from recbole_unisid.report.run_files import newest_run
    from recbole_unisid.serving.export import export
    from recbole_unisid.serving.loaded import load

    run = load(newest_run(options["run"]), catalogue)
    folder = export(run, options["to"], options.get("index", "auto"))
    print(f"-> {folder}")
    return 0
