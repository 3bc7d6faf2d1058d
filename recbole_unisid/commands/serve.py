"""``recbole-unisid serve``: recommendations over HTTP."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_unisid.commands.options import known_options, whole_number
from recbole_unisid.errors import UserError

if TYPE_CHECKING:
    from recbole_unisid.serving.service import Served

HELP = """\
usage: recbole-unisid serve --export=DIR | --versions=DIR | --run=RUN [--host=127.0.0.1] [--port=8000] [--workers=N]

Answer /recommend, /similar, /items, /health and /metrics, with a page to try them at / and the API at /docs. Needs the
extra: pip install 'recbole_unisid[serve]'.

  --export=DIR            a folder made by export: neither torch nor RecBole is loaded
  --versions=DIR          a folder of exports (see versions): the current one is served, and within seconds another
                          that is promoted, without losing a request
  --run=RUN               a finished run of any model, or a folder above (the newest there)
  --host=127.0.0.1        who may ask: this machine alone; there is no password, so put a proxy before any other
  --port=8000             0 takes a free one
  --allowed_hosts=NAME    names that questions may call the service by, commas between; loopback and --host are
                          known, *.example.com is all of a domain, and * is any name
  --workers=N             processes that answer; default: of an export, whose vectors they share in memory, one a core
                          and up to 4, of a run one
"""


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    # Read when numpy is loaded, here and in the workers: threads that spin for a product of one answer cost the others.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    options = known_options("serve", HELP, arguments)
    host, port = options.get("host", "127.0.0.1"), whole_number(options, "port", 0)
    port, workers = 8000 if port is None else port, whole_number(options, "workers", 1) or _workers(options)
    if port > 65535:
        raise UserError(f"--port={port} is no port; give a number up to 65535.")
    if workers > 256:
        raise UserError(f"--workers={workers} is more than 256; one or two for each core answer most.")
    if len({"run", "export", "versions"} & options.keys()) != 1:
        raise UserError("serve needs one of --export=DIR, --versions=DIR and --run=RUN (see serve --help).")
    try:
        from recbole_unisid.serving.server import serve
    except ImportError as error:
        raise UserError(
            f"serve needs {error.name}, which is not installed: pip install 'recbole_unisid[serve]'."
        ) from None
    current = partial(_current, options["versions"]) if "versions" in options else None
    serve(partial(_make, options), host, port, _allowed_hosts(options, host), workers, current)
    return 0


def _workers(options: Mapping[str, str]) -> int:
    """Processes by default; elsewhere than on Linux the kernel does not share connections out evenly."""
    if "run" in options or sys.platform != "linux":
        return 1
    import joblib

    return min(4, int(joblib.cpu_count()))


def _allowed_hosts(options: Mapping[str, str], host: str) -> list[str]:
    from recbole_unisid.serving.service import LOOPBACK

    given = [name.strip() for name in options.get("allowed_hosts", "").split(",") if name.strip()]
    for name in given:
        if "*" in name.removeprefix("*.") and name != "*":
            raise UserError(f"--allowed_hosts: '{name}' is neither a name nor of the form *.example.com.")
    bound = [] if host in {"0.0.0.0", "::"} else [f"[{host}]" if ":" in host else host]
    return [*LOOPBACK, *bound, *given]


def _current(folder: str) -> str:
    """The name of a folder's current version."""
    from recbole_unisid.serving.versions import Versions

    return Versions(folder).current()


def _make(options: Mapping[str, str]) -> Served:
    """What the options name."""
    from recbole_unisid.serving.service import Served

    if "run" not in options:
        from recbole_unisid.serving.recommender import Recommender, RecommenderError

        try:
            name = _current(options["versions"]) if "versions" in options else None
            folder = Path(options["versions"]) / name if name else Path(options["export"])
            exported = Recommender(folder)
        except RecommenderError as error:
            raise UserError(str(error)) from None
        except ImportError as error:
            raise UserError(
                f"serve needs {error.name}, which is not installed: pip install 'recbole_unisid[export]'."
            ) from None
        about = exported.manifest
        return Served(exported, str(about["model"]), str(about["dataset"]), name or str(about["run"]))
    from recbole_unisid.report.run_files import newest_run
    from recbole_unisid.serving.loaded import load
    from recbole_unisid.serving.recommend import RunRecommender

    loaded = load(newest_run(options["run"]))
    model, dataset = str(loaded.config["model"]), str(loaded.config["dataset"])
    return Served(RunRecommender(loaded), model, dataset, loaded.path.name)
