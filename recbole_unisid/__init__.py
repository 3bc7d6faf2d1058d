"""ID, semantic, unified or generative? Sequential recommenders side by side in RecBole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["UserError", "__version__", "load", "run", "use"]

if TYPE_CHECKING:
    from recbole_unisid.errors import UserError
    from recbole_unisid.plugins.loading import use
    from recbole_unisid.runs.api import run
    from recbole_unisid.serving.loaded import load


def __getattr__(name: str) -> Any:
    # RecBole and torch take seconds to import: only for those who call.
    if name == "run":
        from recbole_unisid.runs.api import run

        return run
    if name == "load":
        from recbole_unisid.serving.loaded import load

        return load
    if name == "use":
        from recbole_unisid.plugins.loading import use

        return use
    if name == "UserError":
        from recbole_unisid.errors import UserError

        return UserError
    raise AttributeError(f"module 'recbole_unisid' has no attribute '{name}'")
