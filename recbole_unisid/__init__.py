"""ID, semantic, unified or generative? Sequential recommenders side by side in RecBole."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["UserError", "__version__", "evaluate", "load", "prepare", "results", "run", "split", "use"]

# Read when torch is loaded, hence here. Threads that spin while they wait for one another take the processor from the
# one they wait for wherever other processes are at work, too: results/speed.md.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if (os.cpu_count() or 1) <= 2 and "OMP_NUM_THREADS" not in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's threads spin whatever that policy is

#: Public name -> module.
_PLACES = {
    "UserError": "errors",
    "evaluate": "runs.predictions",
    "load": "serving.loaded",
    "prepare": "data.frames",
    "results": "report.frame",
    "run": "runs.api",
    "split": "runs.split_files",
    "use": "plugins.loading",
}
if TYPE_CHECKING:
    from recbole_unisid.data.frames import prepare
    from recbole_unisid.errors import UserError
    from recbole_unisid.plugins.loading import use
    from recbole_unisid.report.frame import results
    from recbole_unisid.runs.api import run
    from recbole_unisid.runs.predictions import evaluate
    from recbole_unisid.runs.split_files import split
    from recbole_unisid.serving.loaded import load


def __getattr__(name: str) -> Any:
    # RecBole and torch take seconds to import: only for those who call.
    if name not in _PLACES:
        raise AttributeError(f"module 'recbole_unisid' has no attribute '{name}'")
    return getattr(import_module(f"recbole_unisid.{_PLACES[name]}"), name)
