"""``recbole-unisid serve``: recommendations over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recbole_unisid.commands.options import parse_options, refuse_unknown, whole_number
from recbole_unisid.errors import UserError

if TYPE_CHECKING:
    from recbole_unisid.serving.recommender import ItemRecommender

HELP = """\
usage: recbole-unisid serve --export=DIR | --run=RUN [--host=127.0.0.1] [--port=8000]

Answer /recommend, /similar, /items and /health, with a page to try them at / and the API at /docs. Needs the
extra: pip install 'recbole_unisid[serve]'.

  --export=DIR            a folder made by export: neither torch nor RecBole is loaded
  --run=RUN               a finished run of any model, or a folder above (the newest there)
  --host=127.0.0.1        who may ask: this machine alone; there is no password, so put a proxy before any other
  --port=8000             0 takes a free one
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    options = parse_options(arguments)
    if options.pop("help", None):
        print(HELP, end="")
        return 0
    refuse_unknown(options, {"run", "export", "host", "port"}, "serve")
    port = whole_number(options, "port", 0, default=8000)
    if port > 65535:
        raise UserError(f"--port={port} is no port; give a number up to 65535.")
    if ("run" in options) == ("export" in options):
        raise UserError("serve needs either --export=DIR or --run=RUN (see serve --help).")
    try:
        from recbole_unisid.serving.server import serve
    except ImportError as error:
        raise UserError(
            f"serve needs {error.name}, which is not installed: pip install 'recbole_unisid[serve]'."
        ) from None
    recommender, model, dataset = _recommender(options)
    serve(recommender, model, dataset, options.get("host", "127.0.0.1"), port)
    return 0


def _recommender(options: Mapping[str, str]) -> tuple[ItemRecommender, str, str]:
    if "export" in options:
        from recbole_unisid.serving.recommender import Recommender, RecommenderError

        try:
            exported = Recommender(options["export"])
        except RecommenderError as error:
            raise UserError(str(error)) from None
        except ImportError as error:
            raise UserError(
                f"--export needs {error.name}, which is not installed: pip install 'recbole_unisid[export]'."
            ) from None
        return exported, str(exported.manifest["model"]), str(exported.manifest["dataset"])
    from recbole_unisid.report.run_files import newest_run
    from recbole_unisid.serving.loaded import load
    from recbole_unisid.serving.recommend import RunRecommender

    loaded = load(newest_run(options["run"]))
    return RunRecommender(loaded), str(loaded.config["model"]), str(loaded.config["dataset"])
